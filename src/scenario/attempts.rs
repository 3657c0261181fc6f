//! Attempts of an agent, by the decision log of its run.
//!
//! ```text
//!  lines ─▶ lookups, connections (by their numbers), packets ─▶ tries: what a program would call one attempt
//! ```
//! A connection is one try, whatever becomes of it. A name that is refused is tried by its lookup:
//! programs ask for an IPv4 and an IPv6 address at once, which is one try. A lookup that is
//! answered is the beginning of a connection, and counts by itself only where a target must not be
//! tried.
//!
//! The guard folds refusals that are alike: the first has a line at once, and those of the next
//! second share a line that comes later, with their number. Two lookups of one try are alike too.
//! So a line may tell no more than a span of time, and a least and a greatest number of tries.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::target::{TargetPattern, TriedTarget};
use crate::wire::event::{Access, Event, Kind, Known, Line, Phase, Time};

/// Attempts that are remembered of one run.
const MOST: usize = 20_000;
/// Lookups of a name within this time are one try.
const ONE_TRY: Duration = Duration::from_millis(100);
/// Time after a line in which its like has no line of its own.
const FOLDED_FOR: Duration = Duration::from_secs(1);
/// Time after a line by which the line of those like it has come, on a busy machine too.
const FOLDED_TOLD: Duration = Duration::from_secs(3);

/// One attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Number of the line.
    pub(crate) seq: u64,
    /// Time of the line.
    pub(crate) time: Time,
    /// The target.
    pub(crate) target: TriedTarget,
    /// Set for a lookup.
    pub(crate) is_lookup: bool,
    /// Set where it was refused, or failed.
    pub(crate) failed: bool,
    /// Tries that the line proves, and the time after which they came.
    pub(crate) proven: u64,
    pub(crate) since: Time,
    /// The greatest number of tries that the line may stand for.
    pub(crate) possible: u64,
    /// The line, for a person.
    pub(crate) shown: String,
}

/// Attempts of a run.
#[derive(Debug, Default)]
pub(crate) struct AttemptLog {
    attempts: Vec<Attempt>,
    /// Positions of connections by their numbers.
    connections: HashMap<u64, usize>,
    /// Latest lines of refusals that are folded, by what is alike in them.
    folded: HashMap<(Kind, TriedTarget), LatestLine>,
    /// Time of the first line.
    began: Option<Time>,
    /// Set where attempts are missing: there were too many.
    pub(crate) is_cut_short: bool,
}

/// Latest line of refusals that are alike.
#[derive(Debug, Clone, Copy)]
struct LatestLine {
    time: Time,
    /// Set where its lookups may belong to the try of the line before.
    is_doubtful: bool,
}

/// A try, as a program would count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try<'a> {
    /// Its first attempt.
    pub(crate) attempt: &'a Attempt,
    /// Tries that are proven, and the time after which they came.
    pub(crate) proven: u64,
    pub(crate) since: Time,
    /// The greatest number of tries.
    pub(crate) possible: u64,
}

impl AttemptLog {
    /// Adds a line of the log.
    pub(crate) fn add(&mut self, line: &Line) {
        let began = *self.began.get_or_insert(line.time);
        let Event::Access(access) = &line.event else { return };
        if access.phase == Some(Known::This(Phase::Close)) {
            return;
        }
        let denied = line.event.is_denied();
        if let Some(position) = access.conn.and_then(|conn| self.connections.get(&conn)) {
            let before = &mut self.attempts[*position];
            before.failed |= denied;
            before.possible = before.possible.saturating_add(access.left_out.unwrap_or(0));
            before.target.address = before.target.address.or(access.address);
            return;
        }
        let target = target(access);
        // Questions that are no host's, and what stays inside the fence.
        if (!denied && target.host.is_none() && target.address.is_none()) || is_own(&target) {
            return;
        }
        if self.attempts.len() >= MOST {
            self.is_cut_short = true;
            return;
        }
        let (proven, since) = match access.conn {
            Some(conn) => {
                self.connections.insert(conn, self.attempts.len());
                (1, line.time)
            }
            None => self.proof(access, &target, line.time, began),
        };
        self.attempts.push(Attempt {
            seq: line.seq,
            time: line.time,
            is_lookup: access.kind == Kind::Dns,
            failed: denied,
            proven,
            since,
            possible: access.left_out.unwrap_or(0).saturating_add(1),
            shown: shown(access, &target, denied),
            target,
        });
    }

    /// Returns the tries that a line without a connection proves, and the time after which they
    /// came.
    fn proof(&mut self, access: &Access, target: &TriedTarget, time: Time, began: Time) -> (u64, Time) {
        let more = access.left_out.unwrap_or(0);
        let alike = (access.kind, target.clone());
        let before = self.folded.get(&alike).copied();
        let may_be_late =
            |before: LatestLine| more > 0 || (FOLDED_FOR..FOLDED_TOLD).contains(&time.after(before.time));
        let since = match before {
            // A count of a flood names no port, and may be older than the line before.
            _ if more > 0 && access.kind != Kind::Dns && target.port.is_none() => began,
            Some(before) if may_be_late(before) => before.time,
            None if more > 0 => began,
            _ => time,
        };
        // After a line that came late the next one is of its own: not both are part of one try.
        let is_doubtful = access.kind == Kind::Dns
            && before.is_some_and(|before| !before.is_doubtful && may_be_late(before));
        self.folded.insert(alike, LatestLine { time, is_doubtful });
        let proven = match access.kind {
            Kind::Dns => u64::from(!is_doubtful),
            _ => more.saturating_add(1),
        };
        (proven, since)
    }

    /// Returns every attempt.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter()
    }

    /// Returns the targets that were tried, each with the first event about it; none where one has
    /// no name. A lookup that is answered is part of a connection.
    pub(crate) fn targets(&self) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for attempt in self.all().filter(|attempt| !attempt.is_lookup || attempt.failed) {
            let TriedTarget { host, address, .. } = &attempt.target;
            if host.is_none() && address.is_none() {
                return None;
            }
            found
                .entry(attempt.target.to_string())
                .or_insert_with(|| format!("event {}: {}", attempt.seq, attempt.shown));
        }
        (!self.is_cut_short).then_some(found)
    }

    /// Returns the tries at a target, or all, in the order of time.
    pub(crate) fn tries(&self, of: Option<&TargetPattern>) -> Vec<Try<'_>> {
        let mut tries: Vec<Try<'_>> = Vec::new();
        // Positions of the latest lookups of each name.
        let mut lookups: BTreeMap<&TriedTarget, usize> = BTreeMap::new();
        for attempt in self.all().filter(|attempt| of.is_none_or(|of| of.has(&attempt.target))) {
            if attempt.is_lookup && !attempt.failed {
                continue;
            }
            let before = lookups.get(&attempt.target).copied().filter(|_| attempt.is_lookup);
            match before.map(|position| &mut tries[position]) {
                Some(before) if attempt.time.after(before.attempt.time) < ONE_TRY => {
                    let is_exact = before.since == before.attempt.time && attempt.since == attempt.time;
                    before.possible = match is_exact {
                        true => before.possible.max(attempt.possible),
                        false => before.possible.saturating_add(attempt.possible),
                    };
                    before.proven = before.proven.max(attempt.proven);
                    before.since = before.since.min(attempt.since);
                }
                _ => {
                    if attempt.is_lookup {
                        lookups.insert(&attempt.target, tries.len());
                    }
                    let Attempt { proven, since, possible, .. } = *attempt;
                    tries.push(Try { attempt, proven, since, possible });
                }
            }
        }
        tries.sort_by_key(|one| one.attempt.time);
        tries
    }
}

fn target(access: &Access) -> TriedTarget {
    let is_lookup = access.kind == Kind::Dns;
    TriedTarget {
        host: access.host.clone(),
        // The address in an answer stands for the name.
        address: access.address.filter(|_| !is_lookup),
        port: access.port.filter(|_| !is_lookup),
    }
}

/// Tells whether a target is the agent's own.
fn is_own(target: &TriedTarget) -> bool {
    let is_local = |name: &str| name == "localhost" || name.ends_with(".localhost");
    match (&target.host, target.address) {
        (Some(host), _) => is_local(host.as_str()),
        (None, Some(address)) => address.is_loopback(),
        (None, None) => false,
    }
}

/// Writes an attempt down for a person.
fn shown(access: &Access, target: &TriedTarget, denied: bool) -> String {
    let verdict = if denied { "deny" } else { "allow" };
    let reason = access.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let more = access.left_out.filter(|more| *more > 0).map(|more| format!(", and {more} more like it"));
    format!("{} {verdict} {target}{reason}{}", access.kind.as_str(), more.unwrap_or_default())
}
