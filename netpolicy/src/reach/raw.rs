//! Addresses asked for as such: ranges of `allow`.
//!
//! ```text
//!  cells of addresses ──whole decision, by port and day──▶ what changed, by the rule that permits it ──runs──▶ ranges
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cells::Addresses;
use super::difference::{At, Draft, Ports, Targets, Witness};
use super::names::{days, periods};
use super::runs::Runs;
use super::side::{Both, Change, NEW, OLD, Side, reaches_more};
use crate::decide::Verdict;
use crate::policy::{Date, Matcher, Protocol, ResolvedBy, Rule};
use crate::reason::Reason;
use crate::target::Target;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    side: usize,
    ports: Vec<u16>,
    change: Change,
    from: Date,
    until: Option<Date>,
    /// The permitting rule, as a place in memory: rules are shared, never copied.
    rule: Option<usize>,
}

struct RangeWitness {
    rule: Option<Arc<Rule>>,
    witness: Witness,
}

/// Finds addresses that are permitted in one policy and not in the other.
pub(super) fn compare(sides: &Both<Side>, today: Date, addresses: &Addresses, found: &mut Vec<Draft>) {
    let mut runs: Runs<Key, RangeWitness> = Runs::new(&addresses.cells);
    for (at, cell) in addresses.cells.iter().enumerate() {
        let target = Target::Address(cell.witness);
        let grants = sides.each_ref().map(|side| side.whole.grants_of(&target));
        if grants.iter().all(Vec::is_empty) {
            runs.end(at, false);
            continue;
        }
        let limits = sides.each_ref().map(|side| side.whole.limits_of(&target));
        let granting = || grants.iter().flatten().copied();
        let days = days(today, granting().chain(limits.iter().flatten().copied()).map(|rule| &**rule));
        let ports: BTreeSet<u16> = granting().flat_map(|rule| rule.ports.iter().copied()).collect();
        let mut changes: Vec<Key> = Vec::new();
        for port in &ports {
            let ask = |side: usize, day| check(&sides[side].raw(&target, *port, day));
            for (from, until, change) in periods(&days, ask) {
                for side in [OLD, NEW].into_iter().filter(|side| reaches_more(&change, *side)) {
                    let rule = sides[side].raw(&target, *port, from).rule;
                    let rule = rule.map(|rule| Arc::as_ptr(&rule) as usize);
                    let alike = |key: &&mut Key| {
                        (key.side, key.change, key.from, key.until, key.rule)
                            == (side, change, from, until, rule)
                    };
                    match changes.iter_mut().find(alike) {
                        Some(key) => key.ports.push(*port),
                        None => changes.push(Key { side, ports: vec![*port], change, from, until, rule }),
                    }
                }
            }
        }
        let refused_by_floor =
            |port: &u16| sides.iter().all(|side| is_of_the_floor(side.raw(&target, *port, today).reason));
        let idle = changes.is_empty() && ports.iter().all(refused_by_floor);
        for key in changes {
            let witness = Witness {
                target: target.clone(),
                port: key.ports[0],
                address: None,
                resolver: ResolvedBy::Guard,
                is_the_host: false,
                day: key.from,
            };
            let rule = sides[key.side].raw(&target, witness.port, witness.day).rule;
            runs.add(at, key, || RangeWitness { rule, witness });
        }
        runs.end(at, idle);
    }
    let whole = |kept: &RangeWitness| match kept.rule.as_ref()?.matcher {
        Matcher::Cidr(net) => Some(net),
        Matcher::Host(_) => None,
    };
    for (key, kept, ranges) in runs.finish(&addresses.cells, whole) {
        found.push(Draft {
            side: key.side,
            targets: Targets::Ranges(ranges),
            ports: Ports::Only(key.ports),
            at: At::Anywhere,
            from: (key.from > today).then_some(key.from),
            until: key.until,
            witness: kept.witness,
        });
    }
}

fn check(verdict: &Verdict) -> Option<Protocol> {
    verdict.protocol.filter(|_| verdict.allowed)
}

fn is_of_the_floor(reason: Reason) -> bool {
    use Reason::{HostAddress, MetadataAddress, PrivateAddress, ReservedAddress};
    matches!(reason, HostAddress | MetadataAddress | PrivateAddress | ReservedAddress)
}
