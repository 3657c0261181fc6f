//! A CiliumNetworkPolicy: names by DNS, ranges by address, the SNI where a rule names one host.
//!
//! ```text
//!  exact names ──▶ toFQDNs + ports + serverNames      wildcards ──▶ toFQDNs (**.x) + ports
//!  ranges ───────▶ toCIDR + ports                     denied ranges, private ranges ──▶ egressDeny
//!  every name ───▶ the DNS rule, so that nothing else is resolved
//! ```
//! <https://docs.cilium.io/en/stable/security/policy/language/>. Names cannot be refused there, so
//! a grant that a denial of names touches is left out.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::grants::{about, note_expiry, overall, without};
use crate::floor;
use crate::host::HostPattern;
use crate::note::{Note, NoteKind};
use crate::policy::{Matcher, Policy, Protocol, Rule};

pub(super) fn write(grants: &[Rule], policy: &Policy, notes: &mut Vec<Note>) -> Value {
    let denials: Vec<&Arc<Rule>> =
        policy.deny.iter().filter(|rule| matches!(rule.matcher, Matcher::Host(_))).collect();
    let grants = without(grants, &denials, notes);
    let mut resolved = Vec::new();
    let mut egress = Vec::new();
    let mut wildcards = false;
    let mut unchecked = false;
    for rule in &grants {
        match &rule.matcher {
            Matcher::Cidr(net) => {
                egress.push(json!({"toCIDR": [net.to_string()], "toPorts": [ports(&rule.ports)]}))
            }
            Matcher::Host(pattern) => {
                let names = selectors(pattern);
                wildcards |= pattern.is_wildcard();
                resolved.extend(names.iter().cloned());
                let (tls, other): (Vec<u16>, Vec<u16>) = rule
                    .ports
                    .iter()
                    .partition(|port| !pattern.is_wildcard() && rule.protocol_on(**port) == Protocol::Tls);
                if !tls.is_empty() {
                    let mut checked = ports(&tls);
                    checked["serverNames"] = json!([pattern.name().as_str()]);
                    egress.push(json!({"toFQDNs": names, "toPorts": [checked]}));
                }
                if !other.is_empty() {
                    unchecked |= rule.protocol != Some(Protocol::Tcp);
                    egress.push(json!({"toFQDNs": names, "toPorts": [ports(&other)]}));
                }
            }
        }
    }
    resolved.sort_by_key(Value::to_string);
    resolved.dedup();
    if !resolved.is_empty() {
        egress.insert(0, dns(&resolved));
        notes.push(overall(NoteKind::Wider, "addresses", "other hosts behind an address that a permitted name resolved to are reached too, where no SNI is checked"));
    }
    if wildcards {
        notes.push(overall(
            NoteKind::Narrower,
            "wildcards",
            "`**.` is any depth since Cilium 1.19, one label before",
        ));
    }
    if unchecked {
        notes.push(overall(
            NoteKind::Wider,
            "checks",
            "the SNI under wildcards, the Host of HTTP and first bytes on other ports are not checked there",
        ));
    }
    note_expiry(&grants, notes);
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "ringfence"},
        "spec": {
            "egress": egress,
            "egressDeny": refused(&grants, policy, notes),
            "endpointSelector": {"matchLabels": {"dev.ringfence.role": "agent"}},
        },
    })
}

fn selectors(pattern: &HostPattern) -> Vec<Value> {
    let name = pattern.name().as_str();
    let exact = || json!({"matchName": name});
    let below = || json!({"matchPattern": format!("**.{name}")});
    match pattern {
        HostPattern::Exact(_) => vec![exact()],
        HostPattern::Below(_) => vec![below()],
        HostPattern::AtOrBelow(_) => vec![exact(), below()],
    }
}

fn ports(ports: &[u16]) -> Value {
    let list: Vec<Value> =
        ports.iter().map(|port| json!({"port": port.to_string(), "protocol": "TCP"})).collect();
    json!({"ports": list})
}

/// Permits the cluster's resolver, and of it only these names.
fn dns(names: &[Value]) -> Value {
    json!({
        "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}}],
        "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": names}}],
    })
}

/// Ranges that are refused, and those of the floor that a name could be made to resolve to.
fn refused(grants: &[Rule], policy: &Policy, notes: &mut Vec<Note>) -> Vec<Value> {
    let mut list = Vec::new();
    for rule in &policy.deny {
        let Matcher::Cidr(net) = &rule.matcher else { continue };
        let mut entry = json!({"toCIDR": [net.to_string()]});
        if !rule.ports.is_empty() {
            entry["toPorts"] = json!([ports(&rule.ports)]);
        }
        list.push(entry);
    }
    let mut exempt: Vec<IpNet> = Vec::new();
    for rule in grants {
        if let Matcher::Cidr(net) = &rule.matcher {
            exempt.push(*net);
        }
        if !rule.private.is_empty() {
            notes.push(about(NoteKind::Wider, rule, "`private` counts there for every name and range"));
            exempt.extend(&rule.private);
        }
    }
    let ranges: Vec<Value> = floor::PRIVATE_RANGES
        .iter()
        .map(|range| {
            let except: Vec<String> =
                exempt.iter().filter(|net| range.contains(*net)).map(ToString::to_string).collect();
            let mut entry = json!({"cidr": range.to_string()});
            if !except.is_empty() {
                entry["except"] = json!(except);
            }
            entry
        })
        .chain(floor::METADATA_ADDRESSES.iter().map(|addr| json!({"cidr": IpNet::from(*addr).to_string()})))
        .collect();
    list.push(json!({"toCIDRSet": ranges}));
    notes.push(overall(
        NoteKind::Wider,
        "floor",
        "of the floor, private ranges and metadata services are refused there; the rest is not written out",
    ));
    list
}
