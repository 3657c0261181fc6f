//! `ringfence forward`: ports of this machine that lead to an agent's.

use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;

use super::live::found;
use crate::cli::forward::ForwardArgs;
use crate::supervisor::engine::Engine;
use crate::supervisor::forward::{ForwardRequest, Forwarding, reserve, until_lost};
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::signals::{Signals, status_of_signal};
use crate::supervisor::spec::workflow::{Helpers, Role};
use crate::term::{COULD_NOT_RUN, Failure};

/// The state of a container that works.
const RUNNING: &str = "running";

/// Forwards ports until the run ends or a signal comes.
pub(crate) async fn forward(engine_host: Option<&str>, args: ForwardArgs) -> Result<u8, Failure> {
    let ports = reserve(&args.ports)?;
    let (engine, workflow) = found(engine_host, &args.workflow, args.record).await?;
    let (helpers, agent) = parts(&workflow)?;
    let mut signals = Signals::new()?;
    let lines: String = ports.iter().map(|port| format!("{} -> {}\n", port.shown(), port.agent)).collect();
    let mut forwarding = tokio::select! {
        begun = Forwarding::begin(&engine, &helpers, ForwardRequest { ports, ..ForwardRequest::default() }) => begun?,
        number = signals.next() => return Ok(status_of_signal(number)),
    };
    let lost = forwarding.take_lost();
    crate::term::print(&lines)?;
    let ended = tokio::select! {
        () = until_over(&engine, &agent) => {
            forwarding.drain().await;
            Ok(0)
        }
        number = signals.next() => Ok(status_of_signal(number)),
        failure = until_lost(lost) => match is_over(&engine, &agent).await {
            true => Ok(0),
            false => Err(failure),
        }
    };
    forwarding.end(&engine).await;
    if matches!(ended, Ok(0)) {
        crate::term::talk(format_args!("the agent of {} has ended, and the forward with it", workflow.id));
    }
    ended
}

/// Returns what a forward needs of a workflow whose agent works.
fn parts(workflow: &WorkflowSummary) -> Result<(Helpers, String), Failure> {
    super::refuse_group(workflow)?;
    let agent = workflow.container(Role::Agent).filter(|_| workflow.agent == RUNNING).ok_or_else(|| {
        let what = format!("the agent of {} does not run ({})", workflow.id, workflow.agent);
        Failure::new(COULD_NOT_RUN, what).hint("see which workflows run with `ringfence ps`")
    })?;
    Ok((super::live::helpers(workflow)?, agent.to_owned()))
}

/// Waits until a container has ended, or the engine cannot tell any more.
async fn until_over(engine: &Engine, container: &str) {
    let options = WaitContainerOptions { condition: "not-running".to_owned() };
    let mut answers = engine.api.wait_container(container, Some(options)).boxed();
    answers.next().await;
    if !is_over(engine, container).await {
        // The waiting itself was cut off. The helper's end tells then.
        std::future::pending::<()>().await;
    }
}

/// Tells whether a container runs no more.
async fn is_over(engine: &Engine, container: &str) -> bool {
    let looked = engine.inspect_container(container, None).await;
    match looked {
        Ok(found) => found.state.and_then(|state| state.running) != Some(true),
        Err(error) => crate::supervisor::engine::is_missing(&error),
    }
}
