//! `ringfence gc`: removes what workflows left behind that nobody supervises any more.
//!
//! ```text
//!  the agent runs, or the start is young, or it is kept ─▶ left alone; a group of `serve` with containers too
//!  this machine made it ─▶ does its supervisor hold the record's lock?
//!  else ─▶ the guard: is a supervisor attached?  yes ─▶ left alone │ no ─▶ removed │ nobody can tell ─▶ kept, and told
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{self, Extent, Recorded, WorkflowSummary};
use crate::supervisor::records::{events, history, homes, output, runs};
use crate::supervisor::{aftermath, live, networks};
use crate::term::{Failure, Warning};
use crate::wire::event::How;
use crate::wire::{Role, WorkflowId};
use crate::workspace::masks;

/// A start may take so long that the agent does not exist yet.
const YOUNG_SECONDS: u64 = 120;
/// A supervisor has removed its workflow so long after the guard's end, or never will.
const REMOVAL: Duration = Duration::from_secs(1800);
/// Time limit for a guard's answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Removes leftovers; their ids on stdout.
pub(crate) async fn gc(engine_host: Option<&str>, all: bool) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let Swept { removed, kept, mut failures } = sweep(&engine).await?;
    for found in removed {
        super::tell_what_is_not_kept(&found);
        crate::term::print(&format!("{}\n", found.id))?;
    }
    for (id, why) in kept {
        let workflow = id.to_string();
        crate::term::warn(Warning::WorkflowKept { workflow, why: why.to_string() });
    }
    if all {
        failures.extend(networks::remove_uplinks(&engine).await.err());
    }
    super::all_or_last(failures)
}

/// Removes what is left from earlier runs, at the start of a run. What cannot be removed now is
/// left to `ringfence gc`, which gives the reason.
pub(super) async fn quietly(engine: &Engine) {
    let failures = match sweep(engine).await {
        Ok(swept) => swept.failures,
        Err(failure) => vec![failure],
    };
    let mut told: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
    told.dedup();
    for message in told {
        crate::term::warn(Warning::LeftFromEarlier(message));
    }
}

/// Outcome of the removal.
#[derive(Default)]
struct Swept {
    removed: Vec<WorkflowSummary>,
    kept: Vec<(WorkflowId, String)>,
    failures: Vec<Failure>,
}

/// Removes what every workflow left. One that cannot be removed keeps nobody from the others.
async fn sweep(engine: &Engine) -> Result<Swept, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    let workflows = inventory::workflows(engine).await?;
    // What is kept for a member of a group has an id of its own.
    let of_members = workflows.iter().flat_map(WorkflowSummary::members).filter_map(|part| part.covers);
    let known: Vec<WorkflowId> = workflows.iter().map(|found| found.id).chain(of_members).collect();
    let mut swept = Swept::default();
    for found in workflows {
        if !has_ended(&found, now) {
            continue;
        }
        match supervisor_of(engine, &found).await {
            Supervisor::Lives => {}
            Supervisor::Gone => {
                match inventory::end(engine, &found, How::SupervisorLost, extent(&found)).await {
                    Ok(()) if extent(&found) == Extent::AroundAgent => {}
                    Ok(()) => swept.removed.push(found),
                    Err(failure) => swept.failures.push(failure),
                }
            }
            Supervisor::Unknown(why) => swept.kept.push((found.id, why)),
        }
    }
    swept.failures.extend(masks::sweep(&engine.host, &known).err());
    swept.failures.extend(aftermath::sweep(engine, &known).err());
    swept.failures.extend(runs::sweep(&engine.host, &known).err());
    swept.failures.extend(events::sweep(&known).err());
    swept.failures.extend(history::sweep(&known).err());
    swept.failures.extend(output::sweep(&known).err());
    swept.failures.extend(homes::sweep().err());
    Ok(swept)
}

/// Returns what is removed of a workflow. Of a run that was to keep its agent's container and lost
/// its supervisor before, that container stays.
fn extent(found: &WorkflowSummary) -> Extent {
    match found.keep && found.agent_has_ended() && found.is_recorded() {
        true => Extent::AroundAgent,
        false => Extent::Whole,
    }
}

/// Tells whether there is something to remove. What a person has had kept is theirs to remove.
fn has_ended(found: &WorkflowSummary, now: u64) -> bool {
    // Containers of a client are the client's to remove, also while `serve` is away.
    if found.kept || found.members().next().is_some() {
        return false;
    }
    let ended = matches!(found.agent.as_str(), "absent" | "exited" | "dead" | "created");
    ended && now.saturating_sub(found.created_at.0) > YOUNG_SECONDS
}

/// Presence of the supervisor of a workflow whose agent does not run.
#[derive(Debug, PartialEq, Eq)]
enum Supervisor {
    Lives,
    Gone,
    /// And why nobody can tell.
    Unknown(String),
}

/// Asks where the answer is certain: a lock on this machine, else the guard.
async fn supervisor_of(engine: &Engine, found: &WorkflowSummary) -> Supervisor {
    if runs::is_supervised(found.id) {
        return Supervisor::Lives;
    }
    match found.recorded {
        // It would hold the lock.
        Recorded::Here { locked: true } | Recorded::Earlier => return Supervisor::Gone,
        Recorded::Here { locked: false } | Recorded::No => {}
    }
    let Some(guard) = found.container(Role::Guard) else { return Supervisor::Gone };
    match found.guard.as_str() {
        "running" => by_guard(timeout(PATIENCE, live::is_supervised(engine, guard)).await.ok()),
        // It never ran, and the start is long over.
        "created" => Supervisor::Gone,
        "exited" | "dead" => by_age(ended_ago(engine, guard).await),
        other => Supervisor::Unknown(format!(
            "its guard cannot be asked whether a supervisor is attached ({other})"
        )),
    }
}

fn by_guard(answer: Option<Result<Option<bool>, Failure>>) -> Supervisor {
    match answer {
        Some(Ok(Some(true))) => Supervisor::Lives,
        Some(Ok(Some(false))) => Supervisor::Gone,
        Some(Ok(None)) => {
            Supervisor::Unknown("its guard cannot tell whether a supervisor is attached".to_owned())
        }
        Some(Err(failure)) => Supervisor::Unknown(format!(
            "its guard does not say whether a supervisor is attached ({})",
            failure.message
        )),
        None => Supervisor::Unknown("its guard does not answer whether a supervisor is attached".to_owned()),
    }
}

/// Judges by the time since the guard's end. A dead guard says nothing; the supervisor, if it
/// lives, is about to remove what is left.
fn by_age(ended_ago: Option<Duration>) -> Supervisor {
    match ended_ago {
        Some(ago) if ago > REMOVAL => Supervisor::Gone,
        Some(ago) => Supervisor::Unknown(format!(
            "its guard ended {} ago, so a supervisor elsewhere may be removing it; gc does after {} minutes",
            humantime::format_duration(Duration::from_secs(ago.as_secs())),
            REMOVAL.as_secs() / 60
        )),
        None => Supervisor::Unknown("its guard has ended, and the engine does not say when".to_owned()),
    }
}

/// Returns the time since a container ended, by the engine's clock and this one.
async fn ended_ago(engine: &Engine, container: &str) -> Option<Duration> {
    let about = timeout(PATIENCE, engine.inspect_container(container, None)).await.ok()?.ok()?;
    since(&about.state?.finished_at?, SystemTime::now())
}

/// Returns the time since a moment that the engine wrote, in UTC or with an offset.
fn since(text: &str, now: SystemTime) -> Option<Duration> {
    let seconds = u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_second()).ok()?;
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    // The engine's clock may be a little ahead.
    Some(now.duration_since(then).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::COULD_NOT_RUN;
    use crate::wire::UnixTime;

    #[test]
    fn a_running_or_young_workflow_has_not_ended() {
        let ended = |agent: &str, created_at, now| {
            let found = WorkflowSummary {
                agent: agent.to_owned(),
                created_at: UnixTime(created_at),
                ..inventory::tests::found("00112233")
            };
            has_ended(&found, now)
        };
        assert!(!ended("running", 0, 1_000_000));
        assert!(!ended("paused", 0, 1_000_000));
        assert!(!ended("absent", 999_950, 1_000_000));
        assert!(ended("exited", 0, 1_000_000));
        assert!(!ended("exited", 2_000_000, 1_000_000), "a clock that went back");
        let exited = WorkflowSummary { agent: "exited".to_owned(), ..inventory::tests::found("00112233") };
        assert!(has_ended(&exited, 1_000_000));
        assert!(!has_ended(&WorkflowSummary { kept: true, ..exited }, 1_000_000), "a person wants it");
    }

    #[test]
    fn what_was_to_be_kept_stays_of_a_run_that_is_known_here() {
        let here = Recorded::Here { locked: true };
        let run = |agent: &str, keep, recorded| {
            let agent = agent.to_owned();
            extent(&WorkflowSummary { agent, keep, recorded, ..inventory::tests::found("00112233") })
        };
        assert_eq!(run("exited", true, here), Extent::AroundAgent);
        for whole in [
            run("exited", false, here),
            run("created", true, here),
            run("absent", true, here),
            run("exited", true, Recorded::No),
        ] {
            assert_eq!(whole, Extent::Whole);
        }
    }

    #[test]
    fn only_a_guard_that_says_so_has_no_supervisor() {
        let no_answer = || Failure::new(COULD_NOT_RUN, "the guard does not answer");
        assert_eq!(by_guard(Some(Ok(Some(true)))), Supervisor::Lives);
        assert_eq!(by_guard(Some(Ok(Some(false)))), Supervisor::Gone);
        for unclear in [Some(Ok(None)), Some(Err(no_answer())), None] {
            assert!(matches!(by_guard(unclear), Supervisor::Unknown(_)));
        }
    }

    #[test]
    fn a_guard_that_ended_just_now_may_have_a_supervisor_that_removes_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for text in ["1970-01-01T01:00:00.123456789Z", "1970-01-01T02:00:00+01:00"] {
            assert_eq!(since(text, at(3700)), Some(Duration::from_secs(100)), "{text}");
        }
        assert_eq!(since("1970-01-01T01:00:00Z", at(0)), Some(Duration::ZERO), "a clock that is ahead");
        assert_eq!(since("", at(0)), None);
        assert_eq!(since("0001-01-01T00:00:00Z", at(0)), None, "never");
        assert_eq!(by_age(Some(REMOVAL + Duration::from_secs(1))), Supervisor::Gone);
        for unclear in [Some(Duration::ZERO), Some(REMOVAL), None] {
            assert!(matches!(by_age(unclear), Supervisor::Unknown(_)));
        }
    }
}
