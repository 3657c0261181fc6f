//! Everything that the rules depend on, and how a policy becomes it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::sockets::RESERVED_PORTS;
use crate::host::HostPattern;
use crate::policy::{Matcher, Policy};
use crate::virtual_names::VirtualNames;

/// A range and a port that lead to the gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permit {
    /// Virtual addresses, or real ones of an `allow` range.
    pub range: Ipv4Net,
    /// The TCP port.
    pub port: u16,
}

/// Everything the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencePlan {
    /// The namespace's own address on the workflow's network.
    pub own: Ipv4Addr,
    /// Targets that lead to the gate.
    pub permits: Vec<Permit>,
    /// Every device but `lo`.
    pub links: Vec<String>,
    /// Packets that are dropped silently.
    pub cut: Cut,
}

/// Returns the pairs that a policy lets through to the gate, without overlaps. The gate decides
/// again; a pair too many opens nothing, a pair too few is a refusal without a name.
pub fn permits(policy: &Policy, names: &VirtualNames) -> Vec<Permit> {
    if policy.network_denied {
        return Vec::new();
    }
    let wildcards = names.wildcard_range();
    let mut permits = Vec::new();
    for rule in &policy.allow {
        let mut ranges: Vec<Ipv4Net> = Vec::new();
        match &rule.matcher {
            Matcher::Host(pattern) => {
                if let (false, Some(address)) =
                    (matches!(pattern, HostPattern::Below(_)), names.address_of(pattern.name()))
                {
                    ranges.push(Ipv4Net::from(address));
                }
                if pattern.is_wildcard() {
                    // A name that is written elsewhere in the policy keeps its own address under a
                    // wildcard too.
                    ranges.extend(&wildcards);
                    ranges.extend(
                        names
                            .entries()
                            .filter(|(_, name)| pattern.matches(name))
                            .map(|(address, _)| Ipv4Net::from(address)),
                    );
                }
            }
            Matcher::Cidr(ipnet::IpNet::V4(range)) => ranges.push(*range),
            Matcher::Cidr(ipnet::IpNet::V6(_)) => {}
        }
        // The fence's own ports are never redirected to the gate, whichever layer names them.
        let ports = || rule.ports.iter().filter(|port| !RESERVED_PORTS.contains(port));
        permits.extend(
            ranges.iter().flat_map(|range| ports().map(|port| Permit { range: *range, port: *port })),
        );
    }
    without_overlaps(permits)
}

/// Removes overlaps: nft refuses a set whose elements overlap.
pub(super) fn without_overlaps(permits: Vec<Permit>) -> Vec<Permit> {
    let mut by_port = std::collections::BTreeMap::<u16, Vec<Ipv4Net>>::new();
    for permit in permits {
        by_port.entry(permit.port).or_default().push(permit.range);
    }
    let mut result: Vec<Permit> = by_port
        .iter()
        .flat_map(|(port, ranges)| {
            Ipv4Net::aggregate(ranges).into_iter().map(|range| Permit { range, port: *port })
        })
        .collect();
    result.sort();
    result
}

/// Packets that are dropped silently, whatever is permitted; the agent's own `localhost` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// No packet is cut.
    #[default]
    Nothing,
    /// Packets to these virtual addresses, and those from them.
    Only(Vec<Ipv4Addr>),
    /// Everything.
    All,
}
