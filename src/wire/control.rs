//! Live changes: what a person's `ringfence` and the guard of a running workflow say to each other.
//!
//! ```text
//!  allow, deny, net, reload ──engine's exec──▶ `ringfence guard control` ──control.sock──▶ guard: a Request a line, an Answer a line
//!                           ──engine's exec──▶ `ringfence fence apply`   ◀── Answer's plan: what the kernel must do
//! ```
//! A connection that proposes or makes a change has the guard to itself until it ends, so that the
//! kernel's rules, which its other end replaces meanwhile, follow the changes in their order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netpolicy::decide::Reason;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Policy, Rule};
use serde::{Deserialize, Serialize};

use crate::wire::conditions::{Applied, Condition, Conditions};
use crate::wire::event::{AgentEnded, Note};
use crate::wire::handover::FenceConfig;
use crate::wire::host_network::HostNetwork;

/// Socket at which the guard listens: in the volume that the fence and the guard share, for the
/// guard's own user alone.
pub(crate) const SOCKET: &str = "/run/ringfence/control.sock";
/// The longest request, in bytes: a policy of a hundred thousand names.
pub(crate) const LONGEST: u64 = 64 << 20;
/// Time for which one connection may have the guard to itself.
pub(crate) const TURN: Duration = Duration::from_secs(30);

/// Request to the guard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Report the present state.
    State,
    /// Report the kernel's rules as they would be after a change, which is not made.
    Propose(Change),
    /// Make a change.
    Make(Change),
    /// Take back the change that this connection made last.
    TakeBack,
    /// Write down something that only the supervisor sees.
    Noted(Note),
    /// Write down how the agent ended, for a supervisor that is gone.
    Ended(AgentEnded),
    /// The engine's machine has these addresses now: refuse them too, also on open connections.
    Host(HostNetwork),
    /// The machine has these name servers now: `system` means them first.
    Resolvers(Vec<IpAddr>),
}

/// Message of the supervisor by the guard's stdin, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromSupervisor {
    /// The agent has ended, or was ended.
    AgentEnded(AgentEnded),
}

impl FromSupervisor {
    /// Returns the line, with its end.
    pub(crate) fn line(&self) -> Vec<u8> {
        // A word and a number can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// Permit this, as a rule of the run's layer, as far as the ceilings let it.
    Allow(Arc<Rule>),
    /// Refuse this.
    Deny(Arc<Rule>),
    /// Let these conditions be, for some names or for all.
    Conditions {
        /// The conditions.
        set: Vec<Condition>,
        /// The names.
        host: Option<HostPattern>,
    },
    /// Enforce another policy, as far as a run can follow.
    Reload(Arc<Policy>),
    /// End the conditions, those of some names or all.
    Restore {
        /// The names.
        host: Option<HostPattern>,
    },
}

impl Change {
    /// Tells whether the change lets nothing through that was refused before: such a change is made
    /// in the kernel first.
    pub(crate) fn closes(&self) -> bool {
        matches!(self, Change::Deny(_) | Change::Conditions { .. })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Allow(rule) => write!(f, "allow {}", rule.origin.text),
            Change::Deny(rule) => write!(f, "deny {}", rule.origin.text),
            Change::Conditions { set, host } => {
                f.write_str("net")?;
                set.iter().try_for_each(|condition| write!(f, " {condition}"))?;
                host.iter().try_for_each(|host| write!(f, " host={host}"))
            }
            Change::Reload(policy) => write!(f, "reload {}", policy.digest()),
            Change::Restore { host: None } => f.write_str("net restore"),
            Change::Restore { host: Some(host) } => write!(f, "net restore host={host}"),
        }
    }
}

/// Answer of the guard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ControlAnswer {
    /// The request is granted: the state is so, or would be.
    Good(Box<Good>),
    /// The policy does not permit the change; nothing was changed.
    Refused {
        /// Reason of the refusal.
        reason: Reason,
        /// The rule that says so: its text, and where it stands.
        rule: Option<String>,
    },
    /// The request cannot be answered.
    Failed(String),
}

/// The state of a workflow's network, and the kernel's part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Good {
    /// State of the network, for people.
    pub(crate) state: State,
    /// Configuration for the fence.
    pub(crate) plan: FenceConfig,
    /// The agent's notice after a change that was made; none where the agent has no notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
}

/// The state of a workflow's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The workflow's id.
    pub(crate) workflow: String,
    /// Digest of the policy now, live rules included.
    pub(crate) digest: String,
    /// Reason for which everything is refused now, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<Reason>,
    /// The run has no network from its start (`--network denied`): no end of a condition opens it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) denied_from_start: bool,
    /// Unix time in milliseconds after which everything is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_unix_ms: Option<u64>,
    /// Connections that are open.
    pub(crate) connections: usize,
    /// Events so far.
    pub(crate) events: u64,
    /// Rules that were given since the start.
    pub(crate) allowed: Vec<String>,
    /// Denials that were made since the start, as they were written.
    pub(crate) denied: Vec<String>,
    /// The conditions of the moment.
    pub(crate) conditions: Conditions,
    /// Set while a supervisor is attached; absent where the guard cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) supervised: Option<bool>,
}

impl State {
    /// Returns the conditions as a person wrote them.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = String> {
        self.conditions.0.iter().map(Applied::to_string)
    }
}
