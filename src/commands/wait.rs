//! `ringfence wait`: waits until runs are over, and prints the exit status of each.
//!
//! ```text
//!  a supervisor on this machine holds the run's history ─▶ its lock ─▶ "over" ─▶ the status of `ringfence run`
//!  on the engine, and nobody here follows it            ─▶ the engine's word of the agent
//!  over                                                 ─▶ the history
//! ```

use bollard::errors::Error as ApiError;
use futures_util::StreamExt;

use crate::commands::meant::{AllRuns, MeantRun};
use crate::supervisor::records::history::RunHistory;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// Waits for each run in turn; its status on stdout.
pub(crate) async fn wait(engine_host: Option<&str>, wanted: &[String]) -> Result<u8, Failure> {
    let runs = AllRuns::gather(engine_host).await?;
    // All words are understood before the first run is waited for.
    let all = wanted.iter().map(|word| runs.meant(word)).collect::<Result<Vec<_>, _>>()?;
    for (_, found) in all.iter().filter_map(|run| run.live) {
        super::refuse_group(found)?;
    }
    let mut failures = Vec::new();
    for run in all {
        match status_of(run).await {
            Ok(status) => crate::term::print(&format!("{status}\n"))?,
            Err(failure) => failures.push(failure),
        }
    }
    super::all_or_last(failures)
}

/// Waits for the end of a run; its status.
pub(crate) async fn status_of(run: MeantRun<'_>) -> Result<i64, Failure> {
    let now = match run.is_followed() {
        // Where the supervisor was killed, the agent may go on.
        true => run.until_over().await?,
        // It may have ended since the runs were listed.
        false => RunHistory::of(run.id).or_else(|| run.history.cloned()),
    };
    match now {
        Some(now) if now.over.is_some() => of_past(&now),
        _ => on_engine(run).await,
    }
}

/// Waits until the agent has ended, by the engine's word.
async fn on_engine(run: MeantRun<'_>) -> Result<i64, Failure> {
    let Some((engine, agent)) = run.agent() else { return Err(unknown(run.id)) };
    if run.live.is_some_and(|(_, found)| found.agent == "created") {
        // An engine takes a container that was never started for one that has ended with 0.
        let what = format!("the agent of {} was not started, so it has no exit status", run.id);
        return Err(
            Failure::new(COULD_NOT_RUN, what).hint(format!("end the workflow: ringfence stop {}", run.id))
        );
    }
    match engine.api.wait_container(agent, None).next().await {
        Some(Ok(answer)) => Ok(answer.status_code),
        Some(Err(ApiError::DockerContainerWaitError { code, .. })) => Ok(code),
        // It was removed meanwhile, by somebody who has written its end down.
        Some(Err(_)) | None => {
            RunHistory::of(run.id).map_or_else(|| Err(unknown(run.id)), |run| of_past(&run))
        }
    }
}

/// Returns the status that was written down.
fn of_past(run: &RunHistory) -> Result<i64, Failure> {
    let status = run.over.as_ref().and_then(|over| over.status);
    status.map(i64::from).ok_or_else(|| unknown(run.begun.id))
}

fn unknown(id: WorkflowId) -> Failure {
    let what = format!("nobody knows the exit status of {id}: no supervisor was left to write it down");
    Failure::new(COULD_NOT_RUN, what).hint(format!("`ringfence events {id}` tells what the run did"))
}
