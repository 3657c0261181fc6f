//! Real addresses: what becomes of them whatever name they belong to.
//!
//! ```text
//!  ends of all ranges ──cut──▶ cells ──state in both policies──▶ a denied range lifted or added, another virtual range, …
//!                                                          └──▶ a line, where some name is permitted to have such an address
//! ```

use std::sync::Arc;

use super::cells::{Addresses, Cell};
use super::difference::{At, Draft, Ports, Targets, Witness};
use super::reached::Reach;
use super::runs::Runs;
use super::side::{Both, NEW, OLD, Side, State};
use crate::policy::{Matcher, ResolvedBy, Rule};
use crate::reason::Reason;
use crate::target::Target;

/// Cause that kept names from an address in the policy that reaches less.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Cause {
    reason: Reason,
    /// The rule, as a place in memory: rules are shared, never copied.
    rule: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    ports: Ports,
    cause: Cause,
}

struct AddressWitness {
    rule: Option<Arc<Rule>>,
    witness: Witness,
}

/// Finds addresses that permitted names may have in one policy and not in the other.
pub(super) fn compare(
    sides: &Both<Side>,
    addresses: &Addresses,
    reach: &Both<Reach>,
    found: &mut Vec<Draft>,
) {
    for side in [OLD, NEW] {
        let open = |state: &State| *state == State::Open;
        one_way(sides, addresses, &reach[side], side, false, open, found);
        if reach[side].host_ports().next().is_some() {
            let not_denied = |state: &State| !matches!(state, State::Denied(_));
            one_way(sides, addresses, &reach[side], side, true, not_denied, found);
        }
    }
}

fn one_way(
    sides: &Both<Side>,
    addresses: &Addresses,
    reach: &Reach,
    side: usize,
    host: bool,
    good: impl Fn(&State) -> bool,
    found: &mut Vec<Draft>,
) {
    let mut runs: Runs<Key, AddressWitness> = Runs::new(&addresses.cells);
    for (at, cell) in addresses.cells.iter().enumerate() {
        let named = named_ports(sides, cell);
        let is_named = |port: &u16| named.binary_search(port).is_ok();
        let usual = reach.ports(host, cell.witness).find(|port| !is_named(port));
        let special: Vec<u16> =
            named.iter().copied().filter(|port| reach.has(host, cell.witness, *port)).collect();
        let cause = |port: u16| {
            let [here, there] = [side, 1 - side].map(|side| sides[side].address(cell.on(port), port));
            if good(&here) && !good(&there) { Some(there) } else { None }
        };
        let usual_cause = usual.and_then(cause);
        let mut others: Vec<(u16, Option<State>)> =
            special.iter().map(|port| (*port, cause(*port))).collect();
        others.retain(|(_, cause)| *cause != usual_cause);
        let mut add = |ports: Ports, port: u16, state: State| {
            let (reason, rule) = match state {
                State::Denied(rule) => (Reason::DeniedByRule, Some(rule)),
                State::Floor(reason) => (reason, None),
                State::Open => return,
            };
            let cause = Cause { reason, rule: rule.as_ref().map(|rule| Arc::as_ptr(rule) as usize) };
            let Some((name, day)) = reach.witness(host, cell.witness, port) else { return };
            runs.add(at, Key { ports, cause }, || AddressWitness {
                rule,
                witness: Witness {
                    target: Target::Name(name.clone()),
                    port,
                    address: Some(cell.on(port)),
                    resolver: ResolvedBy::Guard,
                    is_the_host: host,
                    day: *day,
                },
            });
        };
        if let (Some(port), Some(state)) = (usual, usual_cause) {
            add(Ports::AllBut(others.iter().map(|(port, _)| *port).collect()), port, state);
        }
        for (port, state) in others {
            if let Some(state) = state {
                add(Ports::Only(vec![port]), port, state);
            }
        }
        let idle = usual.is_none() && special.is_empty()
            || !host
                && usual.into_iter().chain(special).all(|port| {
                    sides.iter().all(|side| matches!(side.address(cell.on(port), port), State::Floor(_)))
                });
        runs.end(at, idle);
    }
    let whole = |kept: &AddressWitness| match kept.rule.as_ref()?.matcher {
        Matcher::Cidr(net) => Some(net),
        Matcher::Host(_) => None,
    };
    for (key, kept, ranges) in runs.finish(&addresses.cells, whole) {
        found.push(Draft {
            side,
            targets: Targets::PermittedNames,
            ports: key.ports,
            at: if host { At::HostIn(ranges) } else { At::Ranges(ranges) },
            from: None,
            until: None,
            witness: kept.witness,
        });
    }
}

/// Returns the ports that denials of a cell's addresses name.
fn named_ports(sides: &Both<Side>, cell: &Cell) -> Vec<u16> {
    let mut ports: Vec<u16> = sides
        .iter()
        .flat_map(|side| side.whole.denials_of_address(cell.witness))
        .flat_map(|rule| rule.ports.iter().copied())
        .chain(cell.special.iter().map(|(port, _)| *port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
