//! Requests for one target in several runs, added up.

use std::collections::BTreeSet;

use netpolicy::policy::Protocol;

use super::sightings::{Outcomes, Sighting, either_check};
use crate::wire::event::Time;

/// Requests for one target in several runs.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Number of the attempts.
    pub(super) attempts: u64,
    /// Time of the first.
    pub(super) first: Time,
    /// Runs that made them, by their places in the list.
    pub(super) runs: BTreeSet<usize>,
    /// Outcomes of the attempts.
    pub(super) outcomes: Outcomes,
    /// Check that lets all of them through; none where no connection was opened.
    pub(super) protocol: Option<Protocol>,
}

impl Tally {
    /// Takes the requests of one run.
    pub(super) fn of(run: usize, sighting: &Sighting) -> Tally {
        Tally {
            attempts: sighting.attempts.count,
            first: sighting.attempts.first,
            runs: BTreeSet::from([run]),
            outcomes: sighting.outcomes,
            protocol: sighting.protocol,
        }
    }

    /// Adds other requests.
    pub(super) fn add(&mut self, other: &Tally) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.first = self.first.min(other.first);
        self.runs.extend(&other.runs);
        self.outcomes = self.outcomes.and(other.outcomes);
        self.protocol = either_check(self.protocol, other.protocol);
    }

    /// Adds requests to those that are there, if any are.
    pub(super) fn add_to(self, sum: &mut Option<Tally>) {
        match sum {
            Some(sum) => sum.add(&self),
            None => *sum = Some(self),
        }
    }
}
