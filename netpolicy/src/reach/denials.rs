//! Denials that one of two policies has, where no ceiling bounds who may permit what they refuse.
//!
//! ```text
//!  names of all denials ──tree──▶ cells ─┐
//!  cells of addresses ───────────────────┴─ denied in one policy, not in the other ──▶ a line: other layers may permit it
//! ```
//! Denials of every layer count, and without a ceiling a weaker layer may permit every name that
//! none speaks about. So a lifted denial lets something through although no rule of the policy
//! itself permits it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::cells::Addresses;
use super::difference::{At, Draft, Ports, Targets, Witness};
use super::patterns::join_cells;
use super::runs::Runs;
use super::side::{Both, NEW, OLD, Side, State};
use super::tree::tree;
use crate::floor;
use crate::host::{HostName, HostPattern};
use crate::host_access::LOOPBACK_ADDRESS;
use crate::policy::{Date, Matcher, ResolvedBy, Rule};
use crate::reason::Reason;
use crate::target::Target;

/// Ports on which one policy denies something and `side` does not.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Lifted {
    side: usize,
    ports: Ports,
}

/// Outcome of a port in both policies: the denial, as a place in memory; `None` where nobody ever
/// gets through, whatever the denials say.
type Denied = Option<Both<Option<usize>>>;

/// The denial of some addresses, and one of them.
type DenialAndWitness = (Option<Arc<Rule>>, Witness);

/// Finds names and addresses that one policy denies and the other does not.
pub(super) fn compare(sides: &Both<Side>, today: Date, addresses: &Addresses, found: &mut Vec<Draft>) {
    names(sides, today, found);
    ranges(sides, today, addresses, found);
}

fn names(sides: &Both<Side>, today: Date, found: &mut Vec<Draft>) {
    let mut items: Vec<Lifted> = Vec::new();
    let mut index: HashMap<Lifted, usize> = HashMap::new();
    let mut patterns: Vec<&HostPattern> = Vec::new();
    for rule in sides.iter().flat_map(|side| &side.policy().deny) {
        patterns.extend(match &rule.matcher {
            Matcher::Host(pattern) => Some(pattern),
            Matcher::Cidr(_) => None,
        });
    }
    let mut written: Vec<&HostName> = floor::aliases().collect();
    written.extend(patterns.iter().map(|pattern| HostPattern::name(pattern)));
    let nodes = tree(written, |name| {
        let alias = floor::refused_name(name);
        // The names of the host are one resource, spoken of by those that a denial writes.
        let is_meant = alias.is_none() || patterns.iter().any(|pattern| pattern.matches(name));
        if alias == Some(Reason::MetadataAddress) || !is_meant {
            return Vec::new();
        }
        let target = Target::Name(name.clone());
        let speaking = sides.iter().flat_map(|side| side.names.denials_of(&target));
        let named: BTreeSet<u16> = speaking.flat_map(|rule| rule.ports.iter().copied()).collect();
        let denied =
            |port: u16| -> Denied { Some([OLD, NEW].map(|side| sides[side].denial(&target, port, today))) };
        let mut here: Vec<usize> = lifted(&named, denied)
            .into_iter()
            .map(|item| {
                *index.entry(item.clone()).or_insert_with(|| {
                    items.push(item);
                    items.len() - 1
                })
            })
            .collect();
        here.sort_unstable();
        here
    });
    for region in join_cells(&nodes) {
        let Lifted { side, ports } = &items[region.item];
        found.push(Draft {
            side: *side,
            targets: Targets::Names { pattern: region.pattern, except: region.except },
            ports: ports.clone(),
            at: At::Anywhere,
            from: None,
            until: None,
            witness: witness(Target::Name(region.witness), ports, today),
        });
    }
}

fn ranges(sides: &Both<Side>, today: Date, addresses: &Addresses, found: &mut Vec<Draft>) {
    let mut runs: Runs<(Lifted, Option<usize>), DenialAndWitness> = Runs::new(&addresses.cells);
    for (at, cell) in addresses.cells.iter().enumerate() {
        let speaking = || sides.iter().flat_map(|side| side.whole.denials_of_address(cell.witness));
        let named: BTreeSet<u16> = speaking().flat_map(|rule| rule.ports.iter().copied()).collect();
        let outcome = |port: u16| [OLD, NEW].map(|side| sides[side].address(cell.on(port), port));
        let denied = |port: u16| -> Denied {
            let states = outcome(port);
            // The loopback is the floor's to every name, and a rule's with `host-access: loopback`.
            let is_loopback = cell.span.first <= LOOPBACK_ADDRESS && LOOPBACK_ADDRESS <= cell.span.last;
            let floored = !is_loopback && states.iter().any(|state| matches!(state, State::Floor(_)));
            (!floored).then(|| states.map(|state| state.denial().map(|rule| Arc::as_ptr(rule) as usize)))
        };
        for item in lifted(&named, denied) {
            let port = item.ports.first();
            let rule = outcome(port)[1 - item.side].denial().cloned();
            let place = rule.as_ref().map(|rule| Arc::as_ptr(rule) as usize);
            let witness = || witness(Target::Address(cell.on(port)), &item.ports, today);
            runs.add(at, (item.clone(), place), || (rule, witness()));
        }
        runs.end(at, denied(unnamed(&named)).is_none());
    }
    let whole = |kept: &DenialAndWitness| match kept.0.as_ref()?.matcher {
        Matcher::Cidr(net) => Some(net),
        Matcher::Host(_) => None,
    };
    for ((Lifted { side, ports }, _), (_, witness), ranges) in runs.finish(&addresses.cells, whole) {
        found.push(Draft {
            side,
            targets: Targets::Ranges(ranges),
            ports,
            at: At::Anywhere,
            from: None,
            until: None,
            witness,
        });
    }
}

/// Returns what each policy lets through that the other denies: one port stands for all that no
/// denial names.
fn lifted(named: &BTreeSet<u16>, denied: impl Fn(u16) -> Denied) -> Vec<Lifted> {
    let mut list = Vec::new();
    for side in [OLD, NEW] {
        let only_there = |port: u16| {
            denied(port).is_some_and(|denied| denied[side].is_none() && denied[1 - side].is_some())
        };
        let (same, others): (Vec<u16>, Vec<u16>) = named.iter().partition(|port| only_there(**port));
        let ports = match only_there(unnamed(named)) {
            true => Ports::AllBut(others),
            false if same.is_empty() => continue,
            false => Ports::Only(same),
        };
        list.push(Lifted { side, ports });
    }
    list
}

/// Returns a port that no denial names.
fn unnamed(named: &BTreeSet<u16>) -> u16 {
    (USUAL_PORT..=u16::MAX).find(|port| !named.contains(port)).unwrap_or(USUAL_PORT)
}

/// First of the ports that may stand for all others: none of the fence's own.
const USUAL_PORT: u16 = 443;

fn witness(target: Target, ports: &Ports, day: Date) -> Witness {
    let is_the_host = matches!(&target, Target::Name(name) if floor::refused_name(name).is_some());
    Witness { target, port: ports.first(), address: None, resolver: ResolvedBy::Guard, is_the_host, day }
}

impl Ports {
    /// Returns one of the ports.
    fn first(&self) -> u16 {
        match self {
            Ports::Only(ports) => ports.first().copied().unwrap_or(USUAL_PORT),
            Ports::AllBut(ports) => unnamed(&ports.iter().copied().collect()),
        }
    }
}
