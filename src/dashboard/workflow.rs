//! One workflow of the view: facts from the engine, and what its events add up to.

use super::refusals::Refusals;
use super::shown::Shown;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::inventory::usage::Usage;
use crate::wire::WorkflowId;
use crate::wire::event::{Access, Event, Known, Line, Phase};

/// A workflow as it was listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The engine's word.
    pub(crate) found: WorkflowSummary,
    /// The project's directory, where this machine made the workflow.
    pub(crate) project: Option<String>,
}

/// A workflow.
#[derive(Debug, Clone)]
pub(super) struct WatchedWorkflow {
    pub(super) id: WorkflowId,
    pub(super) name: Option<Shown>,
    pub(super) image: Option<Shown>,
    pub(super) project: Option<Shown>,
    /// State of the agent, or of the group.
    pub(super) agent: Shown,
    pub(super) guard: Shown,
    pub(super) created_at: u64,
    /// Containers of a group of `ringfence serve`; 0 of a run.
    pub(super) members: usize,
    pub(super) usage: Option<Usage>,
    /// CPUs that were busy between the two latest looks.
    pub(super) cpus_now: Option<f64>,
    looked_at: Option<u64>,
    /// Set once its events are followed.
    pub(super) is_followed: bool,
    /// Reason why its events cannot be followed.
    pub(super) unfollowable: Option<Shown>,
    pub(super) traffic: Traffic,
    pub(super) refusals: Refusals,
}

/// Connections of a workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
}

impl Traffic {
    pub(super) fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    fn add(&mut self, access: &Access) {
        match access.phase {
            Some(Known::This(Phase::Open)) => self.opened += 1,
            Some(Known::This(Phase::Close)) => {
                self.closed += 1;
                self.bytes_out = self.bytes_out.saturating_add(access.bytes_out.unwrap_or(0));
                self.bytes_in = self.bytes_in.saturating_add(access.bytes_in.unwrap_or(0));
            }
            _ => {}
        }
    }
}

impl WatchedWorkflow {
    /// Begins with nothing but the id.
    pub(super) fn new(id: WorkflowId) -> WatchedWorkflow {
        WatchedWorkflow {
            id,
            name: None,
            image: None,
            project: None,
            agent: Shown::default(),
            guard: Shown::default(),
            created_at: 0,
            members: 0,
            usage: None,
            cpus_now: None,
            looked_at: None,
            is_followed: false,
            unfollowable: None,
            traffic: Traffic::default(),
            refusals: Refusals::default(),
        }
    }

    /// Takes over what was listed, at a moment in milliseconds.
    pub(super) fn renew(&mut self, listed: &Listed, now_ms: u64) {
        let found = &listed.found;
        let shown = |text: Option<String>| text.as_deref().map(Shown::of);
        self.name = shown(found.name.as_ref().map(ToString::to_string));
        self.image = shown(found.image.as_ref().map(ToString::to_string));
        self.project = listed.project.as_deref().map(Shown::of);
        self.agent = Shown::of(if found.kept { "kept" } else { &found.agent });
        self.guard = Shown::of(&found.guard);
        self.created_at = found.created_at.0;
        self.members = found.members().count();
        match &found.usage {
            Some(usage) => self.look(usage, now_ms),
            None if found.agent != "running" => {
                (self.usage, self.cpus_now, self.looked_at) = (None, None, None)
            }
            None => {}
        }
    }

    fn look(&mut self, usage: &Usage, now_ms: u64) {
        let nanos = |usage: &Usage| usage.cpu_nanos;
        let before = self.usage.as_ref().and_then(nanos).zip(self.looked_at);
        let both = before.zip(nanos(usage));
        self.cpus_now = both.and_then(|((was, at), is)| {
            let passed = now_ms.checked_sub(at).filter(|passed| *passed > 0)?;
            Some(is.saturating_sub(was) as f64 / 1e6 / passed as f64)
        });
        (self.usage, self.looked_at) = (Some(usage.clone()), Some(now_ms));
    }

    /// Forgets what events said: they are read from the first again.
    pub(super) fn follow(&mut self) {
        (self.is_followed, self.unfollowable) = (true, None);
        (self.traffic, self.refusals) = (Traffic::default(), Refusals::default());
    }

    /// Notes that its events are not followed: what they said may be old.
    pub(super) fn leave(&mut self, why: Option<&str>) {
        (self.is_followed, self.unfollowable) = (false, why.map(Shown::of));
    }

    pub(super) fn add(&mut self, line: &Line) {
        match &line.event {
            Event::Access(access) if line.event.is_denied() => self.refusals.add(line, access),
            Event::Access(access) => self.traffic.add(access),
            Event::Control(_) | Event::Lifecycle(_) | Event::Other(_) => {}
        }
    }

    /// Returns the connections that are open: a guard that does not run has none.
    pub(super) fn open_connections(&self) -> u64 {
        if &*self.guard == "running" { self.traffic.open() } else { 0 }
    }

    /// Returns the seconds that are left of the time of the run.
    pub(super) fn seconds_left(&self, now: u64) -> Option<u64> {
        let limit = self.usage.as_ref()?.seconds.limit?;
        Some(self.created_at.saturating_add(limit).saturating_sub(now))
    }

    /// Returns its name, else its id.
    pub(super) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.id),
            None => self.id.to_string(),
        }
    }
}
