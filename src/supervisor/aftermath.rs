//! Settling of a run's aftermath: after the agent's end, and while the guard still writes events if
//! that can be.
//!
//! ```text
//!  run: agent killed ─▶ has it ended? ─▶ settle ─▶ guard: events ─▶ guard ended, everything removed
//!  stop, gc, the next start (nobody holds the journal): agent removed ─▶ settle ─▶ guard: events, if there is one
//! ```

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live;
use crate::supervisor::spec::workflow::{Helpers, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::aftermath::{self, Abandoned, Aftermath, SettleReport, list};
use crate::workspace::masks::Covered;
use crate::workspace::review;

/// A killed container has ended within this time, or is looked at again when it is removed.
const ENDING: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);
/// An engine that says nothing for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// Puts back after a container of a workflow, once `container` has ended. What cannot be done now
/// stays in `held`.
pub(crate) async fn settle(
    engine: &Engine,
    workflow: &Workflow,
    container: &str,
    held: &mut Option<Aftermath>,
    covered: Option<&Covered>,
) -> Option<Report> {
    if held.is_none() || !has_ended(engine, container).await {
        return None;
    }
    let told = put_back(held.take()?, workflow.id);
    Some(recorded(engine, workflow, told, covered).await)
}

/// Does the same on a thread of its own: a process that supervises others waits for no disk.
pub(crate) async fn settle_apart(
    engine: &Engine,
    workflow: &Workflow,
    container: &str,
    held: &mut Option<Aftermath>,
    covered: Option<&Covered>,
) -> Option<Report> {
    if held.is_none() || !has_ended(engine, container).await {
        return None;
    }
    let (aftermath, id) = (held.take()?, workflow.id);
    // A thread that ended with a panic has told it, and its journal is there for the next command.
    let told = tokio::task::spawn_blocking(move || put_back(aftermath, id)).await.ok()?;
    Some(recorded(engine, workflow, told, covered).await)
}

fn put_back(aftermath: Aftermath, id: WorkflowId) -> SettleReport {
    let mut told = aftermath.settle();
    review::look_for_stand_ins(id, &mut told);
    told
}

async fn recorded(
    engine: &Engine,
    workflow: &Workflow,
    mut told: SettleReport,
    covered: Option<&Covered>,
) -> Report {
    told.uncovered = covered.map(Covered::moved).unwrap_or_default();
    record(engine, &workflow.helpers(), workflow.id, told).await
}

/// Has it written down: in the events, and where these do not hold all of it, in a list.
async fn record(engine: &Engine, helpers: &Helpers, id: WorkflowId, told: SettleReport) -> Report {
    let (notes, all) = told.notes();
    // A guard that is gone writes nothing any more; the person is told all the same.
    let noted = timeout(SILENCE, live::note(engine, helpers, notes)).await;
    match noted {
        Ok(Ok(())) if all => Report { told, place: format!("ringfence events {id}") },
        _ => Report::listed(told, id),
    }
}

/// Changes that a run left, and the place where all of them are named.
pub(crate) struct Report {
    told: SettleReport,
    place: String,
}

impl Report {
    /// One whose whole is in a list.
    pub(crate) fn listed(told: SettleReport, id: WorkflowId) -> Report {
        let place = match told.is_empty() {
            true => String::new(),
            false => match list::write(&told, id) {
                Ok(path) => path.display().to_string(),
                Err(error) => format!("nowhere, since no list could be written: {error}"),
            },
        };
        Report { told, place }
    }
}

/// Puts back after a workflow whose agent was removed, and which nobody supervises any more; tells
/// whether there was something to say.
pub(crate) async fn settle_abandoned(
    engine: &Engine,
    id: WorkflowId,
    helpers: Option<Helpers>,
) -> Result<bool, Failure> {
    let Some(abandoned) = put_back_abandoned(id)? else { return Ok(false) };
    Ok(tell_abandoned(engine, id, helpers, abandoned).await)
}

/// Does the same on a thread of its own, for a process that supervises others.
pub(crate) async fn settle_abandoned_apart(
    engine: &Engine,
    id: WorkflowId,
    helpers: Helpers,
) -> Result<(), Failure> {
    let settling = tokio::task::spawn_blocking(move || put_back_abandoned(id));
    let settled = settling.await.map_err(|_| Failure::new(COULD_NOT_RUN, "the putting back was ended"))?;
    if let Some(abandoned) = settled? {
        tell_abandoned(engine, id, Some(helpers), abandoned).await;
    }
    Ok(())
}

fn put_back_abandoned(id: WorkflowId) -> Result<Option<Abandoned>, Failure> {
    let mut settled = aftermath::settle_abandoned(id)?;
    if let Some(abandoned) = &mut settled {
        review::look_for_stand_ins(id, &mut abandoned.told);
    }
    Ok(settled)
}

async fn tell_abandoned(
    engine: &Engine,
    id: WorkflowId,
    helpers: Option<Helpers>,
    abandoned: Abandoned,
) -> bool {
    let Abandoned { told, of } = abandoned;
    let any = !told.is_empty();
    let report = match helpers {
        Some(helpers) => record(engine, &helpers, id, told).await,
        None => Report::listed(told, id),
    };
    tell_of_another(&report, id, &of);
    any
}

/// Puts back after workflows that are not on the engine any more; `living` are.
pub(crate) fn sweep(engine: &Engine, living: &[WorkflowId]) -> Result<(), Failure> {
    for (id, Abandoned { mut told, of }) in aftermath::sweep(&engine.host, living)? {
        review::look_for_stand_ins(id, &mut told);
        tell_of_another(&Report::listed(told, id), id, &of);
    }
    Ok(())
}

/// Says it to the person: what was put back, `--quiet` or not.
pub(crate) fn tell(report: &Report) {
    report.told.put_back().iter().for_each(crate::term::essential);
    rest(report).iter().for_each(crate::term::talk);
}

/// Says of each line which run and which directory it is about: the person is in the middle of
/// something else, in another project perhaps. All of it is said with `--quiet` too: the journal is
/// gone afterwards, and no later run says it again.
fn tell_of_another(report: &Report, id: WorkflowId, of: &[PathBuf]) {
    let all = [report.told.put_back(), rest(report)].concat();
    all.iter().for_each(|line| crate::term::essential(of_another(line, id, of)));
}

fn of_another(line: &str, id: WorkflowId, of: &[PathBuf]) -> String {
    let place = match of {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!(" in {}{more}", first.display())
        }
    };
    format!("of an earlier run ({id}{place}): {line}")
}

/// Returns the lines about what the agent left, and what it changed.
fn rest(report: &Report) -> Vec<String> {
    [report.told.left(&report.place), report.told.changes()].concat()
}

/// Waits a while until a container is seen to have ended; tells whether it was.
pub(crate) async fn has_ended(engine: &Engine, container: &str) -> bool {
    timeout(SILENCE, is_seen_to_end(engine, container)).await.unwrap_or(false)
}

async fn is_seen_to_end(engine: &Engine, container: &str) -> bool {
    let looks = ENDING.as_millis() / STEP.as_millis();
    for _ in 0..looks {
        match engine.inspect_container(container, None).await {
            Err(error) => return engine::is_missing(&error),
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                if state.running == Some(false) && state.pid.unwrap_or(0) == 0 {
                    return true;
                }
            }
        }
        tokio::time::sleep(STEP).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_another_run_says_which_and_where() {
        let id: WorkflowId = "0000002a".parse().unwrap();
        let line =
            of_another("put back in .git/config: alias.x", id, &["/home/me/other".into(), "/b".into()]);
        assert_eq!(
            line,
            "of an earlier run (0000002a in /home/me/other and 1 more): put back in .git/config: alias.x"
        );
        assert_eq!(of_another("x", id, &[]), "of an earlier run (0000002a): x");
    }
}
