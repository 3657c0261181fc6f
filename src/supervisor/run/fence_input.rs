//! The fence's stdin, by which it gets the files that a run begins with.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use bollard::query_parameters::AttachContainerOptions;
use futures_util::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::prepared::RunPlan;
use crate::supervisor::engine;
use crate::supervisor::spec::workflow::Role;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::FirstFiles;

/// Time within which an engine takes the files.
const TAKEN: Duration = Duration::from_secs(30);

/// Both ends of the fence's streams. An engine may lose what it has not passed on when this is
/// dropped, so it is kept until the fence is ready.
pub(super) struct FenceInput {
    input: Pin<Box<dyn AsyncWrite + Send>>,
    _output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
}

impl FenceInput {
    /// Attaches to a fence that does not run yet.
    ///
    /// # Errors
    /// The engine's.
    pub(super) async fn attach(plan: &RunPlan) -> Result<FenceInput, Failure> {
        let fence = plan.workflow.object(Role::Fence);
        let options =
            AttachContainerOptions { stream: true, stdin: true, stdout: true, ..Default::default() };
        let attached = plan.engine.api.attach_container(&fence, Some(options)).await;
        let AttachContainerResults { output, input } =
            attached.map_err(|error| engine::refused("cannot speak to the fence", &error))?;
        Ok(FenceInput { input, _output: output })
    }

    /// Sends the files. A fence that is gone, or does not read, is seen by its end or its silence,
    /// which tells more.
    ///
    /// # Errors
    /// When the files cannot be written down.
    pub(super) async fn send(&mut self, files: &FirstFiles) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(files).map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot write down the configuration").caused_by(&error)
        })?;
        line.push(b'\n');
        let sent = async {
            if self.input.write_all(&line).await.is_ok() {
                let _ = self.input.flush().await;
            }
        };
        let _ = timeout(TAKEN, sent).await;
        Ok(())
    }
}
