//! The output of an agent or a service, taken from the engine before its container goes.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::records::output::{AgentStream, KeptOutput, OutputSource};
use crate::term::{COULD_NOT_RUN, Failure};

/// Between two pieces of a log an engine takes no longer than this.
const SILENCE: Duration = Duration::from_secs(30);

/// Returns the stream and the bytes of a piece; none of what went to the agent.
pub(crate) fn piece(chunk: LogOutput) -> Option<(AgentStream, bytes::Bytes)> {
    match chunk {
        LogOutput::StdErr { message } => Some((AgentStream::Stderr, message)),
        LogOutput::StdOut { message } | LogOutput::Console { message } => {
            Some((AgentStream::Stdout, message))
        }
        LogOutput::StdIn { .. } => None,
    }
}

/// Tells whether a container has a terminal.
///
/// # Errors
/// When the engine does not say.
pub(crate) async fn has_terminal(engine: &Engine, container: &str) -> Result<bool, bollard::errors::Error> {
    let about = engine.inspect_container(container, None).await?;
    Ok(about.config.and_then(|config| config.tty).unwrap_or(false))
}

/// Keeps the newest part of a container's output on this machine. A container that is gone was
/// removed by `ringfence stop` or `gc`, which have kept it.
///
/// # Errors
/// When the engine does not give it, or it cannot be written.
pub(crate) async fn save_output(engine: &Engine, container: &str, of: &OutputSource) -> Result<(), Failure> {
    let what = || format!("cannot keep the output of {of}");
    let terminal = match has_terminal(engine, container).await {
        Ok(terminal) => terminal,
        Err(error) if engine::is_missing(&error) => return Ok(()),
        Err(error) => return Err(engine::refused(what(), &error)),
    };
    let mut kept = KeptOutput::new(terminal);
    let options = LogsOptions { stdout: true, stderr: true, ..Default::default() };
    let mut pieces = engine.api.logs(container, Some(options)).boxed();
    loop {
        let next = timeout(SILENCE, pieces.next()).await;
        let silent = |_| {
            let silence = format!("{}: no word of the engine for {} s", what(), SILENCE.as_secs());
            Failure::new(COULD_NOT_RUN, silence)
        };
        match next.map_err(silent)? {
            // A log may end with its container, which somebody removes who has kept all of it.
            None if of.is_kept()? && !is_there(engine, container).await => return Ok(()),
            None => return kept.write(of),
            Some(Ok(chunk)) => {
                if let Some((stream, bytes)) = piece(chunk) {
                    kept.add(of, stream, &bytes);
                }
            }
            Some(Err(error)) if engine::is_missing(&error) => return Ok(()),
            Some(Err(error)) => return Err(engine::refused(what(), &error)),
        }
    }
}

/// Tells whether a container is there, and nobody removes it.
async fn is_there(engine: &Engine, container: &str) -> bool {
    let looked = engine.inspect_container(container, None).await;
    let status = looked.ok().and_then(|about| about.state?.status);
    status.is_some_and(|status| {
        !matches!(status, ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)
    })
}
