//! Limits of what one run may take of its guard, so that an agent cannot exhaust the guard. A full
//! table refuses at once, and says `limit`.
//!
//! ```text
//!  accept ──connections──▶ first bytes ──undecided──▶ dial ──dials──▶ splice ── no memory of its own
//!                             └─ http ──requests──▶ hyper's buffers, for as long as it is open
//! ```
//! The bounds of connections are those of the fence's ruleset, which refuses already in the agent's
//! own namespace. What is here holds for itself all the same. At every limit at once the guard
//! stays within the memory that its container has.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netpolicy::ruleset::ConnectionBounds;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::handover::{CONNECTION_FILES, OTHER_FILES};
use crate::wire::host_loopback::CONNECTIONS as LOOPBACK_CONNECTIONS;

/// Connections on which requests are read one by one: those hold buffers (see [`super::http`]), the
/// others hold none.
const REQUESTS: usize = 1024;
/// Bytes that wait for a decision (beginnings of ClientHellos and the like), all connections
/// together. A parser may hold them once more. A connection of good faith needs two thousand for
/// some milliseconds.
const UNDECIDED: usize = 32 << 20;

/// Time that a dial may wait for its turn, at least.
const LEAST_TURN: Duration = Duration::from_secs(10);

/// Returns the time that a dial may wait for its turn: as long as the longest queue that the
/// fence's own limit permits.
fn longest_turn(bounds: ConnectionBounds) -> Duration {
    LEAST_TURN.max(Duration::from_secs((bounds.burst() / bounds.per_second()).into()))
}

/// A limit that refuses what is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Connections at once.
    Connections(ConnectionBounds),
    /// Connections with requests at once.
    Requests,
    /// First bytes at once.
    Undecided,
    /// New connections to servers.
    Dials(ConnectionBounds),
    /// A connection that carried nothing for too long.
    Idle,
    /// Lines that the engine has not taken yet.
    Log,
    /// Names that can have an address.
    Names,
    /// Connections to the loopback of the supervisor's machine at once.
    Loopback,
}

impl fmt::Display for Limit {
    /// Writes the number and the thing that it limits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Connections(bounds) => {
                write!(f, "{} connections at once, or fewer open files", bounds.at_once())
            }
            Limit::Requests => write!(f, "{REQUESTS} connections with HTTP requests at once"),
            Limit::Undecided => write!(f, "{} MiB of first bytes at once", UNDECIDED >> 20),
            Limit::Dials(bounds) => write!(
                f,
                "{} new connections in a moment, {} a second after that, and {} s of waiting for a turn",
                bounds.dials_burst(),
                bounds.per_second(),
                longest_turn(*bounds).as_secs()
            ),
            Limit::Idle => f.write_str("4 hours without a byte"),
            Limit::Log => f.write_str("lines of the decision log that the engine has not taken yet"),
            Limit::Loopback => {
                write!(f, "{LOOPBACK_CONNECTIONS} connections to the supervisor's loopback at once")
            }
            Limit::Names => f.write_str("addresses that stand for names (network.dns.virtual-range)"),
        }
    }
}

/// Remaining room under every limit.
#[derive(Debug)]
pub(crate) struct Limits {
    bounds: ConnectionBounds,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    undecided: Arc<Semaphore>,
    dials: Mutex<Bucket>,
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    _permit: OwnedSemaphorePermit,
}

/// Room for bytes that wait for a decision; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// Bucket of permitted dials: some at once, and so many a second.
#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Limits {
    /// Returns the limits of a process that may have so many descriptors, in a run with these
    /// bounds.
    pub(crate) fn new(descriptors: u32, bounds: ConnectionBounds) -> Limits {
        let table = usize::try_from(connections(descriptors, bounds)).unwrap_or(0);
        Limits {
            bounds,
            connections: Arc::new(Semaphore::new(table)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            undecided: Arc::new(Semaphore::new(UNDECIDED)),
            dials: Mutex::new(Bucket { left: f64::from(bounds.dials_burst()), filled: Instant::now() }),
        }
    }

    /// Returns the bounds of the run's connections.
    pub(crate) fn bounds(&self) -> ConnectionBounds {
        self.bounds
    }

    /// Takes a slot for one more connection.
    pub(crate) fn connection(&self) -> Option<ConnectionSlot> {
        place(&self.connections)
    }

    /// Takes a slot for one more connection whose requests are read.
    pub(crate) fn requests(&self) -> Option<ConnectionSlot> {
        place(&self.requests)
    }

    /// Begins room for the first bytes of a connection: none yet.
    pub(super) fn undecided(&self) -> Room {
        Room { all: Arc::clone(&self.undecided), held: None }
    }

    /// Waits for the turn of one more dial; `false` when that would take too long. Each leaves an
    /// entry in the connection table of the engine's machine, for two minutes after its end, and
    /// that table is everybody's.
    pub(crate) async fn dial(&self) -> bool {
        match self.turn_at(Instant::now()) {
            Some(Duration::ZERO) => true,
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => false,
        }
    }

    /// Returns the time from now until the next dial has its turn. The turns are in the order in
    /// which they are asked for.
    fn turn_at(&self, now: Instant) -> Option<Duration> {
        let rate = f64::from(self.bounds.per_second());
        let mut bucket = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        let more = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.left = (bucket.left + more).min(f64::from(self.bounds.dials_burst()));
        bucket.filled = bucket.filled.max(now);
        let left = bucket.left - 1.0;
        let wait = Duration::from_secs_f64((-left).max(0.0) / rate);
        if wait > longest_turn(self.bounds) {
            return None;
        }
        bucket.left = left;
        Some(wait)
    }

    /// Restores all dials, for tests that make more than any agent.
    #[cfg(test)]
    pub(super) fn refill(&self) {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner).left = f64::from(self.bounds.dials_burst());
    }

    /// Uses up all dials for longer than anybody waits, for tests.
    #[cfg(test)]
    pub(super) fn spend(&self) {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner).left =
            -2.0 * longest_turn(self.bounds).as_secs_f64() * f64::from(self.bounds.per_second());
    }

    /// Tells whether every place is free.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let all = usize::try_from(self.bounds.at_once()).unwrap_or(0);
        self.connections.available_permits() == all && self.undecided.available_permits() == UNDECIDED
    }

    /// Leaves so little, for tests of full tables.
    #[cfg(test)]
    pub(crate) fn leave(&self, connections: usize, requests: usize, undecided: usize) {
        for (table, left) in
            [(&self.connections, connections), (&self.requests, requests), (&self.undecided, undecided)]
        {
            table.forget_permits(table.available_permits().saturating_sub(left));
        }
    }
}

/// Returns the number of connections within the bounds that so many descriptors are enough for.
pub(crate) fn connections(descriptors: u32, bounds: ConnectionBounds) -> u32 {
    bounds.at_once().min(descriptors.saturating_sub(OTHER_FILES) / CONNECTION_FILES)
}

fn place(all: &Arc<Semaphore>) -> Option<ConnectionSlot> {
    Arc::clone(all).try_acquire_owned().ok().map(|permit| ConnectionSlot { _permit: permit })
}

impl Room {
    /// Takes room for so many bytes more, if there is any.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
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
    use std::collections::VecDeque;
    use std::time::Duration;

    use fuzz::proptest::prelude::*;

    use super::*;
    use crate::wire::handover::GUARD_FILES;

    fn largest() -> Limits {
        Limits::new(1 << 20, ConnectionBounds::MOST)
    }

    #[test]
    fn the_table_is_full_at_its_number_and_frees() {
        for (bounds, number) in [(ConnectionBounds::MOST, 10_000), (ConnectionBounds::LEAST, 256)] {
            let limits = Limits::new(1 << 20, bounds);
            let all: Vec<ConnectionSlot> = std::iter::from_fn(|| limits.connection()).collect();
            assert_eq!(all.len(), number);
            assert!(limits.connection().is_none());
            drop(all);
            assert!(limits.connection().is_some());
        }
    }

    #[test]
    fn few_descriptors_mean_fewer_connections_and_never_a_failing_accept() {
        let most = ConnectionBounds::MOST;
        assert_eq!(connections(1 << 16, most), 10_000);
        assert_eq!(connections(20_000, most), 8976);
        assert_eq!(connections(1024, most), 0);
        assert_eq!(connections(GUARD_FILES, most), most.at_once());
        assert_eq!(connections(20_000, ConnectionBounds::LEAST), 256);
    }

    #[test]
    fn waiting_bytes_are_bounded_together() {
        let limits = largest();
        let mut rooms: Vec<Room> = (0..3000).map(|_| limits.undecided()).collect();
        let grown = rooms.iter_mut().filter_map(|room| room.grow(16 << 10).then_some(())).count();
        assert_eq!(grown, UNDECIDED / (16 << 10));
        drop(rooms);
        assert!(limits.undecided().grow(UNDECIDED));
    }

    #[test]
    fn dials_have_a_burst_and_then_wait_for_their_turn() {
        let limits = largest();
        let begin = Instant::now();
        let turns: Vec<Duration> = (0..20_000).map_while(|_| limits.turn_at(begin)).collect();
        let at_once = turns.iter().filter(|wait| wait.is_zero()).count();
        assert_eq!(at_once, 2000);
        // The rest have theirs one after the other, at the rate, and nobody waits for ever.
        assert_eq!(turns.len() - at_once, 4000);
        assert!(turns.is_sorted());
        assert_eq!(turns.last().unwrap().as_secs(), 10);
        // Two seconds later as many have had theirs.
        let later = begin + Duration::from_secs(2);
        assert_eq!((0..20_000).map_while(|_| limits.turn_at(later)).count(), 800);
        // A clock that stands still, or an old time, gives nothing.
        assert_eq!(limits.turn_at(begin), None);
    }

    #[test]
    fn a_limit_names_the_numbers_of_the_run() {
        let shown = |limit: Limit| limit.to_string();
        assert_eq!(
            shown(Limit::Connections(ConnectionBounds::LEAST)),
            "256 connections at once, or fewer open files"
        );
        assert_eq!(
            shown(Limit::Dials(ConnectionBounds::LEAST)),
            "128 new connections in a moment, 2 a second after that, and 128 s of waiting for a turn"
        );
    }

    /// Makes any bounds that there are.
    fn bounds() -> impl Strategy<Value = ConnectionBounds> {
        let rate = prop_oneof![1u32..60, 1u32..=4000];
        (1u32..=10_000, rate).prop_map(|(at_once, per_second)| {
            let text = format!(r#"{{"at_once":{at_once},"per_second":{per_second}}}"#);
            serde_json::from_str(&text).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        /// One after the other, or as many at once as lie between the two bursts: what the fence
        /// has seen beyond its rate stays below its burst.
        #[test]
        fn a_fast_client_is_slowed_down_before_the_fence_refuses_it(
            bounds in bounds(), part in 0.0f64..=1.0, lasts in 0u64..2_000_000,
        ) {
            let between = f64::from(bounds.burst() - bounds.dials_burst());
            let at_once = ((between * part) as usize).clamp(1, bounds.at_once() as usize);
            let limits = Limits::new(1 << 20, bounds);
            let begin = Instant::now();
            let (mut ends, mut fence) = (VecDeque::new(), 0.0f64);
            let (mut now, mut seen) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..12_000 {
                if ends.len() == at_once {
                    now = now.max(ends.pop_front().unwrap());
                }
                let gone = (now - seen).as_secs_f64() * f64::from(bounds.per_second());
                fence = (fence - gone).max(0.0) + 1.0;
                seen = now;
                prop_assert!(fence <= f64::from(bounds.burst()), "{at_once} at once, {bounds:?}");
                let wait = limits.turn_at(begin + now).expect("a turn");
                ends.push_back(now + wait + Duration::from_micros(lasts));
            }
        }
    }
}
