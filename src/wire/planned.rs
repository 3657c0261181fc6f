//! Conditions that a run is begun with: for `ringfence test`, which plans them before the start.
//!
//! ```text
//!  scenario ──JSON file──▶ `ringfence run` ──GuardConfig──▶ guard: some from the beginning, some at a connection
//! ```
//! A plan holds conditions and their ends, and no rule: nothing in it opens what the policy
//! refuses.

use netpolicy::host::HostPattern;
use serde::{Deserialize, Serialize};

use super::conditions::Applied;
use super::control::Change;

/// Everything that is planned for one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PlannedConditions {
    /// Conditions from the beginning.
    pub(crate) start: Vec<Applied>,
    /// Changes at the first permitted connection to a name.
    pub(crate) on_connect: Vec<OnConnect>,
}

/// A change at the first permitted connection to a name, before that connection goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OnConnect {
    /// The name.
    pub(crate) to: HostPattern,
    /// The change.
    pub(crate) change: ConditionChange,
}

/// A condition that begins, or conditions that end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConditionChange {
    /// Begin a condition.
    Set(Applied),
    /// End the conditions of a name, or all.
    Restore(Option<HostPattern>),
}

impl ConditionChange {
    /// Returns the change as a person would ask for it by `ringfence net`.
    pub(crate) fn change(&self) -> Change {
        match self {
            ConditionChange::Set(Applied { condition, host }) => {
                Change::Conditions { set: vec![*condition], host: host.clone() }
            }
            ConditionChange::Restore(host) => Change::Restore { host: host.clone() },
        }
    }
}
