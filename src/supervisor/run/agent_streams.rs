//! The agent's output, input and terminal while it runs.

use bollard::container::AttachContainerResults;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::streams::{self, RawTerminal};
use crate::supervisor::engine::Engine;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::agent::AgentSpec;

/// Words for the last output where it was given up.
const NOT_WHOLE: &str = "the agent's last output was not waited for, and is not whole";

/// The agent's streams, carried by this program.
pub(super) struct AgentStreams {
    carrying: JoinHandle<Option<String>>,
    /// Says to what carries the output that the agent has ended.
    over: watch::Sender<bool>,
    sizing: Option<JoinHandle<()>>,
    terminal: Option<RawTerminal>,
}

impl AgentStreams {
    /// Begins to carry.
    pub(super) fn carry(attached: AttachContainerResults, agent: &AgentSpec) -> AgentStreams {
        let terminal = (agent.tty && agent.interactive).then(RawTerminal::enter);
        let (over, ended) = watch::channel(false);
        let carrying = tokio::spawn(streams::carry(attached, agent.interactive, ended));
        AgentStreams { carrying, over, sizing: None, terminal }
    }

    /// Tells the terminal of an agent that runs how large this one is.
    pub(super) fn follow_size(&mut self, engine: &Engine, agent: &AgentSpec, container: String) {
        self.sizing = agent.tty.then(|| tokio::spawn(streams::follow_size(engine.clone(), container)));
    }

    /// Waits for the last output of an agent that has ended, which may still be under way; what of
    /// it was lost, in words. A slow reader is waited for, as `docker run` does, until a signal
    /// comes or the run's time is over.
    pub(super) async fn drain(
        &mut self,
        signals: &mut Signals,
        time_over: impl Future<Output = ()>,
    ) -> Option<String> {
        self.over.send_replace(true);
        tokio::select! {
            done = &mut self.carrying => done.ok()?,
            _ = signals.next() => Some(NOT_WHOLE.to_owned()),
            () = time_over => Some(NOT_WHOLE.to_owned()),
        }
    }

    /// Ends it, and puts the person's terminal back.
    pub(super) fn end(self) {
        self.carrying.abort();
        if let Some(sizing) = self.sizing {
            sizing.abort();
        }
        drop(self.terminal);
    }
}
