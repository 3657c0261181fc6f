//! A scenario as it was written: whole, or not there at all.

use std::time::Duration;

use netpolicy::host::HostPattern;

use super::pattern::Pattern;
use super::target::TargetPattern;
use crate::wire::planned::ConditionChange;

/// A scenario file.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// The agent's image.
    pub(crate) image: String,
    /// The agent's command; empty: the image's.
    pub(crate) command: Vec<String>,
    /// Policies, as `run --policy` takes them.
    pub(crate) policies: Vec<String>,
    /// The project's directory; none: the agent gets none.
    pub(crate) project: Option<String>,
    /// Variables, as `run --env` takes them.
    pub(crate) env: Vec<String>,
    /// The cases.
    pub(crate) cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Name of the case, unlike that of every other.
    pub(crate) name: String,
    /// The agent's network.
    pub(crate) network: NetworkPlan,
    /// Expectations on the agent.
    pub(crate) expect: Expectations,
    /// Line of the file.
    pub(crate) line: u32,
}

/// The network of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkPlan {
    /// The policy's network.
    Permitted,
    /// No network, from the start.
    Denied,
    /// The policy's network, under conditions that come and go.
    Steps(Vec<Step>),
}

/// One condition of a case, and when it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The moment.
    pub(crate) when: Moment,
    /// The condition, or its end.
    pub(crate) change: ConditionChange,
}

/// Moment at which a step is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the agent starts.
    Start,
    /// After the agent's start.
    After(Duration),
    /// At the first permitted connection to a name, before it goes out.
    OnConnect(HostPattern),
}

impl Step {
    /// Tells whether the step ends conditions.
    pub(crate) fn is_restore(&self) -> bool {
        matches!(self.change, ConditionChange::Restore(_))
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let change = self.change.change().to_string();
        let word = change.strip_prefix("net ").unwrap_or(&change);
        match &self.when {
            Moment::Start => write!(f, "`{word}` from the start"),
            Moment::After(time) => write!(f, "`{word}` at {}", humantime::format_duration(*time)),
            Moment::OnConnect(host) => write!(f, "`{word}` on the first connection to {host}"),
        }
    }
}

/// Expectations on an agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectations {
    /// Exit status.
    pub(crate) exit: Option<ExitExpected>,
    /// Time after which the case is ended, and fails.
    pub(crate) within: Option<Duration>,
    /// Patterns that must be found in stdout, each.
    pub(crate) stdout: Vec<Pattern>,
    /// Patterns that must be found in stderr, each.
    pub(crate) stderr: Vec<Pattern>,
    /// Files of the project copy: their paths, and what is expected there.
    pub(crate) files: Vec<(String, FileExpected)>,
    /// Attempts to reach something.
    pub(crate) attempts: AttemptsExpected,
}

/// Expected exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitExpected {
    /// Any but 0.
    NonZero,
    /// This one.
    Status(u8),
}

/// Expectation on a path of the project copy.
#[derive(Debug, Clone)]
pub(crate) enum FileExpected {
    /// Something is there.
    Exists,
    /// Nothing is there.
    Absent,
    /// A file is there in which the pattern is found.
    Matches(Pattern),
}

/// Expectations on attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptsExpected {
    /// Targets that must not be tried.
    pub(crate) none: Vec<TargetPattern>,
    /// The only targets that may be tried.
    pub(crate) only: Option<Vec<TargetPattern>>,
    /// Targets of which each must be tried.
    pub(crate) some: Vec<TargetPattern>,
    /// Bounds on numbers of attempts.
    pub(crate) counts: Vec<CountExpected>,
    /// The most attempts at one target in any second.
    pub(crate) per_second: Option<u64>,
    /// Time from the first attempt that failed to the last attempt at all.
    pub(crate) gave_up_within: Option<Duration>,
}

impl AttemptsExpected {
    /// Tells whether nothing is expected of attempts.
    pub(crate) fn is_empty(&self) -> bool {
        self.none.is_empty()
            && self.only.is_none()
            && self.some.is_empty()
            && self.counts.is_empty()
            && self.per_second.is_none()
            && self.gave_up_within.is_none()
    }
}

/// A bound on the number of attempts at a target, or at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CountExpected {
    /// The target; none: all together.
    pub(crate) target: Option<TargetPattern>,
    /// The least number.
    pub(crate) least: Option<u64>,
    /// The greatest number.
    pub(crate) most: Option<u64>,
}
