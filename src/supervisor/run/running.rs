//! The fifth phase: the agent works, until it ends, a helper dies, the time is over, or a signal
//! says so.

use super::agent_end::{AgentEnd, FENCE_ENDED, TIME_OVER};
use super::agent_streams::AgentStreams;
use super::begun::Entry;
use super::container_end::last_words;
use super::created::KnownHost;
use super::ended::Ended;
use super::guard_link::GuardLink;
use super::limits_met;
use super::prepared::RunPlan;
use super::services;
use super::stopping::Stopping;
use super::waiting::{Happened, Waiting};
use super::{exit_status, image_faults};
use crate::supervisor::forward::Forwarding;
use crate::supervisor::host_loopback::HostLoopback;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::ssh_agent::SshAgent;
use crate::supervisor::watch::Watch;
use crate::supervisor::watch::disk_use::Recipe;
use crate::term::Warning;
use crate::wire::event::{How, Observation};

/// A run whose agent was started.
pub(super) struct Running<'a> {
    /// The plan.
    pub(super) plan: &'a RunPlan,
    /// The agent's streams.
    pub(super) streams: AgentStreams,
    /// Number and group of the agent's user, where anybody knows them.
    pub(super) user: Option<String>,
    /// Disk and processes of the agent.
    pub(super) watch: Watch,
    /// The addresses of the engine's machine, which are followed.
    pub(super) host: KnownHost,
    /// The guard.
    pub(super) guard: GuardLink,
    /// Ports that lead to the agent's.
    pub(super) forwarding: Option<Forwarding>,
    /// Connections to this machine's loopback, where they are permitted.
    pub(super) loopback: Option<HostLoopback>,
    /// The person's ssh agent, where the agent may use it.
    pub(super) ssh_agent: Option<SshAgent>,
}

impl<'a> Running<'a> {
    /// Watches over the agent until it has ended, or is to be ended.
    pub(super) async fn supervise(self, signals: &mut Signals, mut entry: Entry<'_>) -> Ended<'a> {
        let Running { plan, mut streams, watch, host, guard, mut forwarding, loopback, ssh_agent, user } =
            self;
        let shared = plan.covers.told.iter().map(|told| (Observation::SharedFiles, told.clone()));
        plan.note(shared.collect());
        let deadline = plan.request.deadline(&plan.agent.limits);
        let counting = counting(plan);
        let lost = forwarding.as_mut().and_then(Forwarding::take_lost);
        let mut waiting = Waiting::begin(plan, &watch, &counting, host, deadline.left, lost);
        let mut stopping = Stopping::default();
        let end = loop {
            match waiting.next(&stopping, signals).await {
                Happened::AgentEnded(..0) => {
                    break AgentEnd::because(
                        How::EngineLost,
                        "the engine does not answer for the agent any more",
                    );
                }
                Happened::AgentEnded(status) => {
                    // It may have been quicker than the look at its command. Nobody enters it now.
                    entry.open();
                    let lost = streams.drain(signals, waiting.time_over()).await;
                    if let Some(forwarding) = &forwarding {
                        forwarding.drain().await;
                    }
                    let status = agents_status(plan, status).await;
                    image_faults::warn_of_program(plan, user.as_deref(), status).await;
                    break AgentEnd::exited(stopping.how(status), status, lost);
                }
                Happened::HelperEnded(who, status) => break AgentEnd::without_helper(who, status),
                Happened::Begun => entry.open(),
                Happened::TimeOver => break AgentEnd::at_limit(TIME_OVER, deadline.limit, &deadline.why),
                Happened::DiskFull(what) => {
                    break AgentEnd::at_limit(FENCE_ENDED, Observation::DiskLimit, &what);
                }
                Happened::HostUnknown(why) => {
                    break AgentEnd::because(How::HostUnknown, format!("{why}, so the run was ended"));
                }
                Happened::ServiceEnded(name, status) => {
                    let what = format!("the service `{name}` has ended with status {status}");
                    tell(plan, Observation::ServiceEnded, format!("{what}; the agent goes on without it"));
                }
                Happened::TokenEnds(said) => tell(plan, Observation::TokenEnds, said),
                Happened::ForwardLost(why) => crate::term::warn(Warning::ForwardLost(why)),
                Happened::Uncovered(said) => tell(plan, Observation::Uncovered, said),
                Happened::Signal(number) => stopping.pass_on(plan, number, signals),
                Happened::StillRuns => stopping.kill(plan),
                Happened::Doubt => {
                    if let Some(end) = stopping.doubt(&plan.engine).await {
                        break end;
                    }
                }
            }
        };
        drop((waiting, forwarding, loopback));
        // What was signed is told.
        drop(ssh_agent);
        let end = match stopping.has_given_up {
            // Nor would the engine say what limits the agent met.
            true => end,
            false => limits_met::account(plan, &watch, end).await,
        };
        Ended { plan, end, streams, guard, engine_is_silent: stopping.engine_is_silent }
    }
}

/// Returns how the files of the agent, and of the services, are counted; under another runtime no
/// helper counts them.
fn counting(plan: &RunPlan) -> Vec<Recipe> {
    let agent = Recipe {
        image: plan.helper.clone(),
        service: None,
        first_volume: plan.agent.first_volume,
        volumes: plan.agent.data.len(),
        home: plan.agent.home.as_ref().map(|home| home.volume.clone()),
        by_helper: plan.agent.runtime.is_none(),
    };
    std::iter::once(agent).chain(services::counting(plan)).collect()
}

/// Returns docker's status for an agent that ended.
async fn agents_status(plan: &RunPlan, status: i64) -> i32 {
    let agent = plan.workflow.object(Role::Agent);
    let said = async || last_words(&plan.engine, &agent).await;
    exit_status::of_agent(plan.engine.dialect.unstartable_command, status, said).await as i32
}

/// Tells the person something, and has it written down.
fn tell(plan: &RunPlan, what: Observation, said: String) {
    crate::term::warn(match what {
        Observation::Uncovered => Warning::Uncovered(said.clone()),
        _ => Warning::Noted(said.clone()),
    });
    plan.note(vec![(what, said)]);
}
