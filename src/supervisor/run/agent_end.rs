//! The end of an agent, and the status that a run ends with.

use crate::supervisor::spec::workflow::Role;
use crate::term::COULD_NOT_RUN;
use crate::wire::event::{AgentEnded, How, Observation};
use crate::wire::handover::{FENCE_GONE, HEARTBEAT_LIMIT};

/// The fence ended the run: the guard or the fence died, or a limit was reached.
pub(super) const FENCE_ENDED: u8 = 123;
/// The time is over.
pub(super) const TIME_OVER: u8 = 124;

/// The end of an agent.
pub(super) struct AgentEnd {
    /// Exit status of the program.
    pub(super) status: u8,
    /// Cause of the end.
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
            _ if who == Role::Guard && status == i64::from(FENCE_GONE) => AgentEnd::because(
                How::HelperLost,
                format!(
                    "the guard has lost its fence, which ended or had not heard from it for {} s, so the run was ended",
                    HEARTBEAT_LIMIT.as_secs()
                ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_output_is_no_success_and_hides_no_other_status() {
        let ended = |status, lost: Option<&str>| {
            AgentEnd::exited(How::Exited, status, lost.map(str::to_owned)).status
        };
        assert_eq!((ended(0, None), ended(0, Some("full"))), (0, COULD_NOT_RUN));
        assert_eq!((ended(7, None), ended(7, Some("full"))), (7, 7));
        assert_eq!(ended(1 << 20, None), u8::MAX, "no status is taken for another one");
    }

    #[test]
    fn a_helper_that_died_is_told_from_an_engine_that_does_not_answer() {
        let died = AgentEnd::without_helper(Role::Guard, 137);
        assert_eq!((died.status, died.how), (FENCE_ENDED, How::HelperLost));
        assert_eq!(died.why.unwrap(), "the guard ended with status 137, so the run was ended");
        let paused = AgentEnd::without_helper(Role::Guard, 3).why.unwrap();
        assert!(paused.starts_with("the guard has lost its fence"), "{paused}");
        let silent = AgentEnd::without_helper(Role::Fence, -1);
        assert_eq!((silent.status, silent.how), (FENCE_ENDED, How::EngineLost));
    }

    #[test]
    fn each_limit_is_named_in_the_log() {
        for (limit, how) in [
            (Observation::TimeLimit, How::TimeLimit),
            (Observation::TokenOver, How::TokenOver),
            (Observation::DiskLimit, How::DiskLimit),
        ] {
            let end = AgentEnd::at_limit(TIME_OVER, limit, "it is over");
            assert_eq!((end.how, end.reached.len()), (how, 1));
            assert_eq!(end.reached[0].1, "it is over, so the run was ended");
        }
    }
}
