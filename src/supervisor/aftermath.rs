//! When what a run left is put back: after the agent's end, and while the guard still writes events if that can be.
//!
//! ```text
//!  run: agent killed ─▶ has it ended? ─▶ settle ─▶ guard: events ─▶ guard ended, everything removed
//!  stop, gc, the next start (nobody holds the journal): agent removed ─▶ settle ─▶ guard: events, if there is one
//! ```

use std::time::Duration;

use tokio::time::timeout;

use super::control;
use super::engine::{self, Engine};
use super::inventory::Found;
use super::workflow::{Role, Workflow};
use crate::error::Failure;
use crate::wire::WorkflowId;
use crate::workspace::aftermath::{self, Aftermath, Told};

/// A killed container has ended within this time, or is looked at again when it is removed.
const ENDING: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);
/// An engine that says nothing for so long is not waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// Puts back after the agent of a workflow, once that has ended. What cannot be done now stays in `held`.
pub async fn settle(engine: &Engine, workflow: &Workflow, held: &mut Option<Aftermath>) -> Option<Told> {
    if held.is_none() || !has_ended(engine, workflow).await {
        return None;
    }
    let told = held.take()?.settle();
    // A guard that is gone writes nothing any more; the person is told all the same.
    let _ = timeout(SILENCE, control::note(engine, &workflow.helpers(), told.notes())).await;
    Some(told)
}

/// The same for a workflow whose agent was removed, and which nobody supervises any more; whether there was something to say.
pub async fn settle_abandoned(engine: &Engine, found: &Found) -> Result<bool, Failure> {
    let Some(told) = aftermath::settle_abandoned(found.id)? else { return Ok(false) };
    tell(&told, false);
    let notes = told.notes();
    let any = !notes.is_empty();
    if let Some(helpers) = found.helpers() {
        let _ = timeout(SILENCE, control::note(engine, &helpers, notes)).await;
    }
    Ok(any)
}

/// The same for workflows that are not on the engine any more; `living` are.
pub fn sweep(engine: &Engine, living: &[WorkflowId]) -> Result<(), Failure> {
    aftermath::sweep(&engine.host, living)?.iter().for_each(|told| tell(told, false));
    Ok(())
}

/// Says it to the person.
pub fn tell(told: &Told, quiet: bool) {
    let (risks, changes) = if quiet { (Vec::new(), Vec::new()) } else { (told.risks(), told.changes()) };
    for line in told.put_back().iter().chain(&risks).chain(&changes) {
        crate::term::talk(format_args!("{line}"));
    }
}

async fn has_ended(engine: &Engine, workflow: &Workflow) -> bool {
    timeout(SILENCE, is_seen_to_end(engine, workflow)).await.unwrap_or(false)
}

async fn is_seen_to_end(engine: &Engine, workflow: &Workflow) -> bool {
    let agent = workflow.object(Role::Agent);
    let looks = ENDING.as_millis() / STEP.as_millis();
    for _ in 0..looks {
        match engine.api.inspect_container(&agent, None).await {
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
