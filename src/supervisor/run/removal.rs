//! Removing what a run of this program made, once nothing of it can still come into being.
//!
//! ```text
//!  answers of all creations ─▶ remove by name and label ─┬─ all outcomes known ─▶ done
//!                                                        └─ some unknown ─▶ look again for a while ─▶ remove, and say so
//! ```

use std::time::Duration;

use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::{self, Extent, Saved};
use crate::supervisor::spec::workflow::Workflow;
use crate::term::{COULD_NOT_RUN, Failure};

/// An engine that restarts is back within this time.
pub(super) const ENGINE_LIMIT: Duration = Duration::from_secs(30);
/// Removing what a run made takes seconds, or minutes where an agent left millions of files on a
/// slow disk.
const REMOVAL_LIMIT: Duration = Duration::from_secs(900);
/// An engine at work answers a request within this time, so nothing is said before.
const QUIET: Duration = Duration::from_secs(3);
/// A slow disk may hold a request up for this long.
const ANSWERS: Duration = Duration::from_secs(60);
/// Number of further looks at the engine for what nobody knows of.
const LOOKS: u32 = 5;
/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Knowledge of the guard when a run is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuardAtRemoval {
    /// Its log was read to the line that is its end: it has ended, though the engine may not have
    /// seen that yet.
    Ended,
    /// It may work, and its newest lines may be in the engine's log alone.
    Unknown,
    /// It may work, in a rehearsal whose lines nobody keeps.
    Rehearsed,
}

/// One removal of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Knowledge of the guard.
    pub(crate) guard: GuardAtRemoval,
    /// Parts that go.
    pub(crate) extent: Extent,
}

/// Removes what a run made, to an extent. An engine that restarts is waited for: what it leaves
/// running is closed, but nobody's.
pub(super) async fn of_run(engine: &Engine, workflow: &Workflow, removal: Removal) -> Result<(), Failure> {
    if engine.answers().await {
        let tried = within_limit(engine, workflow, removal).await;
        if tried.is_ok() || engine.answers().await {
            return tried;
        }
    }
    crate::term::talk(format_args!(
        "the engine does not answer; waiting {} s for it, to remove workflow {}",
        ENGINE_LIMIT.as_secs(),
        workflow.id
    ));
    let waiting = crate::term::progress("waiting for the engine");
    engine.back_within(ENGINE_LIMIT).await;
    drop(waiting);
    if engine.answers().await {
        return within_limit(engine, workflow, removal).await;
    }
    let what = format!("workflow {} could not be removed: the engine does not answer", workflow.id);
    Err(Failure::new(COULD_NOT_RUN, what).hint("`ringfence gc` tries again once it does"))
}

/// Tells whether the agent's container is all that is left of a run.
pub(super) async fn has_kept(engine: &Engine, workflow: &Workflow) -> bool {
    let left = tokio::time::timeout(ENGINE_LIMIT, inventory::of_run(engine, workflow)).await;
    left.is_ok_and(|left| left.is_ok_and(|left| left.kept))
}

/// Removes with a limit on the whole. Each step has the limit that every request has; all of them
/// together have one that leaves room for a slow disk.
async fn within_limit(engine: &Engine, workflow: &Workflow, removal: Removal) -> Result<(), Failure> {
    let removed = tokio::time::timeout(REMOVAL_LIMIT, remove(engine, workflow, removal)).await;
    removed.unwrap_or_else(|_| {
        let minutes = REMOVAL_LIMIT.as_secs() / 60;
        let what = format!("workflow {} was not removed within {minutes} minutes", workflow.id);
        Err(Failure::new(COULD_NOT_RUN, what)
            .hint("`ringfence ps` tells what is there, `ringfence gc` tries again"))
    })
}

/// Removes what this program asked the engine for. Call it when nothing asks for more.
pub(crate) async fn remove(engine: &Engine, workflow: &Workflow, removal: Removal) -> Result<(), Failure> {
    let _progress = crate::term::progress("removing what the run made");
    let mut doubtful = engine.creations.settled(QUIET).await;
    if !doubtful.unanswered.is_empty() {
        let (limit, what) = (ANSWERS.as_secs(), doubtful.objects());
        crate::term::talk(format_args!(
            "waiting up to {limit} s for the engine to say whether it made: {what}"
        ));
        doubtful = engine.creations.settled(ANSWERS).await;
    }
    let mut removed = remove_now(engine, workflow, removal).await;
    if doubtful.is_empty() {
        return removed;
    }
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        let left = inventory::of_run(engine, workflow).await?;
        let is_kept = left.kept && removal.extent == Extent::AroundAgent;
        if removed.is_err() || !(left.parts.is_empty() || is_kept) {
            removed = remove_now(engine, workflow, removal).await;
        }
    }
    removed?;
    let doubtful = engine.creations.settled(Duration::ZERO).await;
    if doubtful.is_empty() {
        // All were answered meanwhile, perhaps after the last look.
        return remove_now(engine, workflow, removal).await;
    }
    let seconds = (PAUSE * LOOKS).as_secs();
    let what = format!("the engine did not say whether it made: {}", doubtful.objects());
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    failure.causes.push(format!("what was there within {seconds} s was removed; something may come later"));
    Err(failure.hint("`ringfence ps` shows what is there; `ringfence gc` removes it"))
}

/// Removes what is there at this moment.
async fn remove_now(engine: &Engine, workflow: &Workflow, removal: Removal) -> Result<(), Failure> {
    let mut found = inventory::of_run(engine, workflow).await?;
    match removal.guard {
        GuardAtRemoval::Ended => found.guard_has_ended(),
        // The run is over, and its caller waits: what cannot be saved is told.
        GuardAtRemoval::Unknown if found.is_recorded() => {
            match inventory::save_events(engine, &found).await {
                Ok(Saved::Whole | Saved::Nothing) => {}
                Ok(Saved::HeldElsewhere) => held(workflow).tell(),
                Err(failure) => failure.tell(),
            }
        }
        GuardAtRemoval::Unknown | GuardAtRemoval::Rehearsed => {}
    }
    inventory::remove(engine, &found, removal.extent).await
}

/// Makes the failure for a log whose newest lines go with the guard.
fn held(workflow: &Workflow) -> Failure {
    let what = format!("the newest events of workflow {} could not be saved", workflow.id);
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    failure.causes.push("their file is still being written by another process".to_owned());
    failure.hint(format!("`ringfence events {}` shows what was saved before", workflow.id))
}
