//! The answer to a question, what is still open in it, and what was considered on the way.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::host::HostName;
use crate::policy::{Layer, Protocol, Rule};
use crate::reason::Reason;

/// Check that remains when something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The real address must not lie in the floor, save in these ranges.
    NotInFloor(Arc<Rule>),
    /// The real address must lie in no denied range.
    NotDenied,
    /// The name goes to the proxy, which resolves it.
    ProxyResolves,
    /// The address must be the host's own.
    TheHost,
    /// The supervisor carries it to the loopback of its own machine.
    TheLoopback,
    /// The ClientHello must carry this name.
    Sni(HostName),
    /// Every HTTP request must carry this name.
    HostHeader(HostName),
    /// The SNI or the Host, whichever appears, must be this name.
    SniOrHost(HostName),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::NotInFloor(rule) if rule.private.is_empty() => {
                f.write_str("its address not in the floor")
            }
            Condition::NotInFloor(rule) => {
                let ranges: Vec<String> = rule.private.iter().map(IpNet::to_string).collect();
                write!(f, "its address not in the floor, or in {}", ranges.join(", "))
            }
            Condition::NotDenied => f.write_str("its address in no denied range"),
            Condition::ProxyResolves => f.write_str("the proxy resolves it, its address is not checked"),
            Condition::TheHost => f.write_str("its address is the host's own"),
            Condition::TheLoopback => {
                f.write_str("the supervisor carries it to the loopback of its own machine")
            }
            Condition::Sni(name) => write!(f, "SNI = {name}"),
            Condition::HostHeader(name) => write!(f, "Host = {name}"),
            Condition::SniOrHost(name) => write!(f, "SNI or Host = {name}, or a protocol that has neither"),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The answer, with everything that explains it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Set when it may go on.
    pub allowed: bool,
    /// Reason of the verdict.
    pub reason: Reason,
    /// The rule that decided, or the nearest one.
    pub rule: Option<Arc<Rule>>,
    /// Check of the connection by the gate.
    pub protocol: Option<Protocol>,
    /// Checks that remain when it is allowed.
    pub conditions: Vec<Condition>,
}

impl Verdict {
    pub(super) fn refused(reason: Reason, rule: Option<&Arc<Rule>>) -> Verdict {
        Verdict { allowed: false, reason, rule: rule.cloned(), protocol: None, conditions: Vec::new() }
    }
}

/// One step of the decision, in order: what `explain` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Considered {
    /// Result of the consideration.
    pub finding: Finding,
    /// The rule it is about.
    pub rule: Option<Arc<Rule>>,
}

/// Result about one rule, or about the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The run has no network.
    NetworkDenied,
    /// The transport is not TCP.
    Transport,
    /// The port is the fence's own, on every address.
    ReservedPort(u16),
    /// The name stands for the host or a metadata service.
    HostAlias(Reason),
    /// This denial speaks about the target.
    Denies,
    /// This denial speaks about the name, on other ports.
    DeniesOtherPorts,
    /// No denial speaks about the target.
    NothingDenies,
    /// No rule of `allow` speaks about the target.
    NothingAllows,
    /// This rule of `allow` speaks about the target, and is judged next.
    Candidate,
    /// The rule permits other ports.
    OtherPorts,
    /// The rule's day is over.
    Expired,
    /// The rule is the project's, which has neither a ceiling over it nor a person's approval.
    Untrusted,
    /// The rule is the project's and approved, and asks for more than an approval covers.
    BeyondTrust,
    /// The rule counts, for the project is approved.
    Trusted,
    /// This entry of this layer's ceiling contains the rule.
    InCeiling(Layer),
    /// No entry of this layer's ceiling contains it.
    OutsideCeiling(Layer),
    /// The proxy would resolve it, and the rule does not say that it may.
    NotByProxy,
    /// This denial speaks about the real address.
    DeniesAddress,
    /// The floor refuses the address.
    Floor(Reason),
    /// The rule permits the target.
    Permits,
    /// The run is observed, and the name is not public by its form.
    NotPublic,
    /// The run is observed: this rule, which nobody wrote, permits the name.
    Observed,
}

/// Collector of considerations; none while enforcing.
pub(super) struct Notes<'n>(pub(super) Option<&'n mut Vec<Considered>>);

impl Notes<'_> {
    pub(super) fn add(&mut self, finding: Finding, rule: Option<&Arc<Rule>>) {
        if let Some(list) = &mut self.0 {
            list.push(Considered { finding, rule: rule.cloned() });
        }
    }
}
