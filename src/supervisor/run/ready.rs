//! Waiting for the guard's word, and what the helpers said last where it does not come.

use std::time::Duration;

use tokio::sync::oneshot;

use super::container_end::{diagnostics_of, exit_of, last_words};
use crate::supervisor::engine::Engine;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure, trace};

/// The fence must stand and the guard serve within this time after they were told all.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Waits for the guard's word; the death of either helper, or silence, is a failure with its last
/// words.
pub(super) async fn await_ready(
    engine: &Engine,
    workflow: &Workflow,
    is_told: oneshot::Receiver<()>,
    is_ready: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let fence = workflow.object(Role::Fence);
    let why = tokio::select! {
        ready = is_ready => match ready {
            Ok(()) => {
                if trace::variable().is_some() {
                    diagnostics_of(engine, &fence).await.iter().for_each(crate::term::talk);
                }
                return Ok(());
            }
            Err(_) => "the guard ended".to_owned(),
        },
        status = exit_of(engine, &fence) => format!("the fence ended with status {status}"),
        () = silence(is_told) => format!("nothing was ready within {} s", READY_LIMIT.as_secs()),
    };
    let mut failure =
        Failure::new(COULD_NOT_RUN, "the fence could not be made, so the agent was not started");
    failure.causes.push(why);
    failure.causes.extend(helpers_last_words(engine, workflow).await);
    let default = engine.info.default_runtime.as_deref().unwrap_or_default();
    if let Some(words) = super::runtime::of_helpers(default) {
        failure.causes.push(words);
        failure = failure.hint(super::runtime::OF_HELPERS_HINT);
    }
    Err(failure)
}

/// Waits for the end of the time that fence and guard have. It begins when they were told what they
/// begin with; where that fails, somebody else tells.
async fn silence(is_told: oneshot::Receiver<()>) {
    if is_told.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(READY_LIMIT).await;
}

/// Returns the last lines of fence and guard on stderr. There are none while all is well.
pub(super) async fn helpers_last_words(engine: &Engine, workflow: &Workflow) -> Vec<String> {
    let mut all = Vec::new();
    for role in [Role::Fence, Role::Guard] {
        let words = last_words(engine, &workflow.object(role)).await;
        all.extend(words.into_iter().map(|line| format!("{role}: {line}")));
    }
    all
}

/// Tells whether the fence or the guard runs no more.
pub(super) async fn has_a_helper_ended(engine: &Engine, workflow: &Workflow) -> bool {
    for role in [Role::Fence, Role::Guard] {
        let looked = engine.inspect_container(&workflow.object(role), None).await;
        if looked.ok().and_then(|found| found.state?.running) != Some(true) {
            return true;
        }
    }
    false
}
