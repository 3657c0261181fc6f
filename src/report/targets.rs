//! Targets of a run and the rules that decided about them, each with its counts.

use crate::supervisor::run::attempts::Attempts;
use crate::wire::event::Time;

/// A target that was reached.
#[derive(Debug, Clone)]
pub(crate) struct ReachedTarget {
    /// Number of the connections.
    pub(crate) connections: u64,
    /// Connections whose end is in the log.
    pub(crate) ended: u64,
    /// Bytes from the agent.
    pub(crate) bytes_out: u64,
    /// Bytes to the agent.
    pub(crate) bytes_in: u64,
    /// Milliseconds that the ended connections were open, together.
    pub(crate) open_ms: u64,
    /// Milliseconds of the longest one.
    pub(crate) longest_ms: u64,
    /// Time of the first connection.
    pub(crate) first: Time,
    /// Time of the last event.
    pub(crate) last: Time,
    /// The rule that permitted it, with layer and place.
    pub(crate) rule: String,
    /// Set when no run before reached it.
    pub(crate) is_new: bool,
}

impl ReachedTarget {
    /// Begins with no connection.
    pub(super) fn at(time: Time) -> ReachedTarget {
        ReachedTarget {
            connections: 0,
            ended: 0,
            bytes_out: 0,
            bytes_in: 0,
            open_ms: 0,
            longest_ms: 0,
            first: time,
            last: time,
            rule: String::new(),
            is_new: false,
        }
    }

    /// Returns how long a connection was open on average, in milliseconds.
    pub(crate) fn mean_ms(&self) -> Option<u64> {
        self.open_ms.checked_div(self.ended)
    }
}

/// A target that was refused for one reason.
#[derive(Debug, Clone)]
pub(crate) struct RefusedTarget {
    /// The attempts, counted as in the account at a run's end.
    pub(crate) attempts: Attempts,
    /// Time of the last refusal.
    pub(crate) last: Time,
    /// The rule that refused it, with layer and place; empty where no rule did.
    pub(crate) rule: String,
    /// The line that would permit it, or why none would.
    pub(crate) remedy: String,
    /// Set when no run before was refused it.
    pub(crate) is_new: bool,
}

/// Decisions by one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuleUse {
    /// Connections that it permitted.
    pub(crate) permitted: u64,
    /// Events in which it refused something.
    pub(crate) refused: u64,
}
