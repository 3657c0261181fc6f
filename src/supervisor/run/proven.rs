//! The fourth phase: the fence has proven itself, the guard serves its sockets, the agent may
//! begin.
//!
//! ```text
//!  fence started, beside the guard ──────────────────┬─▶ made, proven, handed over ─▶ `ready` ─┐
//!  addresses of the engine's machine ─▶ configuration ┘                                         ├─▶ Proven
//!  agent, services created, not started ─▶ account ─▶ ids into the record ──────────────────────┘
//! ```

use bollard::container::AttachContainerResults;
use bollard::errors::Error as ApiError;
use tokio::sync::oneshot;

use super::agent_streams::AgentStreams;
use super::created::{BegunGuard, Created, KnownHost, create_agent_last, start};
use super::early_signal::EarlySignal;
use super::fence_input::FenceInput;
use super::guard_link::{GuardLink, attach};
use super::prepared::RunPlan;
use super::ready::{await_ready, has_a_helper_ended, helpers_last_words};
use super::running::Running;
use super::runtime;
use super::services::Equipped;
use super::{account, image_faults};
use crate::supervisor::engine;
use crate::supervisor::forward::{ForwardRequest, Forwarding, Reserved};
use crate::supervisor::host_loopback::{HostLoopback, Permissions};
use crate::supervisor::inventory;
use crate::supervisor::mounts::directories;
use crate::supervisor::records::runs::Held;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::ssh_agent::SshAgent;
use crate::supervisor::streams::TerminalTitle;
use crate::supervisor::upload::secrets;
use crate::supervisor::watch::Watch;
use crate::term::{COULD_NOT_RUN, Failure, trace};

/// A run whose fence stands and whose guard serves.
pub(super) struct Proven<'a> {
    /// The plan.
    pub(super) plan: &'a RunPlan,
    /// Number and group of the agent's user, where anybody knows them.
    user: Option<String>,
    watch: Watch,
    host: KnownHost,
    guard: GuardLink,
    forwarding: Option<Forwarding>,
    loopback: Option<HostLoopback>,
    ssh_agent: Option<SshAgent>,
}

impl<'a> Created<'a> {
    /// Starts the fence, and waits until the guard says that it serves the sockets of a fence
    /// that proved itself. Agent and services are created meanwhile, and started by nobody.
    ///
    /// # Errors
    /// When it does not; when secrets cannot be handed over, or the agent's runtime does not keep
    /// to the fence.
    pub(super) async fn prove(self, record: &mut Held) -> Result<Proven<'a>, Failure> {
        let mut step = trace::step("fence proven, guard ready");
        let Created { plan, measuring, guard, awaited, filter, fence, has_agent, planted } = self;
        let BegunGuard { link: guard, is_ready, starting, .. } = guard;
        let RunPlan { engine, workflow, agent, .. } = plan;
        let mut input = FenceInput::attach(plan).await?;
        let (begun, has_begun) = oneshot::channel();
        let (sent, is_sent) = oneshot::channel();
        let configured = async {
            let (host, files) = awaited.come(plan, &planted).await?;
            // Not every engine keeps what comes before. Who does not start the fence tells why.
            if has_begun.await.is_err() {
                std::future::pending::<()>().await;
            }
            input.send(&files).await?;
            // Nobody hears it where the run has failed meanwhile.
            let _ = sent.send(());
            Ok(host)
        };
        let proven = async {
            start(engine, workflow, Role::Fence).await?;
            let _ = begun.send(());
            BegunGuard::started(starting).await?;
            await_ready(engine, workflow, is_sent, is_ready).await
        };
        // The agent's container costs no time while fence and guard begin.
        let made = async {
            if !has_agent {
                create_agent_last(plan, &filter, &fence).await?;
            }
            record.add_ids(&inventory::of_run(engine, workflow).await?.parts)?;
            // Nobody can ask later: an agent may change its image's accounts.
            let user = account::number(engine, workflow, agent).await;
            image_faults::warn_of_home(plan, user.as_deref()).await;
            Ok(user)
        };
        let (host, (), user) = tokio::try_join!(configured, proven, made)?;
        drop((planted, input));
        if agent.handed {
            secrets::hand_over(engine, workflow, &plan.request.agent.handed, user.as_deref()).await?;
        }
        if let Some(runtime) = &agent.runtime {
            step.then("runtime proven");
            let filter = plan.request.policy.dns.virtual_range.broadcast();
            runtime::prove(engine, workflow, &plan.helper, runtime, filter).await?;
        }
        drop(step);
        let watch = measuring.await.map_err(|error| {
            Failure::new(COULD_NOT_RUN, "the measuring of what the agent may write was ended")
                .caused_by(&error)
        })??;
        Ok(Proven { plan, user, watch, host, guard, forwarding: None, loopback: None, ssh_agent: None })
    }
}

impl<'a> Proven<'a> {
    /// Opens the ports that lead to the agent's. Nobody listens at their other end yet.
    ///
    /// # Errors
    /// When the helper in the fence is not ready, or a port is another program's by now.
    pub(super) async fn forward(mut self, request: ForwardRequest) -> Result<Proven<'a>, Failure> {
        if request.is_empty() {
            return Ok(self);
        }
        let _step = trace::step("ports forwarded");
        let lines: Vec<String> = request.ports.iter().map(Reserved::in_words).collect();
        let RunPlan { engine, workflow, .. } = self.plan;
        self.forwarding = Some(Forwarding::begin(engine, &workflow.helpers(), request).await?);
        lines.iter().for_each(crate::term::talk);
        Ok(self)
    }
}

impl Proven<'_> {
    /// Returns what has to be followed as long as the fence stands.
    pub(super) fn into_followed(self) -> (KnownHost, GuardLink) {
        (self.host, self.guard)
    }
}

impl<'a> Proven<'a> {
    /// Begins to carry connections to permitted ports of this machine's loopback, and to the
    /// person's ssh agent.
    ///
    /// # Errors
    /// When some are permitted, and a helper cannot be reached for them.
    pub(super) async fn carry_to_this_machine(mut self) -> Result<Proven<'a>, Failure> {
        let RunPlan { engine, workflow, request, .. } = self.plan;
        let policy = &request.policy;
        let permissions = Permissions::new(workflow.id, policy.clone());
        self.loopback = Some(HostLoopback::begin(engine, &workflow.helpers(), permissions).await?);
        if let Some(ssh_agent) = &request.ssh_agent {
            if !engine.local {
                crate::term::essential(
                    "the engine is on another machine: who may use it can log in by your ssh agent, while the run lasts",
                );
            }
            self.ssh_agent = Some(SshAgent::begin(engine, &workflow.helpers(), policy, ssh_agent).await?);
        }
        Ok(self)
    }
}

impl<'a> Equipped<'a> {
    /// Starts the agent.
    ///
    /// # Errors
    /// When a signal has come, when something was exchanged while the run started, or when the
    /// engine does not start the agent.
    pub(super) async fn start_agent(self, early: &EarlySignal) -> Result<Running<'a>, Failure> {
        let step = trace::step(trace::LAST_OF_START);
        let Proven { plan, user, watch, host, guard, forwarding, loopback, ssh_agent } = self.into_proven();
        let RunPlan { engine, workflow, agent, .. } = plan;
        let name = workflow.object(Role::Agent);
        let attached = match agent.detached {
            true => None,
            false => Some(attach_agent(plan, &name).await?),
        };
        early.check()?;
        if !plan.covers.covered.are_in_place() {
            let what = "covered files were moved, replaced or linked while the run started, so the agent was not started";
            return Err(exchanged(what));
        }
        let title = || TerminalTitle::begin(plan.request.surfaces, guard.refusals());
        let carry = |attached| AgentStreams::carry(attached, agent, title());
        let mut streams = attached.map_or_else(AgentStreams::detached, carry);
        if let Err(error) = engine.api.start_container(&name, None).await {
            let mut failure = agent_start_failure(&error);
            // What they say while they live has nothing to do with it.
            if has_a_helper_ended(engine, workflow).await {
                failure.causes.extend(helpers_last_words(engine, workflow).await);
            }
            image_faults::explain(plan, user.as_deref(), &mut failure).await;
            return Err(failure);
        }
        if let Some(bind) = directories::swapped(&agent.binds) {
            let source = bind.source.display();
            return Err(exchanged(&format!(
                "{source} was changed while the agent was started, so it was ended"
            )));
        }
        streams.follow_size(engine, agent, name);
        drop(step);
        Ok(Running { plan, streams, user, watch, host, guard, forwarding, loopback, ssh_agent })
    }
}

/// Attaches to the agent, so that no word of it is lost.
async fn attach_agent(plan: &RunPlan, name: &str) -> Result<AttachContainerResults, Failure> {
    let attached = plan.engine.api.attach_container(name, Some(attach(plan.agent.interactive))).await;
    attached.map_err(|error| engine::refused("cannot attach to the agent", &error))
}

/// Makes the failure of a start during which somebody exchanged something.
fn exchanged(what: &str) -> Failure {
    Failure::new(COULD_NOT_RUN, what).hint("is another program or agent at work there?")
}

/// Makes the failure of an agent that cannot be started, with docker's status for it.
fn agent_start_failure(error: &ApiError) -> Failure {
    let text = engine::describe(error);
    let mut failure = engine::refused("the agent cannot be started", error);
    if let Some((exit, hint)) = start_fault(&text) {
        failure.exit = exit;
        failure.hint = Some(hint.to_owned());
    }
    failure
}

/// Tells from an engine's words what was wrong, and what to do.
fn start_fault(text: &str) -> Option<(u8, &'static str)> {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // A place to mount something at was moved away: that is no fault of the command.
    if has(&["error mounting", "crun: mount ", "crun: creating "]) {
        return Some((COULD_NOT_RUN, "is another program or agent at work in what is mounted?"));
    }
    if has(&["executable file not found", "no such file or directory"]) {
        return Some((127, "is the command in the image, and on its PATH?"));
    }
    if has(&["permission denied", "is a directory"]) {
        return Some((126, "the command is in the image but cannot be executed"));
    }
    let files = (COULD_NOT_RUN, "the engine itself may open fewer files: give a lower --open-files");
    has(&["rlimit"]).then_some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_gone_is_no_command_that_is_missing() {
        for (text, exit) in [
            (
                "error mounting \"/x\" to rootfs at \"/workspace/.env\": open o_path procfd: no such file or directory",
                125,
            ),
            ("crun: mount `/x` to `workspace/.env`: No such file or directory", 125),
            ("exec: \"nothing\": executable file not found in $PATH", 127),
            ("exec: \"/nothing\": stat /nothing: no such file or directory", 127),
            ("exec: \"/etc\": permission denied", 126),
        ] {
            assert_eq!(start_fault(text).map(|(exit, _)| exit), Some(exit), "{text}");
        }
        assert_eq!(start_fault("no space left on device"), None);
    }
}
