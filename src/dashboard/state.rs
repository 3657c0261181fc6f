//! State of the view.

use std::cell::Cell;

use super::refusals::{Refusal, RefusalKey};
use super::shown::Shown;
use super::workflow::WatchedWorkflow;
use crate::wire::WorkflowId;

/// State of the view.
#[derive(Debug)]
pub(crate) struct Dashboard {
    pub(super) engine: Shown,
    pub(super) has_colours: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) workflows: Vec<WatchedWorkflow>,
    /// Workflows beyond those that are shown.
    pub(super) unlisted: usize,
    /// Set once the engine has answered.
    pub(super) is_listed: bool,
    /// Complaint of the engine, or of the way to it.
    pub(super) trouble: Option<Shown>,
    pub(super) focus: Focus,
    pub(super) selected: Option<WorkflowId>,
    /// The refusal that was chosen; none: the latest.
    pub(super) refusal: Option<RefusalKey>,
    pub(super) panel: Panel,
    /// Set where the last drawing had no room for the whole box.
    pub(super) is_cut: Cell<bool>,
    /// Work that goes on.
    pub(super) working: Option<Shown>,
}

/// The list that arrows move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Workflows,
    Refusals,
}

/// A box in front of the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Panel {
    /// No box.
    None,
    Help,
    /// Everything about a refusal, as it was when the box was opened: an agent that asks on changes
    /// nothing under a reader.
    Refusal {
        id: WorkflowId,
        refusal: Box<Refusal>,
    },
    /// A name to permit is typed.
    Name {
        id: WorkflowId,
        typed: String,
        fault: Option<Shown>,
        /// Set after a letter that was not added: what follows may be the rest of a paste, and
        /// is not added either.
        is_stuck: bool,
    },
    /// A rule was read, and a person is asked.
    AskPermit {
        id: WorkflowId,
        host: String,
        rule: Shown,
    },
    /// A person is asked whether a workflow is to end.
    AskStop {
        id: WorkflowId,
    },
    /// Outcome of a work.
    Answer {
        title: Shown,
        lines: Vec<Shown>,
        skipped: usize,
    },
}

impl Dashboard {
    /// Begins without a workflow.
    pub(crate) fn new(engine: &str, has_colours: bool, now: u64) -> Dashboard {
        Dashboard {
            engine: Shown::of(engine),
            has_colours,
            now,
            workflows: Vec::new(),
            unlisted: 0,
            is_listed: false,
            trouble: None,
            focus: Focus::Workflows,
            selected: None,
            refusal: None,
            panel: Panel::None,
            is_cut: Cell::new(false),
            working: None,
        }
    }

    /// Returns the place of the chosen workflow.
    pub(super) fn place(&self) -> usize {
        let is_it = |workflow: &WatchedWorkflow| Some(workflow.id) == self.selected;
        self.workflows.iter().position(is_it).unwrap_or(0)
    }

    /// Returns the chosen workflow.
    pub(super) fn chosen(&self) -> Option<&WatchedWorkflow> {
        self.workflows.get(self.place())
    }

    /// Returns a workflow by its id.
    pub(super) fn workflow(&self, id: WorkflowId) -> Option<&WatchedWorkflow> {
        self.workflows.iter().find(|workflow| workflow.id == id)
    }

    /// Returns the id of the chosen workflow.
    pub(crate) fn chosen_id(&self) -> Option<WorkflowId> {
        self.chosen().map(|workflow| workflow.id)
    }

    /// Returns the chosen refusal of the chosen workflow.
    pub(super) fn chosen_refusal(&self) -> Option<&Refusal> {
        let refusals = &self.chosen()?.refusals;
        refusals.get(refusals.place(self.refusal.as_ref())?)
    }

    /// Tells whether a refusal was chosen that is kept no more.
    pub(super) fn is_refusal_gone(&self) -> bool {
        self.refusal.is_some() && self.chosen_refusal().is_none()
    }
}
