//! Remedies for refusals: the rule that would permit a target. They are for the person who reads
//! the log, never for the agent.
//!
//! ```text
//!  reason, name, address, port ──▶ the line to add below `network.allow`, or why no line would do
//! ```

use std::net::IpAddr;

use netpolicy::decide::Reason;
use netpolicy::floor::PRIVATE_RANGES;
use netpolicy::host::HostName;

use crate::supervisor::spec::etc::HOST_NAMES;
use crate::wire::WorkflowId;
use crate::wire::event::{Event, Kind, Line};

/// Remedy for a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Add this line to `network.allow`.
    Line {
        /// The line.
        yaml: String,
        /// Argument of `ringfence allow`, where it can say the same.
        allow: Option<String>,
        /// Risk to think of first.
        but: &'static str,
    },
    /// Do something else, or nothing.
    Words(String),
}

impl Remedy {
    /// Returns the remedy as a row; with the id of a workflow that can still be changed.
    pub(crate) fn text(&self, live: Option<WorkflowId>) -> String {
        match self {
            Remedy::Words(words) => words.clone(),
            Remedy::Line { yaml, allow, but } => {
                let mut text = format!("to permit it: - {yaml}");
                if let (Some(id), Some(allow)) = (live, allow) {
                    text.push_str(&format!("   (now: ringfence allow {id} {allow})"));
                }
                if !but.is_empty() {
                    text.push_str(&format!("   ({but})"));
                }
                text
            }
        }
    }
}

/// Returns the remedy for an event; nothing when nothing was refused.
pub(crate) fn of(line: &Line) -> Option<Remedy> {
    let Event::Access(access) = &line.event else { return None };
    if !line.event.is_denied() {
        return None;
    }
    let (host, port, is_packet) = (access.host.clone(), access.port, access.kind == Kind::Datagram);
    let words = |words: &str| Some(Remedy::Words(words.to_owned()));
    let place = || access.by.rule.as_ref().map(|_| format!(": {}", access.by)).unwrap_or_default();
    match *access.reason.as_ref()?.known()? {
        Reason::NotAllowed | Reason::Port => name(&host?, port),
        Reason::NameBudget => {
            let but = "or more of them: network.dns.names-per-wildcard";
            name(&host?, port).map(|remedy| with(remedy, but))
        }
        Reason::RawAddress => range(access.address?, port?),
        Reason::PrivateAddress => private(host, access.address?, port),
        // The name is the machine's own, and a port of it can be given by hand.
        Reason::HostAddress if host.as_ref().is_some_and(is_of_host) => {
            let port = port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
            let allow = format!("--allow {}:{port}", host?);
            Some(Remedy::Words(format!(
                "the machine itself: {allow} permits this one server of it, if that is meant"
            )))
        }
        Reason::HostAddress | Reason::MetadataAddress | Reason::ReservedAddress => {
            words("cannot be permitted: the floor refuses it whatever a policy says")
        }
        Reason::NoSni | Reason::NotTls | Reason::Http2 => unchecked(&host?, port?),
        Reason::Protocol if !is_packet && host.is_some() => unchecked(&host?, port?),
        Reason::Silent => words(
            "nothing to permit: the agent opened a spare connection and sent nothing; only for a server that speaks first: protocol: tcp, which checks no name",
        ),
        Reason::SniMismatch | Reason::HostMismatch => words(
            "it asked for another name than the one it connected to: permit that name, and have it connect there",
        ),
        Reason::Protocol if is_packet => words("cannot be permitted: only TCP can"),
        Reason::Protocol | Reason::Malformed | Reason::QueryType => {
            words("cannot be permitted: it cannot be checked")
        }
        Reason::DeniedByRule => Some(Remedy::Words(format!("take the denial away{}", place()))),
        Reason::OutsideCeiling => words(
            "only within the ceiling of the stronger layer: ask its owner to widen it; `ringfence policy explain` shows it",
        ),
        Reason::UntrustedLayer => {
            words("`ringfence trust` approves the project's policy; or permit it in another layer")
        }
        Reason::Expired => Some(Remedy::Words(format!("its last day is over; change `expires`{}", place()))),
        Reason::NetworkDenied | Reason::Cut => Some(Remedy::Words(format!(
            "the network is so on purpose: `ringfence net {} restore` ends conditions",
            line.workflow
        ))),
        Reason::Deadline => words("the time of the run (--time) is over"),
        Reason::Limit => words("too much at once: nothing to permit"),
        Reason::LogFull => words(
            "the decision log of the run is full, and nothing goes out without a line in it: start another run",
        ),
        Reason::ReservedPort => words("cannot be permitted: the fence keeps this port for itself"),
        Reason::ResolveFailed | Reason::ConnectFailed => {
            let why = access.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            Some(Remedy::Words(format!("permitted, and failed on the way out{why}")))
        }
        _ => None,
    }
}

/// Tells whether a name stands for the host, as containers see it.
fn is_of_host(name: &HostName) -> bool {
    HOST_NAMES.contains(&name.as_str())
}

/// Suggests a rule for a name on a port, 443 for a question that has none.
fn name(host: &HostName, port: Option<u16>) -> Option<Remedy> {
    let text = match port {
        None | Some(443) => host.to_string(),
        Some(port) => format!("{host}:{port}"),
    };
    let but = if port.is_none() { "for port 443" } else { "" };
    Some(Remedy::Line { yaml: text.clone(), allow: Some(text), but })
}

fn with(remedy: Remedy, but: &'static str) -> Remedy {
    match remedy {
        Remedy::Line { yaml, allow, .. } => Remedy::Line { yaml, allow, but },
        words @ Remedy::Words(_) => words,
    }
}

fn range(address: IpAddr, port: u16) -> Option<Remedy> {
    match address {
        IpAddr::V4(address) => Some(Remedy::Line {
            yaml: format!("{{cidr: {address}/32, ports: [{port}]}}"),
            allow: None,
            but: "better: permit the name that it belongs to",
        }),
        IpAddr::V6(_) => Some(Remedy::Words("cannot be permitted: only IPv4 addresses can".to_owned())),
    }
}

fn private(host: Option<HostName>, address: IpAddr, port: Option<u16>) -> Option<Remedy> {
    let Some(host) = host else {
        let words = "permit the name that it belongs to, with its addresses in `private`";
        return Some(Remedy::Words(words.to_owned()));
    };
    if !PRIVATE_RANGES.iter().any(|range| range.contains(&address)) {
        let words = "cannot be permitted: the floor refuses it whatever a policy says";
        return Some(Remedy::Words(words.to_owned()));
    }
    let length = if address.is_ipv4() { 32 } else { 128 };
    Some(Remedy::Line {
        yaml: format!("{{host: {host}, ports: [{}], private: [{address}/{length}]}}", port.unwrap_or(443)),
        allow: None,
        but: "not for addresses of this machine or its engine",
    })
}

fn unchecked(host: &HostName, port: u16) -> Option<Remedy> {
    Some(Remedy::Line {
        yaml: format!("{{host: {host}, ports: [{port}], protocol: tcp}}"),
        allow: None,
        but: "instead of the rule that it has: then no name is checked",
    })
}

#[cfg(test)]
mod tests {
    use netpolicy::decide::{Question, Target, decide};
    use netpolicy::floor::Surroundings;
    use netpolicy::load::rule_from_flag;
    use netpolicy::policy::{Layer, Policy};

    use super::*;
    use crate::wire::event::{Access, Decision};

    fn id() -> WorkflowId {
        "0000002a".parse().unwrap()
    }

    fn access(reason: &str, host: Option<&str>, address: Option<&str>, port: Option<u16>) -> Access {
        let reason = Reason::ALL.iter().find(|known| known.as_str() == reason).unwrap();
        Access {
            host: host.map(|host| host.parse().unwrap()),
            address: address.map(|address| address.parse().unwrap()),
            port,
            ..Access::denied(Kind::Connect, *reason)
        }
    }

    fn refused(reason: &str, host: Option<&str>, address: Option<&str>, port: Option<u16>) -> Line {
        Line::now(0, id(), access(reason, host, address, port).into(), None)
    }

    fn policy(yaml: &str) -> Policy {
        let text = format!("version: 1\nnetwork:\n  allow:\n    - {yaml}\n");
        let mut read = |_: &str| Ok(text.clone());
        netpolicy::load::load("p.yml", Layer::Run, crate::host::clock::today(), &mut read).unwrap().policy
    }

    #[test]
    fn every_line_that_is_proposed_permits_what_was_refused() {
        for (line, port, address) in [
            (refused("not-allowed", Some("a.test"), None, None), 443, None),
            (refused("not-allowed", Some("a.test"), None, Some(443)), 443, None),
            (refused("port", Some("a.test"), None, Some(8080)), 8080, None),
            (refused("name-budget", Some("x.a.test"), None, None), 443, None),
            (refused("private-address", Some("a.test"), Some("10.1.2.3"), Some(22)), 22, Some("10.1.2.3")),
            (refused("private-address", Some("a.test"), Some("fd00::7"), None), 443, Some("fd00::7")),
            (refused("not-tls", Some("a.test"), None, Some(443)), 443, None),
            (refused("protocol", Some("a.test"), None, Some(9000)), 9000, None),
            (refused("raw-address", None, Some("198.51.100.9"), Some(5432)), 5432, None),
        ] {
            let Some(Remedy::Line { yaml, allow, .. }) = of(&line) else { panic!("{line:?}: no line") };
            let Event::Access(access) = line.event else { unreachable!() };
            let target = match (access.host, access.address) {
                (Some(host), _) => Target::Name(host),
                (None, address) => Target::Address(address.unwrap()),
            };
            let mut question = Question::about(&target, crate::host::clock::today()).port(port);
            question.address = address.map(|address| address.parse().unwrap());
            let surroundings = Surroundings::default();
            assert!(!decide(&Policy::nothing(), &surroundings, &question).allowed);
            assert!(decide(&policy(&yaml), &surroundings, &question).allowed, "{yaml}");
            if let Some(allow) = allow {
                let mut live = Policy::nothing();
                live.allow.push(rule_from_flag("--allow", &allow).unwrap().into());
                assert!(decide(&live, &surroundings, &question).allowed, "{allow}");
            }
        }
    }

    #[test]
    fn what_cannot_be_permitted_says_so_and_every_reason_says_something() {
        let said = |reason: &str| match of(&refused(reason, Some("a.test"), Some("192.0.2.1"), Some(9))) {
            Some(remedy) => remedy.text(Some(id())),
            None => String::new(),
        };
        for floor in ["host-address", "metadata-address", "reserved-address"] {
            assert!(said(floor).starts_with("cannot be permitted"), "{floor}");
        }
        for reason in [
            "denied-by-rule",
            "not-allowed",
            "outside-ceiling",
            "untrusted-layer",
            "expired",
            "port",
            "private-address",
            "raw-address",
            "sni-mismatch",
            "no-sni",
            "not-tls",
            "silent",
            "host-mismatch",
            "http2",
            "malformed",
            "protocol",
            "query-type",
            "name-budget",
            "limit",
            "resolve-failed",
            "connect-failed",
            "network-denied",
            "deadline",
            "cut",
            "log-full",
            "reserved-port",
        ] {
            assert!(!said(reason).is_empty(), "{reason}");
        }
        let mut permitted = access("port", Some("a.test"), None, Some(1));
        permitted.verdict = Some(Decision::Allow.into());
        assert_eq!(of(&Line::now(0, id(), permitted.into(), None)), None);
    }
}
