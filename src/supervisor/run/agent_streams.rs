//! The agent's output, input and terminal while it runs.

use bollard::container::AttachContainerResults;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::supervisor::engine::Engine;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::streams::{
    self, CarryOutcome, FarTerminal, Input, RawTerminal, TerminalTitle, TitleEnd,
};

/// Words for the last output where it was given up.
const NOT_WHOLE: &str = "the agent's last output was not waited for, and is not whole";

/// The agent's streams, carried by this program. Those of a detached agent the engine keeps.
pub(super) struct AgentStreams {
    carrying: Option<JoinHandle<CarryOutcome>>,
    /// Says to what carries the output that the agent has ended.
    over: watch::Sender<bool>,
    sizing: Option<JoinHandle<()>>,
    /// Puts the title of the person's terminal back.
    title: Option<TitleEnd>,
    terminal: Option<RawTerminal>,
}

impl AgentStreams {
    /// Begins to carry. Where refusals have a title, it is written between the agent's output.
    pub(super) fn carry(
        attached: AttachContainerResults,
        agent: &AgentSpec,
        title: Option<(TerminalTitle, TitleEnd)>,
    ) -> AgentStreams {
        let terminal = (agent.tty && agent.interactive).then(RawTerminal::enter);
        let (over, ended) = watch::channel(false);
        let from = if agent.interactive { Input::Stdin } else { Input::Nothing };
        let (title, title_end) = title.unzip();
        let carrying = Some(tokio::spawn(streams::carry(attached, from, ended, title)));
        AgentStreams { carrying, over, sizing: None, title: title_end, terminal }
    }

    /// Carries nothing.
    pub(super) fn detached() -> AgentStreams {
        AgentStreams {
            carrying: None,
            over: watch::channel(false).0,
            sizing: None,
            title: None,
            terminal: None,
        }
    }

    /// Tells the terminal of an agent that runs how large this one is.
    pub(super) fn follow_size(&mut self, engine: &Engine, agent: &AgentSpec, container: String) {
        let terminal = FarTerminal::Container(container);
        let follows = agent.tty && self.carrying.is_some();
        self.sizing = follows.then(|| tokio::spawn(streams::follow_size(engine.clone(), terminal)));
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
        let carrying = self.carrying.as_mut()?;
        tokio::select! {
            done = carrying => done.ok()?.lost,
            _ = signals.next() => Some(NOT_WHOLE.to_owned()),
            () = time_over => Some(NOT_WHOLE.to_owned()),
        }
    }

    /// Ends it, and puts the person's terminal back.
    pub(super) fn end(self) {
        if let Some(carrying) = self.carrying {
            carrying.abort();
        }
        if let Some(sizing) = self.sizing {
            sizing.abort();
        }
        drop(self.title);
        drop(self.terminal);
    }
}
