//! Outcome of a case, as far as it is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempts::AttemptLog;
use super::capture::Captured;
use crate::wire::event::{AgentEnded, Time};

/// Outcome of a case.
#[derive(Debug, Default)]
pub(crate) struct CaseOutcome {
    /// End of the agent, with its place in the log; none where the log has no end.
    pub(crate) ended: Option<LoggedEnd>,
    /// Time of the first line of the log.
    pub(crate) began: Option<Time>,
    /// The limit of time at which the case was ended; none where it ended before.
    pub(crate) out_of_time: Option<Duration>,
    /// The agent's stdout.
    pub(crate) stdout: Captured,
    /// The agent's stderr.
    pub(crate) stderr: Captured,
    /// State of the paths that expectations name.
    pub(crate) files: BTreeMap<String, FileState>,
    /// Attempts of the agent.
    pub(crate) attempts: AttemptLog,
    /// Reason for which the log is not whole; none where it is.
    pub(crate) log_fault: Option<String>,
    /// Steps of the network that never came, in words.
    pub(crate) missed: Vec<String>,
}

/// End of an agent.
#[derive(Debug, Clone)]
pub(crate) struct LoggedEnd {
    /// Number of the line.
    pub(crate) seq: u64,
    /// Time of the line.
    pub(crate) time: Time,
    /// Cause and status.
    pub(crate) how: AgentEnded,
}

/// State of a path in the project copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Nothing is there.
    Absent,
    /// A regular file: its content, up to a bound.
    File(Captured),
    /// Something else is there, in words.
    Other(&'static str),
    /// It cannot be told, and why.
    Unknown(String),
}
