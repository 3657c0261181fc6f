//! How an agent ended, and the status that a run ends with.

use crate::supervisor::spec::workflow::Role;
use crate::term::COULD_NOT_RUN;
use crate::wire::event::{AgentEnded, How, Observation};

/// The fence ended the run: the guard or the fence died, or a limit was reached.
pub(super) const FENCE_ENDED: u8 = 123;
/// The time is over.
pub(super) const TIME_OVER: u8 = 124;

/// The end of an agent.
pub(super) struct AgentEnd {
    /// Exit status of the program.
    pub(super) status: u8,
    /// What ended the agent.
    pub(super) how: How,
    /// The reason, where the supervisor ended it or could not follow it any more.
    pub(super) why: Option<String>,
    /// The limits that the agent met, whether they ended it or not, in words.
    pub(super) reached: Vec<(Observation, String)>,
    /// The output that could not be written, in words.
    pub(super) lost: Option<String>,
}

/// Returns a status as a program can end with it.
pub(super) fn exit_status(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}

impl AgentEnd {
    /// Makes the end of an agent that ended by itself, or was asked to. `lost`: output that could
    /// not be written; a program that was given part of it must not take that for a success.
    pub(super) fn exited(how: How, status: i32, lost: Option<String>) -> Self {
        let status = match exit_status(status) {
            0 if lost.is_some() => COULD_NOT_RUN,
            status => status,
        };
        AgentEnd { status, how, why: None, reached: Vec::new(), lost }
    }

    /// Makes the end of one that the supervisor ended, or could not follow any more.
    pub(super) fn because(how: How, why: impl Into<String>) -> Self {
        AgentEnd { status: FENCE_ENDED, how, why: Some(why.into()), reached: Vec::new(), lost: None }
    }

    /// Makes the end of one whose guard or fence is gone. A status below 0: the engine cannot tell.
    pub(super) fn without_helper(who: Role, status: i64) -> Self {
        match status {
            ..0 => AgentEnd::because(
                How::EngineLost,
                format!("the engine does not answer for the {who} any more, so the run was ended"),
            ),
            _ => AgentEnd::because(
                How::HelperLost,
                format!("the {who} ended with status {status}, so the run was ended"),
            ),
        }
    }

    /// Makes the end of one that met a limit.
    pub(super) fn at_limit(status: u8, limit: Observation, what: &str) -> Self {
        let how = match limit {
            Observation::TokenOver => How::TokenOver,
            Observation::DiskLimit => How::DiskLimit,
            _ => How::TimeLimit,
        };
        let reached = vec![(limit, format!("{what}, so the run was ended"))];
        AgentEnd { status, how, why: None, reached, lost: None }
    }

    /// Returns how it ended, for the log.
    pub(super) fn event(&self) -> AgentEnded {
        AgentEnded { how: self.how.into(), exit_status: Some(self.status) }
    }
}
