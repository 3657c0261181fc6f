//! The guard as the supervisor holds it: its lines, and its stdin.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::query_parameters::AttachContainerOptions;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::events::{Awaited, EventFiles};
use super::prepared::RunPlan;
use super::summary::Summary;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::streams::ShownRefusal;
use crate::supervisor::{engine, live};
use crate::term::Failure;
use crate::wire::control::FromSupervisor;
use crate::wire::event::AgentEnded;

/// A guard that listens to its stdin writes the agent's end down within this time.
const SAYING: Duration = Duration::from_secs(1);
/// The guard's last lines arrive within this time after its end.
const COLLECTING: Duration = Duration::from_secs(10);

/// Both ends of the guard's streams.
pub(super) struct GuardLink {
    /// The guard's stdin: while it is open, the guard knows that a supervisor is attached, wherever
    /// that is. Its last line says how the agent ended.
    input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The guard's word that it has written the agent's end down.
    end_is_written: oneshot::Receiver<()>,
    /// Refusals so far.
    refusals: watch::Receiver<ShownRefusal>,
    /// Writing and counting of the guard's lines.
    collecting: JoinHandle<Summary>,
}

/// Returns the options to attach to a container.
pub(super) fn attach(stdin: bool) -> AttachContainerOptions {
    AttachContainerOptions { stream: true, stdin, stdout: true, stderr: true, ..Default::default() }
}

impl GuardLink {
    /// Attaches to a guard that does not run yet, so that no line is lost. The receiver hears that
    /// the guard is ready.
    pub(super) async fn attach(
        plan: &RunPlan,
        events: EventFiles,
    ) -> Result<(GuardLink, oneshot::Receiver<()>), Failure> {
        let guard = plan.workflow.object(Role::Guard);
        let attached = plan.engine.api.attach_container(&guard, Some(attach(true))).await;
        let AttachContainerResults { output, input } =
            attached.map_err(|error| engine::refused("cannot read the guard's events", &error))?;
        let (ready, is_ready) = oneshot::channel();
        let (agent_ended, end_is_written) = oneshot::channel();
        let (awaited, summary) = (Awaited::new(ready, agent_ended), Summary::of(&plan.request));
        let (shown, refusals) = watch::channel(ShownRefusal::default());
        let collecting = tokio::spawn(events.collect(output, awaited, summary, shown));
        Ok((GuardLink { input, end_is_written, refusals, collecting }, is_ready))
    }

    /// Returns the refusals as they happen.
    pub(super) fn refusals(&self) -> watch::Receiver<ShownRefusal> {
        self.refusals.clone()
    }

    /// Has the guard write down how the agent ended, and waits for the line. Where the guard's
    /// stdin leads nowhere, by its control socket. A guard that is gone writes nothing any more.
    pub(super) async fn write_end_down(&mut self, plan: &RunPlan, ended: AgentEnded) {
        let line = FromSupervisor::AgentEnded(ended.clone()).line();
        let said = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        let said = timeout(SAYING, said).await;
        if matches!(said, Ok(Ok(()))) && timeout(SAYING, &mut self.end_is_written).await.is_ok() {
            return;
        }
        let _ = timeout(COLLECTING, live::ended(&plan.engine, &plan.workflow.helpers(), ended)).await;
    }

    /// Waits for the guard's last lines; the summary of all, where they came. Nothing holds the
    /// file of events afterwards, so that what is missing can be added.
    pub(super) async fn summary(self) -> Option<Summary> {
        let GuardLink { input, collecting, .. } = self;
        let summary = within(COLLECTING, collecting).await;
        drop(input);
        summary
    }
}

/// Waits for a task; one that takes longer is ended, with all that it holds.
async fn within<T>(limit: Duration, mut task: JoinHandle<T>) -> Option<T> {
    match timeout(limit, &mut task).await {
        Ok(ended) => ended.ok(),
        Err(_) => {
            task.abort();
            task.await.ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_ended_and_lets_go_of_what_it_holds() {
        let (held, let_go) = oneshot::channel::<()>();
        let hanging = tokio::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(within(COLLECTING, hanging).await.is_none());
        assert!(let_go.await.is_err(), "dropped");
        assert_eq!(within(COLLECTING, tokio::spawn(async { 7 })).await, Some(7));
    }
}
