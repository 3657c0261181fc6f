//! Changes of the view: what comes in, and what is to be done about it.

use super::keys;
use super::shown::Shown;
use super::state::{Dashboard, Panel};
use super::workflow::{Listed, WatchedWorkflow};
use crate::term::screen::Key;
use crate::wire::WorkflowId;
use crate::wire::event::Line;

/// Workflows that are shown.
pub(crate) const MOST: usize = 200;
/// Lines of an answer that are shown.
const LONGEST_ANSWER: usize = 500;

/// News for the view.
#[derive(Debug)]
pub(crate) enum Message {
    /// A person pressed a key.
    Key(Key),
    /// The clock, in seconds since 1970.
    Clock(u64),
    /// The workflows on the engine; the moment in milliseconds.
    Listed(Vec<Listed>, u64),
    /// The engine does not answer.
    EngineLost(String),
    /// The events of a workflow are read from the first, and some have come.
    FollowBegan(WorkflowId),
    /// The events of a workflow are not read any more; the reason, where they will not be again.
    FollowEnded(WorkflowId, Option<String>),
    /// Further events of a workflow.
    Events(WorkflowId, Vec<Line>),
    /// A work is done.
    Answered {
        /// The work, in words.
        title: String,
        /// Outcome of the work.
        text: String,
    },
}

/// Work for the one who holds the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Permit a host, as `ringfence allow ID HOST` does.
    Permit {
        /// The workflow.
        id: WorkflowId,
        /// The host, as it was typed.
        host: String,
    },
    /// End a workflow, as `ringfence stop ID` does.
    Stop {
        /// The workflow.
        id: WorkflowId,
    },
    /// Draw everything anew.
    Redraw,
    /// End the view.
    Quit,
}

impl Dashboard {
    /// Takes news over. Returns work to do, if any.
    pub(crate) fn update(&mut self, message: Message) -> Option<Effect> {
        match message {
            Message::Key(key) => return keys::press(self, &key),
            Message::Clock(now) => self.now = now,
            Message::Listed(listed, now_ms) => self.list(&listed, now_ms),
            Message::EngineLost(why) => self.trouble = Some(Shown::of(&why)),
            Message::FollowBegan(id) => self.with(id, WatchedWorkflow::follow),
            Message::FollowEnded(id, why) => self.with(id, |workflow| workflow.leave(why.as_deref())),
            Message::Events(id, lines) => {
                self.with(id, |workflow| lines.iter().for_each(|line| workflow.add(line)));
            }
            Message::Answered { title, text } => {
                self.working = None;
                let lines = Shown::lines(&text, LONGEST_ANSWER);
                self.panel = Panel::Answer { title: Shown::of(&title), lines, skipped: 0 };
            }
        }
        None
    }

    fn with(&mut self, id: WorkflowId, change: impl FnOnce(&mut WatchedWorkflow)) {
        if let Some(workflow) = self.workflows.iter_mut().find(|workflow| workflow.id == id) {
            change(workflow);
        }
    }

    /// Takes a list over. The chosen workflow stays the chosen one; where it is gone, its
    /// neighbour is.
    fn list(&mut self, listed: &[Listed], now_ms: u64) {
        let place = self.place();
        let mut before = std::mem::take(&mut self.workflows);
        for one in listed.iter().take(MOST) {
            let known = before.iter().position(|known| known.id == one.found.id);
            let mut workflow = match known {
                Some(at) => before.swap_remove(at),
                None => WatchedWorkflow::new(one.found.id),
            };
            workflow.renew(one, now_ms);
            self.workflows.push(workflow);
        }
        self.unlisted = listed.len().saturating_sub(MOST);
        (self.is_listed, self.trouble) = (true, None);
        if self.selected.is_none_or(|id| self.workflow(id).is_none()) {
            let neighbour = place.min(self.workflows.len().saturating_sub(1));
            (self.selected, self.refusal) = (self.workflows.get(neighbour).map(|found| found.id), None);
        }
    }
}
