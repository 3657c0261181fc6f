//! Names and ports that a run asked for, as its log shows them.
//!
//! ```text
//!  a line ─┬─ a connection, a refusal that a rule could lift ─▶ the name, on that port
//!          ├─ a question about a name ───────────────────────▶ the name, on no port yet
//!          └─ everything else ───────────────────────────────▶ others, with the reason
//! ```

use std::collections::BTreeMap;

use netpolicy::decide::Reason;
use netpolicy::floor::PRIVATE_RANGES;
use netpolicy::host::HostName;
use netpolicy::policy::Protocol;

use crate::report::remedy;
use crate::supervisor::run::attempts::Attempts;
use crate::supervisor::run::summary::target;
use crate::wire::event::{Access, Event, Kind, Known, Line, Phase, Time, Transport};

/// Different names, ports and other targets that are remembered of a run: an agent may try any
/// number.
const MOST: usize = 4000;
/// Characters of a reason that are kept: a log of others may hold any.
const LONGEST: usize = 400;

/// Requests of one run.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// Names that it asked for.
    pub(super) names: BTreeMap<HostName, NameSightings>,
    /// Targets that no name in a policy would permit, each with the reason.
    pub(super) others: BTreeMap<(String, String), u64>,
    /// Requests for targets beyond those that are remembered.
    pub(super) beyond: u64,
    /// Lines that are no events.
    pub(super) unread: usize,
    held: usize,
}

/// Requests of one run for one name.
#[derive(Debug, Default)]
pub(super) struct NameSightings {
    /// Questions about the name.
    pub(super) asked: Option<Sighting>,
    /// Connections, by port.
    pub(super) ports: BTreeMap<u16, Sighting>,
}

/// Requests of one run for one target.
#[derive(Debug, Clone)]
pub(super) struct Sighting {
    /// Number of the attempts, and the first of them.
    pub(super) attempts: Attempts,
    /// Outcomes of the attempts.
    pub(super) outcomes: Outcomes,
    /// Check that lets all of them through; none where no connection was opened.
    pub(super) protocol: Option<Protocol>,
}

/// Outcomes of several attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    /// A connection was permitted, and succeeded.
    pub(super) reached: bool,
    /// A question was permitted, and answered.
    pub(super) answered: bool,
    /// One was refused.
    pub(super) refused: bool,
    /// One was permitted, and failed on the way out.
    pub(super) failed: bool,
}

impl Outcomes {
    /// Returns the outcomes of both.
    pub(super) fn and(self, other: Outcomes) -> Outcomes {
        Outcomes {
            reached: self.reached || other.reached,
            answered: self.answered || other.answered,
            refused: self.refused || other.refused,
            failed: self.failed || other.failed,
        }
    }
}

/// Returns the check that lets through what passes one of two. An attempt that opened nothing shows
/// none.
pub(super) fn either_check(one: Option<Protocol>, other: Option<Protocol>) -> Option<Protocol> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Some(Protocol::Auto),
        _ => one.or(other),
    }
}

/// A request that a line shows.
enum Request {
    Name { host: HostName, port: Option<u16>, protocol: Option<Protocol>, outcomes: Outcomes },
    Other(String),
}

impl Sightings {
    /// Reads a log.
    pub(super) fn of(log: &[u8]) -> Sightings {
        let mut sightings = Sightings::default();
        for text in log.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            match Line::read(text) {
                Some(line) => sightings.add(&line),
                None => sightings.unread += 1,
            }
        }
        sightings
    }

    fn add(&mut self, line: &Line) {
        let Event::Access(access) = &line.event else { return };
        match request(line, access) {
            Some(Request::Name { host, port, protocol, outcomes }) => {
                let attempts = Attempts::begin(access, line.time);
                self.add_name(host, port, Sighting { attempts, outcomes, protocol }, (access, line.time));
            }
            Some(Request::Other(help)) => self.add_other((target(access), help)),
            None => {}
        }
    }

    fn add_name(&mut self, host: HostName, port: Option<u16>, new: Sighting, seen: (&Access, Time)) {
        let is_full = self.held >= MOST;
        if is_full && !self.names.contains_key(&host) {
            self.beyond += 1;
            return;
        }
        let name = self.names.entry(host).or_default();
        let known = match port {
            Some(port) => name.ports.get_mut(&port),
            None => name.asked.as_mut(),
        };
        if let Some(known) = known {
            known.attempts.add(seen.0, seen.1);
            known.outcomes = known.outcomes.and(new.outcomes);
            known.protocol = either_check(known.protocol, new.protocol);
            return;
        }
        if is_full {
            self.beyond += 1;
            return;
        }
        self.held += 1;
        match port {
            Some(port) => _ = name.ports.insert(port, new),
            None => name.asked = Some(new),
        }
    }

    fn add_other(&mut self, key: (String, String)) {
        if let Some(count) = self.others.get_mut(&key) {
            *count += 1;
        } else if self.others.len() < MOST {
            self.others.insert(key, 1);
        } else {
            self.beyond += 1;
        }
    }
}

/// Reads the request of a line; nothing where the line is about none, or about one that another
/// line has shown.
fn request(line: &Line, access: &Access) -> Option<Request> {
    if line.event.is_denied() { refused(line, access) } else { permitted(access) }
}

fn permitted(access: &Access) -> Option<Request> {
    let is_opened = access.phase == Some(Known::This(Phase::Open));
    if !is_opened && access.kind != Kind::Dns {
        return None;
    }
    let other = |words: &str| Some(Request::Other(words.to_owned()));
    let Some(host) = access.host.clone() else {
        return if is_opened {
            other("it was reached by its address: `cidr` is a person's to write")
        } else {
            None
        };
    };
    let is_private = |address| PRIVATE_RANGES.iter().any(|range| range.contains(address));
    if is_opened && access.address.as_ref().is_some_and(is_private) {
        return other("it lies in a private network: `private` is a person's to write");
    }
    let outcomes = Outcomes { reached: is_opened, answered: !is_opened, ..Outcomes::default() };
    let port = access.port.filter(|_| is_opened);
    let protocol = match access.protocol.as_ref().and_then(Known::known).filter(|_| is_opened) {
        Some(Transport::Tcp) => {
            return other("nothing of it was checked: `protocol: tcp` is a person's to write");
        }
        Some(Transport::Tls) => Some(Protocol::Tls),
        Some(Transport::Http) => Some(Protocol::Http),
        Some(Transport::Auto) => Some(Protocol::Auto),
        _ => None,
    };
    Some(Request::Name { host, port, protocol, outcomes })
}

/// Reads a refusal. One that a rule for the name would lift counts, whatever refused it for the
/// moment: no network, a cut, an approval that is missing.
fn refused(line: &Line, access: &Access) -> Option<Request> {
    let reason = access.reason.as_ref().and_then(Known::known);
    let outcomes = match reason {
        Some(
            Reason::NotAllowed
            | Reason::Port
            | Reason::NameBudget
            | Reason::UntrustedLayer
            | Reason::NetworkDenied
            | Reason::Cut,
        ) => Outcomes { refused: true, ..Outcomes::default() },
        Some(Reason::ResolveFailed | Reason::ConnectFailed) => {
            Outcomes { failed: true, ..Outcomes::default() }
        }
        _ => return Some(Request::Other(help(line))),
    };
    match access.host.clone() {
        Some(host) if access.kind != Kind::Datagram => {
            let port = access.port.filter(|_| access.kind != Kind::Dns);
            Some(Request::Name { host, port, protocol: None, outcomes })
        }
        _ => Some(Request::Other(help(line))),
    }
}

/// Says what would help where no name in a policy does.
fn help(line: &Line) -> String {
    let help = remedy::of(line).map(|remedy| remedy.text(None).chars().take(LONGEST).collect());
    help.unwrap_or_else(|| "no rule would permit it".to_owned())
}
