//! The events of a workflow as its guard writes them.

use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::LogsOptions;
use futures_util::{Stream, StreamExt};

use crate::supervisor::engine::{self, Engine};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// The longest piece without a line's end, in bytes: no line is as long.
const LONGEST: usize = 33 << 20;

/// Events from the first, and on until the guard ends.
pub(crate) struct EventFeed {
    id: WorkflowId,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
    pending: Vec<u8>,
    longest: usize,
}

impl EventFeed {
    /// Begins with the first event of a guard.
    pub(crate) fn of(engine: &Engine, id: WorkflowId, guard: &str) -> EventFeed {
        let options = LogsOptions { stdout: true, stderr: false, follow: true, ..Default::default() };
        let output = Box::pin(engine.api.logs(guard, Some(options)));
        EventFeed { id, output, pending: Vec::new(), longest: LONGEST }
    }

    /// Ends at a piece without a line's end that is longer than so many bytes.
    pub(crate) fn within(self, longest: usize) -> EventFeed {
        EventFeed { longest, ..self }
    }

    /// Tells whether it ended at a line that is too long.
    pub(crate) fn is_too_long(&self) -> bool {
        self.pending.len() > self.longest
    }

    /// Returns the next whole lines; none at the end.
    ///
    /// # Errors
    /// When the engine does not go on, or sends what is no log.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let cannot = || format!("cannot go on reading the events of {}", self.id);
        while let Some(chunk) = self.output.next().await {
            let chunk = chunk.map_err(|error| engine::refused(cannot(), &error))?;
            self.pending.extend_from_slice(&chunk.into_bytes());
            if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.pending.drain(..=end).collect()));
            }
            if self.is_too_long() {
                return Err(Failure::new(COULD_NOT_RUN, cannot()).hint("look at it with `ringfence events`"));
            }
        }
        Ok(None)
    }
}
