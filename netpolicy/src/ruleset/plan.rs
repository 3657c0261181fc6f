//! Everything that the rules depend on, and how a policy becomes it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::bounds::ConnectionBounds;
use super::sockets::RESERVED_PORTS;
use crate::host::HostPattern;
use crate::policy::{Matcher, Policy};
use crate::virtual_names::VirtualNames;

/// A range and a port that lead to the gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permit {
    /// Virtual addresses, or real ones of an `allow` range.
    pub range: Ipv4Net,
    /// The TCP port, or the first of several.
    pub port: u16,
    /// The last of the ports.
    pub last: u16,
}

impl Permit {
    /// Returns the permit for one port.
    pub fn on(range: Ipv4Net, port: u16) -> Permit {
        Permit { range, port, last: port }
    }

    /// Tells whether an address and a port lead to the gate by it.
    pub fn holds(&self, address: &Ipv4Addr, port: u16) -> bool {
        self.range.contains(address) && (self.port..=self.last).contains(&port)
    }
}

/// Everything the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencePlan {
    /// The agent's address.
    pub own: Ipv4Addr,
    /// Targets that lead to the gate.
    pub permits: Vec<Permit>,
    /// Every device but `lo`.
    pub links: Vec<String>,
    /// Packets that are dropped silently.
    pub cut: Cut,
    /// Bounds of permitted connections.
    pub connections: ConnectionBounds,
}

/// Returns the pairs that a policy lets through to the gate, without overlaps. The gate decides
/// again; a pair too many opens nothing, a pair too few is a refusal without a name.
pub fn permits(policy: &Policy, names: &VirtualNames) -> Vec<Permit> {
    if policy.network_denied {
        return Vec::new();
    }
    let wildcards = names.wildcard_range();
    // In an observed run every name may get an address, and be reached on any port.
    let is_observed = policy.is_observed();
    let mut permits = if is_observed { on_every_port(names.range()) } else { Vec::new() };
    for rule in &policy.allow {
        let mut ranges: Vec<Ipv4Net> = Vec::new();
        match &rule.matcher {
            Matcher::Host(_) if is_observed => {}
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
        permits.extend(ranges.iter().flat_map(|range| ports().map(|port| Permit::on(*range, *port))));
    }
    without_overlaps(permits)
}

/// Returns the permits for a range on every port but the fence's own.
fn on_every_port(range: Ipv4Net) -> Vec<Permit> {
    let mut reserved = RESERVED_PORTS;
    reserved.sort_unstable();
    let firsts = std::iter::once(1).chain(reserved.map(|port| port + 1));
    let lasts = reserved.map(|port| port - 1).into_iter().chain([u16::MAX]);
    firsts.zip(lasts).map(|(port, last)| Permit { range, port, last }).filter(|p| p.port <= p.last).collect()
}

/// Removes overlaps: nft refuses a set whose elements overlap.
pub(super) fn without_overlaps(permits: Vec<Permit>) -> Vec<Permit> {
    let mut by_port = std::collections::BTreeMap::<(u16, u16), Vec<Ipv4Net>>::new();
    for permit in permits {
        by_port.entry((permit.port, permit.last)).or_default().push(permit.range);
    }
    let mut result: Vec<Permit> = by_port
        .iter()
        .flat_map(|((port, last), ranges)| {
            let permit = |range| Permit { range, port: *port, last: *last };
            Ipv4Net::aggregate(ranges).into_iter().map(permit)
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
