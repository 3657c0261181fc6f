//! A profile in moby's form: rules for calls, each for some architectures, capabilities or kernels.
//!
//! A word that is not known here is an error: a condition that was passed over would open a call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Profile as engines read it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile {
    default_action: Action,
    default_errno_ret: u32,
    arch_map: Vec<Value>,
    pub(super) syscalls: Vec<Rule>,
}

/// Outcome of a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[default]
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
}

/// Calls that have one outcome.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Machines::is_empty")]
    pub(super) includes: Machines,
    #[serde(default, skip_serializing_if = "Machines::is_empty")]
    pub(super) excludes: Machines,
}

/// Containers and machines for which a rule holds, or does not.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Machines {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) caps: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    arches: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

/// Condition on an argument of a call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Argument {
    index: u32,
    value: u64,
    op: Comparison,
}

/// Comparisons that a condition may make.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Comparison {
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GT")]
    Above,
    #[serde(rename = "SCMP_CMP_LT")]
    Below,
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl Profile {
    /// Writes the profile as engines read it.
    pub(super) fn to_json(&self) -> String {
        // Text, numbers and lists alone: nothing of it cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Machines {
    fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.arches.is_empty() && self.min_kernel.is_none()
    }
}

impl Rule {
    /// Permits a call under these conditions.
    pub(super) fn permit(call: &str, args: Vec<Argument>) -> Rule {
        Rule { action: Action::Allow, errno_ret: None, ..Rule::refuse(&[call], 0, args) }
    }

    /// Refuses calls with an error under these conditions.
    pub(super) fn refuse(calls: &[&str], errno: u32, args: Vec<Argument>) -> Rule {
        Rule {
            names: calls.iter().map(|call| (*call).to_owned()).collect(),
            action: Action::Errno,
            errno_ret: Some(errno),
            args,
            comment: None,
            includes: Machines::default(),
            excludes: Machines::default(),
        }
    }
}

impl Argument {
    /// Holds where the argument is this value.
    pub(super) fn is(index: u32, value: u64) -> Argument {
        Argument { index, value, op: Comparison::Equal }
    }

    /// Holds where the argument is larger than this value.
    pub(super) fn above(index: u32, value: u64) -> Argument {
        Argument { index, value, op: Comparison::Above }
    }
}
