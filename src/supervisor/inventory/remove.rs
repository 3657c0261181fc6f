//! Removing a workflow, by the engine's own ids of its parts: a name could be somebody else's by
//! now.

use std::time::Duration;

use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{LogsOptions, RemoveContainerOptions, RemoveVolumeOptions};
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::WorkflowSummary;
use super::save_output;
use crate::supervisor::aftermath;
use crate::supervisor::engine::dialect::NetworkOwner;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live;
use crate::supervisor::records::history::{self, RunEnding, RunHistory};
use crate::supervisor::records::output::OutputSource;
use crate::supervisor::records::{events, runs};
use crate::supervisor::spec::part::Part;
use crate::supervisor::spec::workflow::Role;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::WorkflowId;
use crate::wire::event::{AgentEnded, How};
use crate::workspace::masks;

/// Between two pieces of a log an engine takes no longer than this.
const SILENCE: Duration = Duration::from_secs(30);
/// States of a container in which none of its processes is left. One that was never started is
/// among them: the start of a run that is removed is over.
const OVER: [&str; 4] = ["absent", "created", "exited", "dead"];
/// Number of looks at a container whose end or removal is under way.
const LOOKS: u32 = 100;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Extent of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Nothing stays.
    Whole,
    /// The agent's container stays with its volumes, stopped, where it has ended (`run --keep`).
    AroundAgent,
}

/// Saves the events of a workflow whose agent has ended, and removes it. Of one that this machine
/// has no record of, nothing is kept or settled here: its id is no more than what the engine's
/// objects say. What cannot be saved is not removed: an agent that fills a disk would be rid of its
/// traces. What it left in the project is settled all the same.
pub(crate) async fn end(
    engine: &Engine,
    found: &WorkflowSummary,
    how: How,
    extent: Extent,
) -> Result<(), Failure> {
    let status = write_end_down(engine, found, how).await;
    if !found.is_recorded() {
        return remove(engine, found, Extent::Whole).await;
    }
    keep_output(engine, found).await;
    let Err(mut failure) = save_events(engine, found).await else {
        remove(engine, found, extent).await?;
        return history::close(found.id, RunEnding::now(status, Some(how)));
    };
    if let Err(other) = aftermath::settle_abandoned(engine, found.id, found.helpers()).await {
        failure.causes.extend(std::iter::once(other.message).chain(other.causes));
    }
    let id = found.id;
    Err(failure.hint(format!("workflow {id} is kept until its events can be saved; then `ringfence gc`")))
}

/// Keeps what the agent of a detached run printed, and what services did. Where that fails, the
/// removal goes on: the rest of what the run left is worth more.
async fn keep_output(engine: &Engine, found: &WorkflowSummary) {
    let detached = RunHistory::of(found.id).is_some_and(|run| run.begun.detached);
    let agent = found.container(Role::Agent).filter(|_| detached);
    let agent = agent.map(|container| (container, OutputSource::agent(found.id)));
    let services = found.services.keys().filter_map(|name| {
        Some((found.service_container(name)?, OutputSource::service(found.id, name.clone())))
    });
    for (container, source) in agent.into_iter().chain(services) {
        save_output(engine, container, &source).await.unwrap_or_else(|failure| failure.tell());
    }
}

/// Asks the guard to write down how the agent ended, where its supervisor has not done so. A guard
/// that is gone writes nothing any more. Returns the agent's status, where the engine has one.
async fn write_end_down(engine: &Engine, found: &WorkflowSummary, how: How) -> Option<u8> {
    let state = engine.inspect_container(found.container(Role::Agent)?, None).await.ok()?.state;
    // One that runs is ended by its removal, and has no status yet.
    let status = state.filter(|state| state.running == Some(false)).and_then(|state| state.exit_code);
    let exit_status = status.and_then(|status| u8::try_from(status).ok());
    if let Some(helpers) = found.helpers().filter(|_| found.guard == "running") {
        let ended = AgentEnded { how: how.into(), exit_status };
        let _ = tokio::time::timeout(SILENCE, live::ended(engine, &helpers, ended)).await;
    }
    exit_status
}

/// Number of further tries, each after a helper of the run that came after the look before it.
const TRIES: usize = 3;

/// Removes a workflow, to an extent. Podman removes no container that another one joins, so a
/// helper that the workflow's own supervisor starts meanwhile makes it fail: then what is there now
/// is removed.
pub(crate) async fn remove(engine: &Engine, found: &WorkflowSummary, extent: Extent) -> Result<(), Failure> {
    let mut removed = remove_listed(engine, found, extent).await;
    let mut listed = found.clone();
    for _ in 0..TRIES {
        if removed.is_ok() {
            break;
        }
        let Ok(now) = super::of_id(engine, found.id).await else { break };
        let now = now.unwrap_or(WorkflowSummary { parts: Vec::new(), ..found.clone() });
        let came = |part: &Part| listed.parts.iter().all(|old| old.handle != part.handle);
        if !now.parts.is_empty() && !now.parts.iter().any(came) {
            break;
        }
        removed = remove_listed(engine, &now, extent).await;
        listed = now;
    }
    removed
}

/// Removes what was listed of a workflow: agent and services first, so that they never run without
/// a guard, then the guard and the fence, then what they used. What is over already goes beside the
/// agent. All of it is tried; all errors are told. An agent that is to stay and cannot be seen to
/// have ended goes all the same.
async fn remove_listed(engine: &Engine, found: &WorkflowSummary, extent: Extent) -> Result<(), Failure> {
    let id = found.id;
    let stays = extent == Extent::AroundAgent && found.keep && has_ended(engine, found).await;
    let is_over = |state: &str| OVER.contains(&state);
    // Nothing can be told to a guard that has ended, and nobody is left in the fence then.
    let is_closed = is_over(&found.agent)
        && found.services.values().all(|state| is_over(state))
        && found.members().all(|part| is_over(&part.state))
        && is_over(&found.guard);
    let fence_goes = is_closed && engine.dialect.network_owner == NetworkOwner::GoesAlone;
    let goes_beside = |part: &Part| match part.role {
        // Nobody needs the addresses of the engine's machine.
        Role::Host | Role::Probe => true,
        Role::Guard => is_closed,
        Role::Fence => fence_goes,
        _ => false,
    };
    let (mut errors, beside) =
        tokio::join!(remove_agent(engine, found, stays), remove_all(engine, found, goes_beside));
    // What is put back waits for the agent's end alone.
    if errors.is_empty() && found.is_recorded() {
        match aftermath::settle_abandoned(engine, found.id, found.helpers()).await {
            Ok(true) => _ = save_events(engine, found).await,
            Ok(false) => {}
            Err(failure) => errors.extend(std::iter::once(failure.message).chain(failure.causes)),
        }
        errors.extend(close_members(engine, found).await);
    }
    errors.extend(beside);
    let is_left = |part: &Part| matches!(part.role, Role::Guard | Role::Fence) && !goes_beside(part);
    errors.extend(remove_all(engine, found, is_left).await);
    let networks = found.parts.iter().filter(|part| part.role == Role::Network).map(|part| async move {
        let removed = engine.api.remove_network(&part.handle).await;
        let error = removed.err().filter(|error| !engine::is_missing(error))?;
        Some(format!("{}: {}", part.role, engine::describe(&error)))
    });
    // No engine removes a volume that a container has.
    let roles = if stays { &[Role::Volume] } else { Role::VOLUMES };
    let volumes = found.parts.iter().filter(|part| roles.contains(&part.role));
    let volumes = volumes.map(|part| remove_volume(engine, part));
    let (networks, volumes) = tokio::join!(join_all(networks), join_all(volumes));
    errors.extend(networks.into_iter().chain(volumes).flatten());
    if found.is_recorded() {
        errors.extend(match stays {
            true => words(masks::let_go(id)),
            false => clean_up(id, errors.is_empty()),
        });
    }
    if errors.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(COULD_NOT_RUN, format!("workflow {id} could not be removed whole"));
    failure.causes = errors;
    Err(failure.hint("`ringfence gc` tries again"))
}

/// Puts back after the members of a group, and removes their covers; errors in words.
async fn close_members(engine: &Engine, found: &WorkflowSummary) -> Vec<String> {
    let mut errors = Vec::new();
    for covers in found.members().filter_map(|part| part.covers) {
        let settled = aftermath::settle_abandoned(engine, covers, found.helpers()).await.map(drop);
        let failed = settled.and_then(|()| masks::close(covers)).err();
        errors.extend(
            failed.into_iter().flat_map(|failure| std::iter::once(failure.message).chain(failure.causes)),
        );
    }
    errors
}

/// Removes agent and services, the agent unless it stays; errors in words. Podman removes no
/// container whose processes another one is among.
async fn remove_agent(engine: &Engine, found: &WorkflowSummary, stays: bool) -> Vec<String> {
    let mut errors = remove_all(engine, found, |part| part.role == Role::Disk).await;
    errors.extend(
        remove_all(engine, found, |part| {
            matches!(part.role, Role::Service | Role::Member) || part.role == Role::Agent && !stays
        })
        .await,
    );
    errors
}

/// Removes these containers side by side; errors in words.
async fn remove_all(engine: &Engine, found: &WorkflowSummary, which: impl Fn(&Part) -> bool) -> Vec<String> {
    let chosen = found.parts.iter().filter(|part| which(part));
    let removed = join_all(chosen.map(|part| remove_container(engine, part))).await;
    removed.into_iter().flatten().collect()
}

/// Removes what this machine keeps of a workflow; errors in words. The record stays while anything
/// is left on the engine.
fn clean_up(id: WorkflowId, forget: bool) -> Vec<String> {
    let closed = masks::close(id);
    let forgotten = if forget && closed.is_ok() { runs::forget(id) } else { Ok(()) };
    [closed, forgotten].into_iter().flat_map(words).collect()
}

/// Returns an error in words.
fn words(done: Result<(), Failure>) -> Vec<String> {
    let words = |failure: Failure| std::iter::once(failure.message).chain(failure.causes).collect();
    done.err().map(words).unwrap_or_default()
}

/// Tells whether the agent has ended: a killed one within moments.
async fn has_ended(engine: &Engine, found: &WorkflowSummary) -> bool {
    let Some(agent) = found.container(Role::Agent) else { return false };
    for _ in 0..LOOKS {
        let looked = engine.inspect_container(agent, None).await;
        if looked.as_ref().is_err_and(engine::is_missing) {
            return false;
        }
        let state = looked.ok().and_then(|about| about.state).unwrap_or_default();
        if matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD)) {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// Reads the guard's log. `None` when the engine has none: the guard is gone, or somebody else
/// removes it just now, the run's own supervisor say.
pub(crate) async fn read_events(
    engine: &Engine,
    found: &WorkflowSummary,
) -> Result<Option<Vec<u8>>, Failure> {
    let id = found.id;
    let Some(guard) = found.container(Role::Guard) else { return Ok(None) };
    let options = LogsOptions { stdout: true, stderr: false, ..Default::default() };
    let mut lines = engine.api.logs(guard, Some(options)).boxed();
    let mut bytes = Vec::new();
    loop {
        let next = tokio::time::timeout(SILENCE, lines.next()).await;
        let Some(chunk) = next.map_err(|_| {
            let what = format!("cannot read the events of {id}");
            Failure::new(COULD_NOT_RUN, format!("{what}: no word for {} s", SILENCE.as_secs()))
        })?
        else {
            return Ok(Some(bytes));
        };
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk.into_bytes()),
            Err(error) if engine::is_missing(&error) => return Ok(None),
            Err(error) if engine::is_being_removed(&error) => {
                // An engine gives no log of a container whose removal has begun, even when the
                // removal failed. What waits for the log would wait for ever.
                if !is_gone_soon(engine, guard).await {
                    crate::term::warn(Warning::EventsOutOfReach(id.to_string()));
                }
                return Ok(None);
            }
            Err(error) => return Err(engine::refused(format!("cannot read the events of {id}"), &error)),
        }
    }
}

/// Removes a container; the error in words.
async fn remove_container(engine: &Engine, part: &Part) -> Option<String> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    let removed = engine.api.remove_container(&part.handle, Some(options)).await;
    let error = removed.err().filter(|error| !engine::is_missing(error))?;
    // Somebody else removes it just now: the supervisor, or `stop`.
    let done = engine::is_being_removed(&error) && is_gone_soon(engine, &part.handle).await;
    (!done).then(|| format!("{}: {}", part.role, engine::describe(&error)))
}

/// Waits for the end of a removal that is under way.
async fn is_gone_soon(engine: &Engine, container: &str) -> bool {
    for _ in 0..LOOKS {
        let inspected = engine.inspect_container(container, None).await;
        if inspected.is_err_and(|error| engine::is_missing(&error)) {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// Removes a volume; the error in words. Of a volume that shows a directory of a machine, the
/// engine ends the mount first and removes its own empty directory.
async fn remove_volume(engine: &Engine, part: &Part) -> Option<String> {
    let force = Some(RemoveVolumeOptions { force: true });
    let removed = engine.api.remove_volume(&part.handle, force).await;
    let error = removed.err().filter(|error| !engine::is_missing(error))?;
    Some(format!("volume {}: {}", part.handle, engine::describe(&error)))
}

/// Outcome of keeping the events of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// Everything that the engine has is kept.
    Whole,
    /// Somebody on this machine still writes them; nothing was added.
    HeldElsewhere,
    /// The engine has none.
    Nothing,
}

/// Keeps the events of a workflow that no supervisor follows, from the guard's log.
pub(crate) async fn save_events(engine: &Engine, found: &WorkflowSummary) -> Result<Saved, Failure> {
    let id = found.id;
    let Some(bytes) = read_events(engine, found).await? else { return Ok(Saved::Nothing) };
    let added = events::add(id, &bytes)?;
    if let Some((from, to)) = added.missing {
        crate::term::warn(Warning::EventsLost { workflow: id.to_string(), from, to });
    }
    Ok(if added.are_held { Saved::HeldElsewhere } else { Saved::Whole })
}
