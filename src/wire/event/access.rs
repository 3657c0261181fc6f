//! Access of the agent: its request, and the decision about it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use netpolicy::decide::{Reason, Verdict};
use netpolicy::host::HostName;
use netpolicy::policy::{Layer, Protocol, ResolvedBy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::word::Known;

/// Kind of the agent's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A DNS question.
    Dns,
    /// A connection, or the attempt at one.
    #[default]
    Connect,
    /// The ClientHello of a connection.
    Tls,
    /// A request on a connection.
    Http,
    /// A packet that is not TCP.
    Datagram,
}

impl Kind {
    /// Returns the word in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Dns => "dns",
            Kind::Connect => "connect",
            Kind::Tls => "tls",
            Kind::Http => "http",
            Kind::Datagram => "datagram",
        }
    }
}

/// Start or end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The connection was opened.
    Open,
    /// The connection ended.
    Close,
}

/// Decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    /// Permitted.
    Allow,
    /// Refused.
    Deny,
}

impl Decision {
    /// Returns the word in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        }
    }
}

/// Transport of a request: as the gate looks at it, or as the refused packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// TLS.
    Tls,
    /// HTTP.
    Http,
    /// TCP, of whatever content.
    Tcp,
    /// TCP, of a content that its first bytes tell.
    Auto,
    /// UDP.
    Udp,
    /// ICMP, of either IP version.
    Icmp,
    /// Another protocol of IP, by its number.
    Number(u8),
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Transport {
        match protocol {
            Protocol::Tls => Transport::Tls,
            Protocol::Http => Transport::Http,
            Protocol::Tcp => Transport::Tcp,
            Protocol::Auto => Transport::Auto,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Tls => f.pad("tls"),
            Transport::Http => f.pad("http"),
            Transport::Tcp => f.pad("tcp"),
            Transport::Auto => f.pad("auto"),
            Transport::Udp => f.pad("udp"),
            Transport::Icmp => f.pad("icmp"),
            Transport::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for Transport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Transport, &'static str> {
        Ok(match text {
            "tls" => Transport::Tls,
            "http" => Transport::Http,
            "tcp" => Transport::Tcp,
            "auto" => Transport::Auto,
            "udp" => Transport::Udp,
            "icmp" => Transport::Icmp,
            number => {
                let parsed = number.parse().ok().filter(|parsed: &u8| parsed.to_string() == number);
                Transport::Number(parsed.ok_or("this is no protocol")?)
            }
        })
    }
}

impl Serialize for Transport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Transport, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The deciding rule, and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Ruling {
    /// The deciding rule's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// The deciding rule's layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::layers"))]
    pub(crate) layer: Option<Known<Layer>>,
    /// The file that the deciding rule stands in, or the option that it was given by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
}

impl From<&Verdict> for Ruling {
    fn from(verdict: &Verdict) -> Ruling {
        let Some(rule) = &verdict.rule else { return Ruling::default() };
        Ruling {
            rule: Some(rule.origin.text.clone()),
            layer: Some(rule.origin.layer.into()),
            file: Some(rule.origin.file.clone()),
            line: (rule.origin.line > 0).then_some(rule.origin.line),
        }
    }
}

impl fmt::Display for Ruling {
    /// Writes the rule, and behind it layer and place; nothing without a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rule) = &self.rule else { return Ok(()) };
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => Some(format!("{file}:{line}")),
            (file, _) => file.clone(),
        };
        let layer = self.layer.as_ref().map(ToString::to_string);
        let about: Vec<String> = [layer, place].into_iter().flatten().collect();
        match about.is_empty() {
            true => f.write_str(rule),
            false => write!(f, "{rule} ({})", about.join(", ")),
        }
    }
}

/// A question, a connection or a packet of the agent, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Access {
    /// Kind of the request.
    pub(crate) kind: Kind,
    /// `open` or `close` of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Known<Phase>>,
    /// Joins the `open` and the `close` of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conn: Option<u64>,
    /// Decision about the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<Known<Decision>>,
    /// Reason, from the closed list of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::reasons"))]
    pub(crate) reason: Option<Known<Reason>>,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) host: Option<HostName>,
    /// The real address of a connection; the virtual one of an answer; the target of a refused
    /// packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::address"))]
    pub(crate) address: Option<IpAddr>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// `tls`, `http`, `tcp`, `auto`, `udp`, `icmp`, or the number of another protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::transports"))]
    pub(crate) protocol: Option<Known<Transport>>,
    /// Resolver of the name. Of a `dns` event: the resolver that is asked about it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::resolvers"))]
    pub(crate) resolver: Option<Known<ResolvedBy>>,
    /// The deciding rule.
    #[serde(flatten)]
    pub(crate) by: Ruling,
    /// Bytes from the agent, of a connection that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_out: Option<u64>,
    /// Bytes to the agent, of a connection that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_in: Option<u64>,
    /// Milliseconds that a connection was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ms: Option<u64>,
    /// Events like this one that have no line: the line stands for one more than these. A line that
    /// counts different targets names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<u64>,
    /// The limit behind the reason `limit`, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    /// The text behind `resolve-failed`, `connect-failed` and `stalled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Access {
    /// Returns a refusal.
    pub(crate) fn denied(kind: Kind, reason: Reason) -> Access {
        Access {
            kind,
            verdict: Some(Decision::Deny.into()),
            reason: Some(reason.into()),
            ..Access::default()
        }
    }

    /// Returns a permission.
    pub(crate) fn allowed(kind: Kind) -> Access {
        Access {
            kind,
            verdict: Some(Decision::Allow.into()),
            reason: Some(Reason::Allowed.into()),
            ..Access::default()
        }
    }

    /// Adds the rule that decided. What an observed run alone permits says so.
    pub(crate) fn by(mut self, verdict: &Verdict) -> Access {
        self.by = verdict.into();
        if verdict.allowed && self.verdict == Some(Decision::Allow.into()) {
            self.reason = Some(verdict.reason.into());
        }
        self
    }
}
