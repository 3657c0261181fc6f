//! The lines that a helper's container says.
//!
//! ```text
//!  attach ─▶ stdout ─▶ pieces ─▶ lines     dropped ─▶ end of the helper's stdin ─▶ the helper ends
//! ```

use std::pin::Pin;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use bollard::query_parameters::AttachContainerOptions;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::io::AsyncWrite;

use crate::supervisor::engine::{self, Engine};

/// The lines of one helper.
pub(crate) struct HelperLines {
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
    /// The helper ends with it.
    _input: Pin<Box<dyn AsyncWrite + Send>>,
    pending: Vec<u8>,
    /// Bytes of the longest line.
    longest: usize,
}

impl HelperLines {
    /// Attaches to a container that was made and not started yet, so that no word is lost.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn of(
        engine: &Engine,
        container: &str,
        longest: usize,
    ) -> Result<HelperLines, ApiError> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: false,
            ..Default::default()
        };
        let attached = engine.api.attach_container(container, Some(options)).await?;
        let AttachContainerResults { output, input } = attached;
        Ok(HelperLines { output, _input: input, pending: Vec::new(), longest })
    }

    /// Waits for the next line, its end included.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                return Ok(self.pending.drain(..=end).collect());
            }
            if self.pending.len() > self.longest {
                return Err("a line without an end".to_owned());
            }
            match self.output.next().await {
                Some(Ok(LogOutput::StdOut { message })) => self.pending.extend_from_slice(&message),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(engine::describe(&error)),
                None => return Err("it has ended".to_owned()),
            }
        }
    }

    /// Takes a line that is there already.
    ///
    /// # Errors
    /// When none will come, with the reason.
    pub(super) fn at_hand(&mut self) -> Option<Result<Vec<u8>, String>> {
        self.next().now_or_never()
    }

    /// Makes those of a helper that has said so much, and lives on or not.
    #[cfg(test)]
    pub(crate) fn said(parts: impl IntoIterator<Item = Vec<u8>>, lives: bool, longest: usize) -> HelperLines {
        let parts: Vec<_> =
            parts.into_iter().map(|part| Ok(LogOutput::StdOut { message: part.into() })).collect();
        let said = futures_util::stream::iter(parts);
        let output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>> =
            if lives { Box::pin(said.chain(futures_util::stream::pending())) } else { Box::pin(said) };
        HelperLines { output, _input: Box::pin(tokio::io::sink()), pending: Vec::new(), longest }
    }
}
