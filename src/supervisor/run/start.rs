//! Creates and starts everything, the agent last.

use std::cell::Cell;
use std::sync::Arc;

use bollard::container::AttachContainerResults;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::AttachContainerOptions;
use rustls::pki_types::CertificateDer;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::super::engine::{self, Engine};
use super::super::watch::Watch;
use super::super::{inventory, networks};
use super::checks::surroundings;
use super::clock::Clock;
use super::configuration::configuration;
use super::create::{create, create_agent, create_volume};
use super::events::{Awaited, EventFiles};
use super::host::{self, Recipe};
use super::ready::{await_ready, has_a_helper_ended, helpers_last_words};
use super::running::Running;
use super::{Ended, RunRequest, account, filter, runtime};
use crate::supervisor::engine::dialect::HostNames;
use crate::supervisor::mounts::{declared, nonce};
use crate::supervisor::records::runs::Held;
use crate::supervisor::run::streams;
use crate::supervisor::spec::agent::{AgentSpec, EngineFacts};
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::spec::{containers, etc};
use crate::supervisor::upload::files::upload;
use crate::supervisor::upload::guard_inputs::Means;
use crate::supervisor::upload::{authorities, secrets};
use crate::supervisor::watch::disk_use;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::SHARED;
use crate::workspace::masks::Covered;

/// What the start needs.
pub(super) struct Prepared<'a> {
    /// What was looked at before.
    pub(super) checked: Checked,
    /// What is covered in the agent's files.
    pub(super) covered: Arc<Covered>,
    /// Where the events will go.
    pub(super) events: EventFiles,
    /// What this machine will know of the run.
    pub(super) record: &'a mut Held,
}

/// What the checks found.
pub(super) struct Checked {
    /// The engine's id of the helper image.
    pub(super) helper: String,
    /// All networks of the engine.
    pub(super) networks: Vec<bollard::models::Network>,
    /// What the guard needs of this machine.
    pub(super) means: Means,
    /// Authorities for the agent.
    pub(super) corporate: Option<Vec<CertificateDer<'static>>>,
    /// The engine.
    pub(super) facts: EngineFacts,
    /// The agent's limits.
    pub(super) limits: Limits,
}

/// Creates and starts everything, the agent last.
pub(super) async fn start(
    engine: &Engine,
    workflow: &Workflow,
    request: &RunRequest,
    agent: &AgentSpec,
    prepared: Prepared<'_>,
    early_signal: &Cell<Option<i32>>,
    clock: &mut Clock,
) -> Result<Running, Failure> {
    let Prepared { checked, events, record, covered } = prepared;
    let Checked { helper, networks: existing, means, corporate, facts, limits } = checked;
    let elsewhere = facts.elsewhere;
    let binds = &agent.binds;
    let writable = binds.all.iter().filter(|bind| bind.writable).cloned().collect();
    let watch = tokio::spawn(Watch::begin(limits, writable));
    let mut subnets = networks::subnets(&existing);
    let recipe = Recipe { engine: engine.clone(), workflow: workflow.clone(), image: helper.clone() };
    // It goes on beside the steps that follow, and ends with this function where one of them fails.
    let mut asking = JoinSet::new();
    let asked = recipe.clone();
    asking.spawn(async move { host::begin(&asked).await });
    let (own, uplink, volume, trust, given, data) = tokio::join!(
        networks::create_own(engine, workflow, &subnets),
        networks::ensure_uplink(engine, &existing),
        create_volume(engine, workflow, Role::Volume, true),
        create_volume(engine, workflow, Role::Trust, corporate.is_some()),
        binds.create(engine, workflow),
        declared::create(engine, workflow, agent),
    );
    let ((network, own_subnet), (uplink, uplink_subnet)) = (own?, uplink?);
    volume.and(trust).and(given).and(data)?;
    subnets.push(own_subnet);
    subnets.extend(uplink_subnet);
    clock.step("networks");

    if agent.handed {
        secrets::create_volume(engine, workflow).await?;
    }
    let resolver = request.policy.dns.virtual_range.broadcast();
    let (trust, handed) = (corporate.is_some(), agent.handed);
    let mut fence = containers::fence(workflow, &helper, &network, resolver, trust, handed, binds);
    etc::name_host(engine.dialect.host_names, &request.policy, &mut fence);
    // On another kernel this machine's addresses are not the host's as containers see it (192.168.65.254), and the floor is to have that.
    // A dockerd without its own bridge does not know it.
    let on_request = engine.dialect.host_names == HostNames::OnRequest;
    let can_name_host = elsewhere && on_request && networks::has_default_bridge(&existing);
    tokio::try_join!(
        create(engine, workflow, Role::Fence, fence),
        create(
            engine,
            workflow,
            Role::Guard,
            containers::guard(
                workflow,
                &helper,
                &uplink,
                means.knows_host || can_name_host,
                agent.limits.nano_cpus
            )
        ),
    )?;
    let fence = workflow.object(Role::Fence);
    let planted = if elsewhere { nonce::plant(&binds.all)? } else { Vec::new() };
    let sending = async {
        let (watch, network) = match asking.join_next().await {
            Some(Ok(begun)) => begun?,
            _ => return Err(Failure::new(COULD_NOT_RUN, "the asking for the machine's addresses was ended")),
        };
        let known = surroundings(&request.policy, subnets, network.clone())?;
        let config = configuration(workflow, request, agent, engine, known, &planted)?;
        upload(engine, &fence, SHARED, config).await?;
        Ok((watch, network))
    };
    let making = async {
        let filter = filter::for_agent(engine, workflow).await?;
        create_agent(engine, workflow, agent, &filter).await?;
        declared::check(engine, workflow).await
    };
    let ((watching, network), (), ()) = tokio::try_join!(sending, means.hand_over(engine, workflow), making)?;
    if let Err(failure) = account::give(engine, workflow, agent).await {
        // Only programs that ask for their user's name miss it.
        let message = format!("the agent's user gets no account of its own: {}", failure.message);
        crate::term::talk_lines(Failure { message, ..failure });
    }
    if let Some(corporate) = &corporate {
        authorities::install(engine, workflow, corporate).await?;
    }
    clock.step("containers");

    let guard = workflow.object(Role::Guard);
    let guard_output = engine
        .api
        .attach_container(&guard, Some(attach(true)))
        .await
        .map_err(|error| engine::refused("cannot read the guard's events", &error))?;
    let AttachContainerResults { output: guard_output, input: guard_input } = guard_output;
    let (ready, is_ready) = oneshot::channel();
    let (agent_ended, end_is_written) = oneshot::channel();
    let summary = tokio::spawn(events.collect(guard_output, Awaited::new(ready, agent_ended)));
    tokio::try_join!(start_one(engine, workflow, Role::Guard), start_one(engine, workflow, Role::Fence))?;
    // What the engine calls its objects is asked while fence and guard begin, so that it costs no time.
    let noted = async { record.add_ids(&inventory::of_run(engine, workflow).await?.parts) };
    let (ready, noted) = tokio::join!(await_ready(engine, workflow, is_ready), noted);
    ready.and(noted)?;
    drop(planted);
    if agent.handed {
        let user = account::number(engine, workflow, agent).await;
        secrets::hand_over(engine, workflow, &request.agent.handed, user.as_deref()).await?;
    }
    clock.step("fence proven, guard ready");
    if let Some(runtime) = &agent.runtime {
        runtime::prove(engine, workflow, &helper, runtime, resolver).await?;
        clock.step("runtime proven");
    }

    let watch = watch.await.map_err(|error| {
        Failure::new(COULD_NOT_RUN, "the measuring of what the agent may write was ended").caused_by(&error)
    })??;
    let name = workflow.object(Role::Agent);
    let attached = engine
        .api
        .attach_container(&name, Some(attach(agent.interactive)))
        .await
        .map_err(|error| engine::refused("cannot attach to the agent", &error))?;
    if let Some(number) = early_signal.get() {
        let status = Ended::with(128 + number).status;
        return Err(Failure::new(status, "interrupted before the agent was started"));
    }
    if !covered.are_in_place() {
        let what = "covered files were moved, replaced or linked while the run started, so the agent was not started";
        return Err(Failure::new(COULD_NOT_RUN, what).hint("is another program or agent at work there?"));
    }
    let terminal = (agent.tty && agent.interactive).then(streams::RawTerminal::enter);
    let (over, ended) = watch::channel(false);
    let carrying = tokio::spawn(streams::carry(attached, agent.interactive, ended));
    if let Err(error) = engine.api.start_container(&name, None).await {
        let mut failure = agent_start_failure(&error);
        // What they say while they live has nothing to do with it.
        if has_a_helper_ended(engine, workflow).await {
            failure.causes.extend(helpers_last_words(engine, workflow).await);
        }
        return Err(failure);
    }
    if let Some(bind) = binds.swapped() {
        let what =
            format!("{} was changed while the agent was started, so it was ended", bind.source.display());
        return Err(Failure::new(COULD_NOT_RUN, what).hint("is another program or agent at work there?"));
    }
    let sizing = agent.tty.then(|| tokio::spawn(streams::follow_size(engine.clone(), name)));
    clock.step("agent started");
    Ok(Running {
        carrying,
        over,
        sizing,
        terminal,
        collecting: Some(summary),
        summary: None,
        watch,
        counting: (agent.runtime.is_none())
            .then_some(disk_use::Recipe { image: helper, volumes: agent.data.len() }),
        host: Some(Box::pin(watching.follow(recipe, network))),
        engine_is_silent: false,
        guard_input,
        end_is_written,
    })
}

/// docker's statuses for a command that cannot be started.
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

fn attach(stdin: bool) -> AttachContainerOptions {
    AttachContainerOptions { stream: true, stdin, stdout: true, stderr: true, ..Default::default() }
}

async fn start_one(engine: &Engine, workflow: &Workflow, role: Role) -> Result<(), Failure> {
    engine
        .api
        .start_container(&workflow.object(role), None)
        .await
        .map_err(|error| engine::refused(format!("cannot start the {role}'s container"), &error))
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
