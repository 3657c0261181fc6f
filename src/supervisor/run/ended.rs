//! The last phase: the agent is over, or is ended now.

use bollard::query_parameters::KillContainerOptions;
use tokio::time::timeout;

use super::agent_end::AgentEnd;
use super::agent_streams::AgentStreams;
use super::guard_link::GuardLink;
use super::prepared::RunPlan;
use super::removal::ENGINE_LIMIT;
use super::services;
use super::summary::Summary;
use crate::supervisor::aftermath::{self, Report};
use crate::supervisor::inventory;
use crate::supervisor::records::output::OutputSource;
use crate::supervisor::spec::service::ServiceSpec;
use crate::supervisor::spec::workflow::Role;
use crate::workspace::aftermath::Aftermath;

/// A run whose agent is over.
pub(super) struct Ended<'a> {
    /// The plan.
    pub(super) plan: &'a RunPlan,
    /// The agent's end.
    pub(super) end: AgentEnd,
    /// The agent's streams.
    pub(super) streams: AgentStreams,
    /// The guard.
    pub(super) guard: GuardLink,
    /// Tells whether the engine was found not to answer: nothing can be ended then.
    pub(super) engine_is_silent: bool,
}

/// Outcome of a run of which nothing works any more.
pub(super) struct Closed {
    /// The agent's end.
    pub(super) end: AgentEnd,
    /// The guard's lines, counted.
    pub(super) summary: Option<Summary>,
    /// Files that were put back after the agent.
    pub(super) report: Option<Report>,
}

impl Closed {
    /// Tells whether the guard's log was read to its end: the end of a stream alone may be that of
    /// a connection to the engine.
    pub(super) fn log_is_whole(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.log.ended)
    }
}

impl Ended<'_> {
    /// Ends the agent if it still runs, and the services, puts back what it left, then ends the
    /// guard, so that its last events are written.
    pub(super) async fn close(self, aftermath: &mut Option<Aftermath>) -> Closed {
        let Ended { plan, end, streams, mut guard, engine_is_silent } = self;
        let mut report = None;
        if !engine_is_silent {
            kill(plan, Role::Agent, "KILL").await;
            services::kill(plan).await;
            keep_output(plan).await;
            guard.write_end_down(plan, end.event()).await;
            let covered = Some(&*plan.covers.covered);
            let agent = plan.workflow.object(Role::Agent);
            report = aftermath::settle(&plan.engine, &plan.workflow, &agent, aftermath, covered).await;
            kill(plan, Role::Guard, "TERM").await;
            end_fence(plan);
        }
        let summary = guard.summary().await;
        streams.end();
        Closed { end, summary, report }
    }
}

/// Ends the fence beside whatever goes on, so that the removal need not wait for its end. A fence
/// that goes on is found by the removal.
fn end_fence(plan: &RunPlan) {
    let (api, fence) = (plan.engine.api.clone(), plan.workflow.object(Role::Fence));
    let options = KillContainerOptions { signal: "KILL".to_owned() };
    tokio::spawn(async move { api.kill_container(&fence, Some(options)).await });
}

/// Keeps what a detached agent printed, and what services did, which nobody has seen. Where that
/// fails, the run's end goes on.
async fn keep_output(plan: &RunPlan) {
    let (id, agent) = (plan.workflow.id, plan.workflow.object(Role::Agent));
    let agent = plan.agent.detached.then(|| (agent, OutputSource::agent(id)));
    let service = |service: &ServiceSpec| {
        (services::container(plan, service), OutputSource::service(id, service.name.clone()))
    };
    for (container, source) in agent.into_iter().chain(plan.services.iter().map(service)) {
        let kept = inventory::save_output(&plan.engine, &container, &source).await;
        kept.unwrap_or_else(|failure| failure.tell());
    }
}

/// Sends a container a signal. It may have ended by itself; what stays is found by the removal,
/// which tells.
async fn kill(plan: &RunPlan, role: Role, signal: &str) {
    let options = KillContainerOptions { signal: signal.to_owned() };
    let name = plan.workflow.object(role);
    let _ = timeout(ENGINE_LIMIT, plan.engine.api.kill_container(&name, Some(options))).await;
}
