//! A change that a person made, or wanted to.

use netpolicy::decide::{Reason, Verdict};
use serde::{Deserialize, Serialize};

use super::access::{Decision, Ruling};
use super::word::Known;
use crate::wire::PolicyDigest;

/// Channel by which a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum ControlChannel {
    /// A program in the guard's container, started by the engine's API.
    Exec,
    /// The plan that the run was begun with (`ringfence test`).
    Plan,
}

/// A change, made or refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Control {
    /// Decision whether the change was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Known<Decision>>,
    /// Reason, from the closed list of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::reasons"))]
    pub(crate) reason: Option<Known<Reason>>,
    /// The rule that refused it.
    #[serde(flatten)]
    pub(crate) by: Ruling,
    /// Channel by which the change came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) who: Option<Known<ControlChannel>>,
    /// The change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) what: Option<String>,
    /// The policy's digest after the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::sha256"))]
    pub(crate) digest: Option<PolicyDigest>,
}

impl Control {
    /// Returns a change that was made.
    pub(crate) fn made(what: String, digest: Option<PolicyDigest>) -> Control {
        Control {
            verdict: Some(Decision::Allow.into()),
            reason: Some(Reason::Allowed.into()),
            who: Some(ControlChannel::Exec.into()),
            what: Some(what),
            digest,
            ..Control::default()
        }
    }

    /// Returns a change that was planned before the run began.
    pub(crate) fn planned(what: String, digest: Option<PolicyDigest>) -> Control {
        Control { who: Some(ControlChannel::Plan.into()), ..Control::made(what, digest) }
    }

    /// Tells whether the change was planned before the run began.
    pub(crate) fn is_planned(&self) -> bool {
        self.who == Some(Known::This(ControlChannel::Plan))
    }

    /// Returns a change that the policy did not permit.
    pub(crate) fn refused(what: String, verdict: &Verdict) -> Control {
        Control {
            verdict: Some(Decision::Deny.into()),
            reason: Some(verdict.reason.into()),
            by: verdict.into(),
            who: Some(ControlChannel::Exec.into()),
            what: Some(what),
            ..Control::default()
        }
    }
}
