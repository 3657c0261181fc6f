//! What one run may take of its guard, so that an agent cannot exhaust it. A full table refuses at once, and says `limit`.
//!
//! ```text
//!  accept ──connections──▶ first bytes ──undecided──▶ dial ──dials──▶ splice ── no memory of its own
//!                             └─ http ──requests──▶ hyper's buffers, for as long as it is open
//! ```
//! The number of connections is `netpolicy`'s: the fence's ruleset refuses there already, in the agent's own namespace. What is here holds for
//! itself all the same. At every limit at once the guard stays within the memory that its container has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use netpolicy::ruleset::{GATE_CONNECTIONS, GATE_CONNECTIONS_BURST, GATE_CONNECTIONS_PER_SECOND};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::handover::{CONNECTION_FILES, OTHER_FILES};

/// Connections on which requests are read one by one: those hold buffers (see [`super::http`]), the others hold none.
const REQUESTS: usize = 1024;
/// Bytes that wait for a decision (beginnings of ClientHellos and the like), all connections together. A parser may hold them
/// once more. A connection of good faith needs two thousand for some milliseconds.
const UNDECIDED: usize = 32 << 20;

/// What is left of everything that is limited.
#[derive(Debug)]
pub struct Limits {
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    undecided: Arc<Semaphore>,
    dials: Mutex<Bucket>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Room for bytes that wait for a decision; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// How many dials there may be: some at once, and so many a second.
#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Limits {
    /// The limits of a process that may have so many descriptors.
    pub fn new(descriptors: u32) -> Limits {
        let table = usize::try_from(connections(descriptors)).unwrap_or(0);
        Limits {
            connections: Arc::new(Semaphore::new(table)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            undecided: Arc::new(Semaphore::new(UNDECIDED)),
            dials: Mutex::new(Bucket { left: f64::from(GATE_CONNECTIONS_BURST), filled: Instant::now() }),
        }
    }

    /// A place for one more connection.
    pub fn connection(&self) -> Option<Place> {
        place(&self.connections)
    }

    /// A place for one more connection whose requests are read.
    pub fn requests(&self) -> Option<Place> {
        place(&self.requests)
    }

    /// Room for the first bytes of a connection: none yet.
    pub fn undecided(&self) -> Room {
        Room { all: Arc::clone(&self.undecided), held: None }
    }

    /// Whether one more dial is within the budget. Each leaves an entry in the connection table of the engine's machine, for two minutes
    /// after its end, and that table is everybody's.
    pub fn dial(&self) -> bool {
        self.dial_at(Instant::now())
    }

    fn dial_at(&self, now: Instant) -> bool {
        let mut bucket = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        let more = now.saturating_duration_since(bucket.filled).as_secs_f64()
            * f64::from(GATE_CONNECTIONS_PER_SECOND);
        bucket.left = (bucket.left + more).min(f64::from(GATE_CONNECTIONS_BURST));
        bucket.filled = now;
        let good = bucket.left >= 1.0;
        if good {
            bucket.left -= 1.0;
        }
        good
    }

    /// All dials again, for tests that make more than any agent.
    #[cfg(test)]
    pub fn refill(&self) {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner).left = f64::from(GATE_CONNECTIONS_BURST);
    }

    /// No dial for a second, for tests.
    #[cfg(test)]
    pub fn spend(&self) {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner).left =
            -f64::from(GATE_CONNECTIONS_PER_SECOND);
    }

    /// Whether every place is free.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let all = usize::try_from(GATE_CONNECTIONS).unwrap_or(0);
        self.connections.available_permits() == all && self.undecided.available_permits() == UNDECIDED
    }

    /// Leaves so little, for tests of full tables.
    #[cfg(test)]
    pub fn leave(&self, connections: usize, requests: usize, undecided: usize) {
        for (table, left) in
            [(&self.connections, connections), (&self.requests, requests), (&self.undecided, undecided)]
        {
            table.forget_permits(table.available_permits().saturating_sub(left));
        }
    }
}

/// How many connections so many descriptors are enough for.
pub fn connections(descriptors: u32) -> u32 {
    GATE_CONNECTIONS.min(descriptors.saturating_sub(OTHER_FILES) / CONNECTION_FILES)
}

fn place(all: &Arc<Semaphore>) -> Option<Place> {
    Arc::clone(all).try_acquire_owned().ok().map(|permit| Place { _permit: permit })
}

impl Room {
    /// Room for so many bytes more, if there is any.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let Ok(more) = Arc::clone(&self.all).try_acquire_many_owned(count) else { return false };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_is_full_at_its_number_and_frees() {
        let limits = Limits::new(1 << 20);
        let all: Vec<Place> = std::iter::from_fn(|| limits.connection()).collect();
        assert_eq!(all.len(), 10_000);
        assert!(limits.connection().is_none());
        drop(all);
        assert!(limits.connection().is_some());
    }

    #[test]
    fn few_descriptors_mean_fewer_connections_and_never_a_failing_accept() {
        assert_eq!(connections(1 << 16), 10_000);
        assert_eq!(connections(20_000), 8976);
        assert_eq!(connections(1024), 0);
        assert_eq!(connections(crate::handover::GUARD_FILES), GATE_CONNECTIONS);
    }

    #[test]
    fn waiting_bytes_are_bounded_together() {
        let limits = Limits::new(1 << 20);
        let mut rooms: Vec<Room> = (0..3000).map(|_| limits.undecided()).collect();
        let grown = rooms.iter_mut().filter_map(|room| room.grow(16 << 10).then_some(())).count();
        assert_eq!(grown, UNDECIDED / (16 << 10));
        drop(rooms);
        assert!(limits.undecided().grow(UNDECIDED));
    }

    #[test]
    fn dials_have_a_burst_and_a_rate() {
        let limits = Limits::new(1 << 20);
        let begin = Instant::now();
        let burst = (0..20_000).filter(|_| limits.dial_at(begin)).count();
        assert_eq!(burst, usize::try_from(GATE_CONNECTIONS_BURST).unwrap());
        let later = begin + Duration::from_secs(2);
        let more = (0..20_000).filter(|_| limits.dial_at(later)).count();
        assert_eq!(more, 2 * usize::try_from(GATE_CONNECTIONS_PER_SECOND).unwrap());
        // A clock that stands still, or an old time, gives nothing.
        assert!(!limits.dial_at(begin));
    }
}
