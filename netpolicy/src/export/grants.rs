//! Grants of a policy on a day, rule by rule, without expired rules, those outside a ceiling, and
//! the host itself.
//!
//! ```text
//!  Policy.allow ──▶ of ──▶ grants ──without (denials that a format cannot say)──▶ what may be written
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::floor;
use crate::host::HostPattern;
use crate::note::{Note, NoteKind};
use crate::policy::{Ceiling, Date, Layer, Matcher, Policy, ResolvedBy, Rule};

pub(super) fn of(policy: &Policy, today: Date, notes: &mut Vec<Note>) -> Vec<Rule> {
    let mut grants = Vec::new();
    for rule in &policy.allow {
        match why_not(rule, policy, today) {
            Some(why) => notes.push(about(NoteKind::LeftOut, rule, why)),
            None => grants.push(Rule::clone(rule)),
        }
    }
    grants
}

fn why_not(rule: &Arc<Rule>, policy: &Policy, today: Date) -> Option<&'static str> {
    let layer = rule.origin.layer;
    let above: Vec<&Ceiling> = policy.ceilings.iter().filter(|ceiling| ceiling.layer <= layer).collect();
    if policy.network_denied {
        Some("the network is denied")
    } else if rule.expired(today) {
        Some("it has expired")
    } else if rule.host_access.is_given() {
        Some("the host itself is nothing that another program should reach")
    } else if in_floor(rule) {
        Some("the floor refuses some of it, which is not written out there")
    } else if layer == Layer::Project && above.is_empty() && !policy.project_trusted {
        Some("the project's own grant, without a ceiling over it")
    } else if above.iter().any(|ceiling| !ceiling.rules.iter().any(|entry| holds(entry, rule, today))) {
        Some("not within one entry of the ceiling")
    } else {
        None
    }
}

/// Tells whether a permitted range reaches into the floor, where the gate would look at each
/// address.
fn in_floor(rule: &Rule) -> bool {
    let Matcher::Cidr(net) = &rule.matcher else { return false };
    let meets = |other: &IpNet| other.contains(net) || net.contains(other);
    let loopback = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
    let exempt = rule.private.iter().any(|private| private.contains(net));
    (!exempt && floor::PRIVATE_RANGES.iter().any(meets))
        || floor::RESERVED_V4.iter().any(|range| meets(&IpNet::V4(*range)))
        || meets(&loopback)
        || floor::METADATA_ADDRESSES.iter().any(|addr| net.contains(addr))
}

/// Tells whether an entry of a ceiling contains the whole of a rule.
fn holds(entry: &Rule, rule: &Rule, today: Date) -> bool {
    let target = match (&entry.matcher, &rule.matcher) {
        (Matcher::Host(outer), Matcher::Host(inner)) => includes(outer, inner),
        (Matcher::Cidr(outer), Matcher::Cidr(inner)) => outer.contains(inner),
        _ => false,
    };
    target
        && !entry.expired(today)
        && rule.ports.iter().all(|port| {
            entry.ports.contains(port) && rule.protocol_on(*port).is_within(entry.protocol_on(*port))
        })
        && rule.private.iter().all(|net| entry.private.iter().any(|outer| outer.contains(net)))
        && (rule.resolved_by == ResolvedBy::Guard || entry.resolved_by == ResolvedBy::Proxy)
        && !entry.host_access.is_given()
}

/// Tells whether `outer` matches every name that `inner` matches.
fn includes(outer: &HostPattern, inner: &HostPattern) -> bool {
    match (outer, inner) {
        (_, HostPattern::Exact(name)) => outer.matches(name),
        (HostPattern::Exact(_), _) => false,
        (HostPattern::Below(own), HostPattern::AtOrBelow(name)) => name.is_below(own),
        (
            HostPattern::Below(own) | HostPattern::AtOrBelow(own),
            HostPattern::Below(name) | HostPattern::AtOrBelow(name),
        ) => own == name || name.is_below(own),
    }
}

/// Tells whether some name matches both.
fn overlaps(a: &HostPattern, b: &HostPattern) -> bool {
    let below_both = a.is_wildcard() && b.is_wildcard() && {
        let (a, b) = (a.name(), b.name());
        a == b || a.is_below(b) || b.is_below(a)
    };
    below_both || (!a.is_wildcard() && b.matches(a.name())) || (!b.is_wildcard() && a.matches(b.name()))
}

/// Returns the grants without the targets that these denials of names refuse, for a format that
/// cannot refuse them: a grant that a denial touches loses the ports in question, and stays out
/// when none is left.
pub(super) fn without(grants: &[Rule], denials: &[&Arc<Rule>], notes: &mut Vec<Note>) -> Vec<Rule> {
    let mut left = Vec::new();
    for grant in grants {
        let mut rule = grant.clone();
        for denial in denials {
            let touched = match (&denial.matcher, &grant.matcher) {
                (Matcher::Host(denied), Matcher::Host(granted)) => overlaps(denied, granted),
                _ => false,
            };
            if touched {
                rule.ports.retain(|port| !denial.ports.is_empty() && !denial.ports.contains(port));
            }
        }
        if rule.ports.len() < grant.ports.len() {
            let why = "a name that the policy refuses cannot be refused there";
            let kind = if rule.ports.is_empty() { NoteKind::LeftOut } else { NoteKind::Narrower };
            notes.push(about(kind, grant, why));
        }
        if !rule.ports.is_empty() {
            left.push(rule);
        }
    }
    left
}

pub(super) fn about(kind: NoteKind, rule: &Rule, why: &str) -> Note {
    Note {
        kind,
        what: rule.origin.text.clone(),
        file: rule.origin.file.clone(),
        line: rule.origin.line,
        why: why.to_owned(),
    }
}

/// Makes a note about the whole file.
pub(super) fn overall(kind: NoteKind, what: &str, why: &str) -> Note {
    Note { kind, what: what.to_owned(), file: String::new(), line: 0, why: why.to_owned() }
}

/// Notes that a rule's last day is not carried over.
pub(super) fn note_expiry(grants: &[Rule], notes: &mut Vec<Note>) {
    for rule in grants.iter().filter(|rule| rule.expires.is_some()) {
        notes.push(about(
            NoteKind::Wider,
            rule,
            "its last day is not carried over: export again, or remove it by hand",
        ));
    }
}
