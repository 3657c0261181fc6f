//! The closed list of reasons: the same words in verdicts, answers, events and reports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Reason for which something is allowed or refused: the closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// A rule allows it and nothing refuses it.
    Allowed,
    /// No rule allows it, and the run is observed: every public name is permitted.
    Observed,
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
    /// Nothing on a TLS port, for as long as that is waited for.
    Silent,
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
    /// The server acknowledges nothing any more.
    Stalled,
    /// The run has no network.
    NetworkDenied,
    /// The run's time is over.
    Deadline,
    /// The network was cut on request.
    Cut,
    /// The run's decision log has reached its bound.
    LogFull,
    /// A port that the fence keeps for itself.
    ReservedPort,
}

impl Reason {
    /// Every reason.
    pub const ALL: &[Reason] = &[
        Reason::Allowed,
        Reason::Observed,
        Reason::DeniedByRule,
        Reason::NotAllowed,
        Reason::OutsideCeiling,
        Reason::UntrustedLayer,
        Reason::Expired,
        Reason::Port,
        Reason::PrivateAddress,
        Reason::HostAddress,
        Reason::MetadataAddress,
        Reason::ReservedAddress,
        Reason::RawAddress,
        Reason::SniMismatch,
        Reason::NoSni,
        Reason::NotTls,
        Reason::Silent,
        Reason::HostMismatch,
        Reason::Http2,
        Reason::Malformed,
        Reason::Protocol,
        Reason::QueryType,
        Reason::NameBudget,
        Reason::Limit,
        Reason::ResolveFailed,
        Reason::ConnectFailed,
        Reason::Stalled,
        Reason::NetworkDenied,
        Reason::Deadline,
        Reason::Cut,
        Reason::LogFull,
        Reason::ReservedPort,
    ];

    /// Returns the word as it stands in events and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Allowed => "allowed",
            Reason::Observed => "observed",
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
            Reason::Silent => "silent",
            Reason::HostMismatch => "host-mismatch",
            Reason::Http2 => "http2",
            Reason::Malformed => "malformed",
            Reason::Protocol => "protocol",
            Reason::QueryType => "query-type",
            Reason::NameBudget => "name-budget",
            Reason::Limit => "limit",
            Reason::ResolveFailed => "resolve-failed",
            Reason::ConnectFailed => "connect-failed",
            Reason::Stalled => "stalled",
            Reason::NetworkDenied => "network-denied",
            Reason::Deadline => "deadline",
            Reason::Cut => "cut",
            Reason::LogFull => "log-full",
            Reason::ReservedPort => "reserved-port",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<&str> =
            Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
    }
}
