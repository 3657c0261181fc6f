//! `ringfence stop`: ends workflows and removes what is theirs.

use std::time::Duration;

use bollard::query_parameters::StopContainerOptions;

use crate::host::account;
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::{Extent, WorkflowSummary};
use crate::supervisor::{engine, inventory, live};
use crate::term::Failure;
use crate::wire::event::{How, Observation};
use crate::wire::{Role, WorkflowId};

/// Time limit for a guard to write down who ends its run.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends each workflow: the agent is asked (TERM), after 10 s it is made to; the id on stdout.
pub(crate) async fn stop(engine_host: Option<&str>, wanted: &[String]) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    // All words are understood before the first workflow is touched.
    let picked = wanted.iter().map(|word| inventory::pick(&all, word)).collect::<Result<Vec<_>, _>>()?;
    let mut failures = Vec::new();
    for found in picked {
        match end(&engine, found).await {
            Ok(()) => {
                super::tell_what_is_not_kept(found);
                crate::term::print(&format!("{}\n", found.id))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    super::all_or_last(failures)
}

/// Ends one workflow, as `ringfence stop ID` does.
pub(super) async fn stop_one(engine_host: Option<&str>, id: WorkflowId) -> Result<(), Failure> {
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    let found = inventory::pick(&all, &id.to_string())?;
    end(&engine, found).await?;
    super::tell_what_is_not_kept(found);
    Ok(())
}

/// Ends a workflow: the agent first, then all that is the workflow's.
async fn end(engine: &Engine, found: &WorkflowSummary) -> Result<(), Failure> {
    // An agent that has ended already is stopped by nobody.
    let has_ended = found.agent_has_ended();
    let how = if has_ended { How::SupervisorLost } else { How::Stopped };
    if !has_ended {
        ask(engine, found).await;
    }
    let options = StopContainerOptions { t: Some(10), ..Default::default() };
    if let Some(agent) = found.container(Role::Agent)
        && let Err(error) = engine.api.stop_container(agent, Some(options)).await
        && !engine::is_missing(&error)
        && !engine::is_being_removed(&error)
        && !engine::describe(&error).contains("not modified")
    {
        return Err(engine::refused(format!("cannot stop the agent of {}", found.id), &error));
    }
    inventory::end(engine, found, how, Extent::Whole).await
}

/// Asks the guard to write down who wants the end. The run ends all the same where the guard does
/// not answer.
async fn ask(engine: &Engine, found: &WorkflowSummary) {
    let Some(helpers) = found.helpers().filter(|_| found.guard == "running") else { return };
    let who = account::caller_in_words();
    let note = vec![(Observation::StopAsked, format!("by {who}, with `ringfence stop`"))];
    let _ = tokio::time::timeout(PATIENCE, live::note(engine, &helpers, note)).await;
}
