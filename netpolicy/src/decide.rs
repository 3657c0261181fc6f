//! The one decision: enforcement, `explain`, `test` and `diff` all ask here and so cannot disagree.
//!
//! ```text
//!  Question (name or address, port, resolved address) ──┐
//!  Policy ──────────────────────────────────────────────┼─ decide ──▶ Verdict (allowed?, reason, rule, protocol, conditions)
//!  Surroundings (machine, engine, virtual range) ───────┘
//! ```
//! In this order: network denied; host aliases; `deny` by name; `allow` by name and port; `deny` by range;
//! floor. Each allowing rule is judged with its own ports and its own `private`: they are never mixed.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::floor::{self, Surroundings};
use crate::host::{HostName, HostPattern};
use crate::policy::{Matcher, Policy, Protocol, Rule};

/// Why something is allowed or refused: the closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// A rule allows it and nothing refuses it.
    Allowed,
    /// A `deny` rule speaks about it.
    DeniedByRule,
    /// No rule speaks about it.
    NotAllowed,
    /// The ceiling of a stronger layer does not contain it.
    OutsideCeiling,
    /// Allowed only by a layer whose grants do not count.
    UntrustedLayer,
    /// The allowing rule is past its date.
    Expired,
    /// The target is permitted on other ports.
    Port,
    /// A private address outside the rule's `private`.
    PrivateAddress,
    /// An address or a name of the machine or of the engine; loopback too.
    HostAddress,
    /// A cloud's metadata service.
    MetadataAddress,
    /// An address that is not globally reachable.
    ReservedAddress,
    /// An address where a name is needed.
    RawAddress,
    /// The ClientHello names another host.
    SniMismatch,
    /// The ClientHello names no host.
    NoSni,
    /// No ClientHello on a TLS port.
    NotTls,
    /// The HTTP request names another host.
    HostMismatch,
    /// HTTP/2 without TLS.
    Http2,
    /// Bytes that no parser understands.
    Malformed,
    /// A transport other than TCP, or UDP other than DNS.
    Protocol,
    /// A DNS question of a type that is not answered.
    QueryType,
    /// A wildcard's budget of distinct names is used up.
    NameBudget,
    /// Too many at once.
    Limit,
    /// The name could not be resolved.
    ResolveFailed,
    /// The address could not be connected to.
    ConnectFailed,
    /// The run has no network.
    NetworkDenied,
    /// The run's time is over.
    Deadline,
    /// The network was cut on request.
    Cut,
}

impl Reason {
    /// The word as it stands in events and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Allowed => "allowed",
            Reason::DeniedByRule => "denied-by-rule",
            Reason::NotAllowed => "not-allowed",
            Reason::OutsideCeiling => "outside-ceiling",
            Reason::UntrustedLayer => "untrusted-layer",
            Reason::Expired => "expired",
            Reason::Port => "port",
            Reason::PrivateAddress => "private-address",
            Reason::HostAddress => "host-address",
            Reason::MetadataAddress => "metadata-address",
            Reason::ReservedAddress => "reserved-address",
            Reason::RawAddress => "raw-address",
            Reason::SniMismatch => "sni-mismatch",
            Reason::NoSni => "no-sni",
            Reason::NotTls => "not-tls",
            Reason::HostMismatch => "host-mismatch",
            Reason::Http2 => "http2",
            Reason::Malformed => "malformed",
            Reason::Protocol => "protocol",
            Reason::QueryType => "query-type",
            Reason::NameBudget => "name-budget",
            Reason::Limit => "limit",
            Reason::ResolveFailed => "resolve-failed",
            Reason::ConnectFailed => "connect-failed",
            Reason::NetworkDenied => "network-denied",
            Reason::Deadline => "deadline",
            Reason::Cut => "cut",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the agent wants to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A name.
    Name(HostName),
    /// An address that stands for no name.
    Address(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => name.fmt(f),
            Target::Address(addr) => addr.fmt(f),
        }
    }
}

/// One question to the policy.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What is to be reached.
    pub target: &'a Target,
    /// The port; `None` for a DNS question, which is about any port.
    pub port: Option<u16>,
    /// The real address of a name, once it is known.
    pub address: Option<IpAddr>,
}

/// The answer, with everything that explains it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether it may go on.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, or the nearest one.
    pub rule: Option<Rule>,
    /// How the gate must check the connection.
    pub protocol: Option<Protocol>,
    /// What is still open when it is allowed.
    pub conditions: Vec<String>,
}

impl Verdict {
    fn refused(reason: Reason, rule: Option<&Rule>) -> Verdict {
        Verdict { allowed: false, reason, rule: rule.cloned(), protocol: None, conditions: Vec::new() }
    }
}

/// Answers one question.
pub fn decide(policy: &Policy, surroundings: &Surroundings, question: &Question<'_>) -> Verdict {
    if policy.network_denied {
        return Verdict::refused(Reason::NetworkDenied, None);
    }
    match question.target {
        Target::Name(name) => decide_name(policy, surroundings, name, question),
        Target::Address(addr) => decide_address(policy, surroundings, *addr, question.port),
    }
}

fn decide_name(policy: &Policy, s: &Surroundings, name: &HostName, q: &Question<'_>) -> Verdict {
    if let Some(reason) = floor::refused_name(name) {
        return Verdict::refused(reason, None);
    }
    let denials: Vec<&Rule> = policy.deny.iter().filter(|rule| speaks_of_name(rule, name)).collect();
    if let Some(rule) = denials.iter().find(|rule| denies_port(rule, q.port)) {
        return Verdict::refused(Reason::DeniedByRule, Some(rule));
    }
    let mut candidates: Vec<&Rule> = policy.allow.iter().filter(|rule| speaks_of_name(rule, name)).collect();
    candidates.sort_by_key(|rule| std::cmp::Reverse(specificity(rule)));
    let Some(nearest) = candidates.first() else {
        return Verdict::refused(Reason::NotAllowed, None);
    };

    let mut refusal = None;
    let mut on_port = false;
    for rule in &candidates {
        for port in ports_in_question(rule, q.port) {
            on_port = true;
            let denied = denials.iter().find(|denial| denies_port(denial, Some(port)));
            let outcome = match (denied, q.address) {
                (Some(denial), _) => Some((Reason::DeniedByRule, *denial)),
                (None, Some(addr)) => refused_address(policy, s, rule, addr, port),
                (None, None) => None,
            };
            match outcome {
                None => {
                    return allowed(
                        rule,
                        name_protocol(rule, port),
                        name_conditions(policy, rule, name, q, port),
                    );
                }
                Some(found) => refusal = refusal.or(Some(found)),
            }
        }
    }
    match refusal {
        Some((reason, rule)) => Verdict::refused(reason, Some(rule)),
        None if on_port => Verdict::refused(Reason::NotAllowed, Some(nearest)),
        None => Verdict::refused(Reason::Port, Some(nearest)),
    }
}

fn decide_address(policy: &Policy, s: &Surroundings, addr: IpAddr, port: Option<u16>) -> Verdict {
    if let Some(rule) =
        policy.deny.iter().find(|rule| speaks_of_address(rule, addr) && denies_port(rule, port))
    {
        return Verdict::refused(Reason::DeniedByRule, Some(rule));
    }
    let candidates: Vec<&Rule> = policy.allow.iter().filter(|rule| speaks_of_address(rule, addr)).collect();
    let mut refusal = None;
    for rule in &candidates {
        for port in ports_in_question(rule, port) {
            match refused_address(policy, s, rule, addr, port) {
                None => return allowed(rule, rule.protocol.unwrap_or(Protocol::Tcp), Vec::new()),
                Some(found) => refusal = refusal.or(Some(found)),
            }
        }
    }
    if let Some((reason, rule)) = refusal {
        return Verdict::refused(reason, Some(rule));
    }
    // Not permitted, or not on this port: the floor's word says more than "raw-address".
    let private = candidates.first().map_or(&[][..], |rule| &rule.private);
    match (floor::refusal(addr, private, s), candidates.first()) {
        (Some(reason), rule) => Verdict::refused(reason, rule.copied()),
        (None, Some(rule)) => Verdict::refused(Reason::Port, Some(rule)),
        (None, None) => Verdict::refused(Reason::RawAddress, None),
    }
}

/// Why an address may not be dialled under this rule, and the rule that says so.
fn refused_address<'a>(
    policy: &'a Policy,
    s: &Surroundings,
    rule: &'a Rule,
    addr: IpAddr,
    port: u16,
) -> Option<(Reason, &'a Rule)> {
    let denial = policy.deny.iter().find(|denial| {
        denies_port(denial, Some(port))
            && (speaks_of_address(denial, addr)
                || floor::embedded_v4(addr)
                    .iter()
                    .any(|carried| speaks_of_address(denial, IpAddr::V4(*carried))))
    });
    if let Some(denial) = denial {
        return Some((Reason::DeniedByRule, denial));
    }
    floor::refusal(addr, &rule.private, s).map(|reason| (reason, rule))
}

fn allowed(rule: &Rule, protocol: Protocol, conditions: Vec<String>) -> Verdict {
    Verdict {
        allowed: true,
        reason: Reason::Allowed,
        rule: Some(rule.clone()),
        protocol: Some(protocol),
        conditions,
    }
}

fn speaks_of_name(rule: &Rule, name: &HostName) -> bool {
    matches!(&rule.matcher, Matcher::Host(pattern) if pattern.matches(name))
}

fn speaks_of_address(rule: &Rule, addr: IpAddr) -> bool {
    matches!(&rule.matcher, Matcher::Cidr(net) if net.contains(&addr))
}

/// Whether a denial covers the whole question. One with ports covers no question about any port.
fn denies_port(rule: &Rule, port: Option<u16>) -> bool {
    rule.ports.is_empty() || port.is_some_and(|port| rule.ports.contains(&port))
}

fn ports_in_question(rule: &Rule, port: Option<u16>) -> Vec<u16> {
    match port {
        None => rule.ports.clone(),
        Some(port) if rule.ports.contains(&port) => vec![port],
        Some(_) => Vec::new(),
    }
}

/// An exact rule is nearer than a wildcard, a long one nearer than a short one.
fn specificity(rule: &Rule) -> (bool, usize) {
    match &rule.matcher {
        Matcher::Host(pattern) => (matches!(pattern, HostPattern::Exact(_)), pattern.name().as_str().len()),
        Matcher::Cidr(net) => (false, usize::from(net.prefix_len())),
    }
}

/// How the gate checks connections to a name under this rule.
pub fn name_protocol(rule: &Rule, port: u16) -> Protocol {
    rule.protocol.unwrap_or(match port {
        443 => Protocol::Tls,
        80 => Protocol::Http,
        _ => Protocol::Auto,
    })
}

fn name_conditions(
    policy: &Policy,
    rule: &Rule,
    name: &HostName,
    q: &Question<'_>,
    port: u16,
) -> Vec<String> {
    let mut conditions = Vec::new();
    if q.address.is_none() {
        conditions.push(match rule.private.as_slice() {
            [] => "its address not in the floor".to_owned(),
            private => format!("its address not in the floor, or in {}", join(private)),
        });
        if policy
            .deny
            .iter()
            .any(|rule| matches!(rule.matcher, Matcher::Cidr(_)) && denies_port(rule, Some(port)))
        {
            conditions.push("its address in no denied range".to_owned());
        }
    }
    if q.port.is_some() {
        match name_protocol(rule, port) {
            Protocol::Tls => conditions.push(format!("SNI = {name}")),
            Protocol::Http => conditions.push(format!("Host = {name}")),
            Protocol::Auto => conditions.push(format!("SNI or Host = {name} where there is one")),
            Protocol::Tcp => {}
        }
    }
    conditions
}

fn join(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
