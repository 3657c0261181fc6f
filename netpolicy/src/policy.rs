//! The policy as data: what the loader makes of all layers, what `decide` reads, what the guard is
//! given.
//!
//! Rules stand behind `Arc`, since every verdict, event and compiled index points at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
pub use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::host::{HostName, HostPattern};
use crate::host_access::HostAccess;
pub use crate::origin::{Layer, Origin};
use crate::service::{Service, ServiceName};
use crate::settings::{Container, Credentials, Dns, NoticeDetail, Proxy, Requirement, Workspace};
use crate::target::Endpoint;

/// Returns the date so many days after another; `None` beyond the calendar.
pub fn day_after(date: Date, days: i64) -> Option<Date> {
    jiff::Span::new().try_days(days).and_then(|span| date.checked_add(span)).ok()
}

/// Check of a connection by the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A ClientHello whose SNI is the name, before anything is dialled.
    Tls,
    /// HTTP/1 whose Host is the name, on every request.
    Http,
    /// Bytes; nothing is looked at.
    Tcp,
    /// Dial at once and look at the agent's first bytes as they pass.
    Auto,
}

impl Protocol {
    /// Returns the check on a port unless a rule says otherwise.
    pub fn of_port(port: u16) -> Protocol {
        match port {
            443 => Protocol::Tls,
            80 => Protocol::Http,
            _ => Protocol::Auto,
        }
    }

    /// Tells whether every connection that passes this check passes the other too: `tcp` looks at
    /// nothing, `auto` lets a ClientHello and an HTTP/1 request with the right name through.
    pub fn is_within(self, other: Protocol) -> bool {
        self == other || other == Protocol::Tcp || (other == Protocol::Auto && self != Protocol::Tcp)
    }

    /// Returns the word as policies and events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tls => "tls",
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
            Protocol::Auto => "auto",
        }
    }
}

/// Resolver that turns the name of a permitted connection into an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResolvedBy {
    /// The guard, which checks every address it finds.
    #[default]
    Guard,
    /// The corporate proxy: the address is never seen, so it cannot be checked.
    Proxy,
}

/// Targets of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matcher {
    /// A name, or all names below one.
    Host(HostPattern),
    /// A range of addresses.
    Cidr(IpNet),
}

/// One line of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Targets of the rule.
    pub matcher: Matcher,
    /// The ports; empty means every port and is possible in `deny` only.
    pub ports: Vec<u16>,
    /// Given explicitly, or `None`: by the port (443 tls, 80 http, else auto).
    pub protocol: Option<Protocol>,
    /// Private ranges in which the addresses of this rule's names may also lie.
    pub private: Vec<IpNet>,
    /// The last day (UTC, whole) on which the rule permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// Resolver of the names.
    #[serde(default)]
    pub resolved_by: ResolvedBy,
    /// Way to the host, where the host itself is meant: the one way to a host alias.
    #[serde(default)]
    pub host_access: HostAccess,
    /// The author's words, shown by explain, events and reports.
    pub reason: Option<String>,
    /// SourcePlace of the rule.
    pub origin: Origin,
}

impl Rule {
    /// Returns the canonical text of a rule: `gitlab.com:443`, `198.51.100.0/24:22,80`,
    /// `.example.com`.
    pub fn text(matcher: &Matcher, ports: &[u16]) -> String {
        let subject = match matcher {
            Matcher::Host(pattern) => pattern.to_string(),
            Matcher::Cidr(IpNet::V6(net)) if !ports.is_empty() => format!("[{net}]"),
            Matcher::Cidr(net) => net.to_string(),
        };
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        if ports.is_empty() { subject } else { format!("{subject}:{}", ports.join(",")) }
    }

    /// Makes a rule that has this target and these ports, and no further conditions.
    pub fn new(matcher: Matcher, ports: Vec<u16>, origin: Origin) -> Rule {
        Rule {
            matcher,
            ports,
            protocol: None,
            private: Vec::new(),
            expires: None,
            resolved_by: ResolvedBy::Guard,
            host_access: HostAccess::None,
            reason: None,
            origin,
        }
    }

    /// Returns the check that the gate makes on this port under this rule.
    pub fn protocol_on(&self, port: u16) -> Protocol {
        self.protocol.unwrap_or(match self.matcher {
            Matcher::Host(_) => Protocol::of_port(port),
            // A range has no name to check.
            Matcher::Cidr(_) => Protocol::Tcp,
        })
    }

    /// Tells whether the rule asks for more than names: a person's approval of a project does not
    /// cover private networks, ranges, or bytes that nothing looks at.
    pub fn is_beyond_trust(&self) -> bool {
        matches!(self.matcher, Matcher::Cidr(_))
            || !self.private.is_empty()
            || self.protocol == Some(Protocol::Tcp)
            || self.resolved_by == ResolvedBy::Proxy
    }

    /// Tells whether the rule permits nothing any more.
    pub fn expired(&self, today: Date) -> bool {
        self.expires.is_some_and(|last| today > last)
    }
}

/// The most that a layer and those below it may permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The layer that sets it.
    pub layer: Layer,
    /// Full rules: whatever is permitted lies within one of them, ports, `private` and protocol
    /// included.
    pub rules: Vec<Arc<Rule>>,
}

/// One line of `harmless`: a name that an agent asks for and does not need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Harmless {
    /// The names.
    pub host: HostPattern,
    /// The purpose that the agent has for them.
    pub reason: String,
}

/// A number that a line of a policy sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetNumber {
    /// The number.
    pub most: u32,
    /// Place of the line.
    pub origin: Origin,
}

/// One number of connections, as far as layers set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimit {
    /// The smallest of the organisation, the user and the run. It takes the place of the run's
    /// share of the machine's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacing: Option<SetNumber>,
    /// The project's, which only lowers what would count without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowering: Option<SetNumber>,
}

impl ConnectionLimit {
    /// Returns the number that counts where the share is this, and the line that sets it; no line
    /// where it is the share.
    #[must_use]
    pub fn within(&self, share: u32) -> (u32, Option<&Origin>) {
        let (most, origin) = match &self.replacing {
            Some(set) => (set.most, Some(&set.origin)),
            None => (share, None),
        };
        match &self.lowering {
            Some(set) if set.most < most => (set.most, Some(&set.origin)),
            _ => (most, origin),
        }
    }

    /// Returns the smallest number that any layer sets.
    #[must_use]
    pub fn smallest(&self) -> Option<u32> {
        [&self.replacing, &self.lowering].into_iter().flatten().map(|set| set.most).min()
    }

    /// Returns what is set, without places.
    fn canonical(&self) -> serde_json::Value {
        let number = |set: &Option<SetNumber>| set.as_ref().map(|set| set.most);
        serde_json::json!({"lowering": number(&self.lowering), "replacing": number(&self.replacing)})
    }
}

/// `container.connections` and `container.connections-per-second`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Permitted connections at once.
    #[serde(default)]
    pub at_once: ConnectionLimit,
    /// New permitted connections a second.
    #[serde(default)]
    pub per_second: ConnectionLimit,
}

impl ConnectionLimits {
    /// Tells whether no layer sets any.
    #[must_use]
    pub fn are_unset(&self) -> bool {
        *self == ConnectionLimits::default()
    }

    /// Returns what is set, without places.
    pub(crate) fn canonical(&self) -> serde_json::Value {
        serde_json::json!({
            "at_once": self.at_once.canonical(),
            "per_second": self.per_second.canonical(),
        })
    }
}

/// One line of `tests`: what a policy promises about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Set when the target is to be permitted.
    pub allow: bool,
    /// Set when the target is asked about as if a further rule permitted it: `may` and `never`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
    /// The target.
    pub endpoint: Endpoint,
    /// SourcePlace of the expectation.
    pub origin: Origin,
}

impl Expectation {
    /// Returns the key of the line.
    pub fn word(&self) -> &'static str {
        match (self.allow, self.assumed) {
            (true, false) => "allow",
            (false, false) => "deny",
            (true, true) => "may",
            (false, true) => "never",
        }
    }
}

/// A whole policy, all files of all layers merged: plain data, the same for every command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Permissions, as far as the ceilings let them count.
    pub allow: Vec<Arc<Rule>>,
    /// Denials. They refuse even what `allow` permits.
    pub deny: Vec<Arc<Rule>>,
    /// Ceilings, at most one for each layer, strongest first.
    #[serde(default)]
    pub ceilings: Vec<Ceiling>,
    /// Names whose refusal does no harm. No verdict hangs on them, and they are not digested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub harmless: Vec<Harmless>,
    /// A person has approved the project's policy as it is: its grants count without a ceiling too.
    #[serde(default)]
    pub project_trusted: bool,
    /// Resolution.
    #[serde(default)]
    pub dns: Dns,
    /// The corporate proxy that the guard dials through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Limits and setting of the agent's container.
    #[serde(default)]
    pub container: Container,
    /// Bounds of permitted connections.
    #[serde(default, skip_serializing_if = "ConnectionLimits::are_unset")]
    pub connections: ConnectionLimits,
    /// Containers beside the agent, in the same fence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceName, Service>,
    /// Registries from which a client of the fenced socket may have images pulled, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Demands on the engine.
    #[serde(default)]
    pub require: Vec<Requirement>,
    /// Files of the project that are hidden, or spared.
    #[serde(default)]
    pub workspace: Workspace,
    /// Limits of a token that the agent is given.
    #[serde(default)]
    pub credentials: Credentials,
    /// Detail of what the agent is told.
    #[serde(default, skip_serializing_if = "NoticeDetail::is_full")]
    pub notice: NoticeDetail,
    /// Expectations that `policy test` checks.
    #[serde(default)]
    pub tests: Vec<Expectation>,
    /// `--network denied`: nothing is permitted, whatever `allow` says.
    #[serde(default)]
    pub network_denied: bool,
    /// `--network observe`: public names are permitted that no rule permits, and their lines say
    /// so. Where a layer forbids it, it has no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network_observed: bool,
    /// The strongest layer's `network.observe: false`: no run may be observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observing_forbidden: Option<Origin>,
    /// A condition of the moment, no part of what is digested: these names are refused as if there
    /// were no network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_denied_to: Vec<HostPattern>,
}

impl Policy {
    /// Returns the policy that permits nothing.
    pub fn nothing() -> Policy {
        Policy::default()
    }

    /// Tells whether public names are permitted that no rule permits. Behind a proxy none are: it
    /// resolves names anew, so nothing holds it to the addresses that were checked.
    pub fn is_observed(&self) -> bool {
        self.network_observed
            && self.observing_forbidden.is_none()
            && self.proxy.is_none()
            && !self.network_denied
    }

    /// Returns the text that is digested and signed: the policy's content and the floor's version,
    /// without the places where it was written, so that a file says the same from wherever it is
    /// read. JSON, keys sorted.
    pub fn canonical(&self) -> String {
        let rules = |rules: &[Arc<Rule>]| -> Vec<serde_json::Value> {
            rules.iter().map(|rule| canonical_rule(rule)).collect()
        };
        let tests: Vec<serde_json::Value> = self.tests.iter().map(canonical_test).collect();
        let ceilings: Vec<serde_json::Value> = self
            .ceilings
            .iter()
            .map(|ceiling| serde_json::json!({"layer": ceiling.layer, "rules": rules(&ceiling.rules)}))
            .collect();
        let mut canonical = serde_json::json!({
            "allow": rules(&self.allow),
            "ceilings": ceilings,
            "container": self.container,
            "credentials": self.credentials,
            "deny": rules(&self.deny),
            "dns": self.dns,
            "floor": crate::floor::FLOOR_VERSION,
            "network_denied": self.network_denied,
            "project_trusted": self.project_trusted,
            "proxy": self.proxy,
            "require": self.require,
            "tests": tests,
            "workspace": self.workspace,
        });
        // What nobody sets is not written, so that a policy keeps the digest that it has.
        if !self.notice.is_full() {
            canonical["notice"] = serde_json::json!(self.notice);
        }
        if self.network_observed {
            canonical["network_observed"] = serde_json::json!(true);
        }
        if self.observing_forbidden.is_some() {
            canonical["observe"] = serde_json::json!(false);
        }
        if !self.connections.are_unset() {
            canonical["connections"] = self.connections.canonical();
        }
        if !self.services.is_empty() {
            canonical["services"] = serde_json::json!(self.services);
        }
        if !self.images.is_empty() {
            canonical["images"] = serde_json::json!(self.images);
        }
        canonical.to_string()
    }

    /// Finds the permission by which a service's name is a host too: the name could lead to one of
    /// them only.
    #[must_use]
    pub fn host_of_service(&self, name: &ServiceName) -> Option<&Rule> {
        let name = HostName::parse(name.as_ref()).ok()?;
        self.allow.iter().map(|rule| &**rule).find(|rule| match &rule.matcher {
            Matcher::Host(pattern) => pattern.matches(&name),
            Matcher::Cidr(_) => false,
        })
    }

    /// Returns `sha256:` and the hexadecimal digest of [`Policy::canonical`].
    pub fn digest(&self) -> String {
        crate::digest::of(&self.canonical())
    }
}

fn canonical_test(test: &Expectation) -> serde_json::Value {
    let mut text = serde_json::json!({"allow": test.allow, "target": test.endpoint.to_string()});
    // Without the key a policy keeps the digest that it has.
    if test.assumed {
        text["assumed"] = serde_json::json!(true);
    }
    text
}

fn canonical_rule(rule: &Rule) -> serde_json::Value {
    serde_json::json!({
        "expires": rule.expires,
        "host_access": rule.host_access,
        "layer": rule.origin.layer,
        "matcher": rule.matcher,
        "ports": rule.ports,
        "private": rule.private,
        "protocol": rule.protocol,
        "reason": rule.reason,
        "resolved_by": rule.resolved_by,
    })
}
