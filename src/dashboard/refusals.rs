//! Refusals of one workflow: the latest of different targets, each counted.

use std::collections::VecDeque;

use super::shown::Shown;
use crate::report::remedy::{self, Remedy};
use crate::supervisor::run::attempts::Attempts;
use crate::supervisor::run::summary::{reason, target};
use crate::wire::event::{Access, Line, Time};

/// Refused targets that are kept of a workflow: an agent may try any number.
pub(super) const MOST: usize = 200;

/// Target and reason, by which refusals are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusalKey {
    pub(super) target: Shown,
    pub(super) reason: Shown,
}

/// A target that was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) key: RefusalKey,
    /// The attempts, counted as in the account at a run's end.
    pub(super) attempts: Attempts,
    /// Time of the last refusal.
    pub(super) last: Time,
    /// The rule that refused it, with layer and place; empty where no rule did.
    pub(super) rule: Shown,
    /// The line that would permit it, or why none would.
    pub(super) remedy: Shown,
    /// Argument of `ringfence allow` that would permit it.
    pub(super) allow: Option<String>,
}

/// The refusals, latest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    latest: VecDeque<Refusal>,
    /// Attempts that were refused, those of forgotten targets too.
    pub(super) total: u64,
}

impl Refusals {
    /// Counts a refusal. The target that was refused longest ago makes room.
    pub(super) fn add(&mut self, line: &Line, access: &Access) {
        let key = RefusalKey { target: Shown::of(&target(access)), reason: Shown::of(&reason(access)) };
        let known = self.latest.iter().position(|known| known.key == key);
        let mut refusal = match known.and_then(|at| self.latest.remove(at)) {
            Some(mut known) => {
                let before = known.attempts.count;
                known.attempts.add(access, line.time);
                self.total = self.total.saturating_add(known.attempts.count - before);
                known
            }
            None => {
                let new = Refusal::first(key, line, access);
                self.total = self.total.saturating_add(new.attempts.count);
                new
            }
        };
        refusal.last = line.time;
        self.latest.push_front(refusal);
        self.latest.truncate(MOST);
    }

    pub(super) fn len(&self) -> usize {
        self.latest.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.latest.iter()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Refusal> {
        self.latest.get(at)
    }

    /// Returns the place of a refusal, the latest where none is meant. One that is gone has none:
    /// another in its stead would be the agent's choice.
    pub(super) fn place(&self, key: Option<&RefusalKey>) -> Option<usize> {
        match key {
            Some(key) => self.latest.iter().position(|refusal| refusal.key == *key),
            None => (!self.latest.is_empty()).then_some(0),
        }
    }
}

impl Refusal {
    fn first(key: RefusalKey, line: &Line, access: &Access) -> Refusal {
        let remedy = remedy::of(line);
        let allow = match &remedy {
            Some(Remedy::Line { allow, .. }) => allow.clone(),
            Some(Remedy::Words(_)) | None => None,
        };
        Refusal {
            key,
            attempts: Attempts::begin(access, line.time),
            last: line.time,
            rule: Shown::of(&access.by.to_string()),
            remedy: Shown::of(&remedy.map(|remedy| remedy.text(None)).unwrap_or_default()),
            allow,
        }
    }
}
