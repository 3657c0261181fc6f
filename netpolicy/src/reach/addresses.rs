//! Real addresses: what becomes of them whatever name they belong to.
//!
//! ```text
//!  ends of all ranges ──cut──▶ cells ──state in both policies──▶ a denied range lifted or added, another virtual range, …
//!                                                          └──▶ a line, where some name is permitted to have such an address
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::reached::Reach;
use super::runs::Runs;
use super::side::{Both, NEW, OLD, Side, State, rules};
use super::spans::{Span, cut};
use super::{At, Draft, Ports, Targets, Witness};
use crate::decide::{Reason, Target};
use crate::floor;
use crate::policy::{Matcher, ResolvedBy, Rule};

/// Addresses between which neither policy, nor the floor, tells a difference.
pub(super) struct Cell {
    pub(super) span: Span,
    /// One address of the cell, for every port that no denial of a range names.
    pub(super) witness: IpAddr,
    /// Ports for which it is another one.
    special: Vec<(u16, IpAddr)>,
}

impl Cell {
    /// Returns one of the cell's addresses, as good as any for this port.
    pub(super) fn on(&self, port: u16) -> IpAddr {
        let own = self.special.iter().find(|(special, _)| *special == port);
        own.map_or(self.witness, |(_, address)| *address)
    }
}

pub(super) struct Addresses {
    pub(super) cells: Vec<Cell>,
    /// Ports that a denial of a range names; all others fare alike.
    named_ports: Vec<u16>,
}

impl Addresses {
    pub(super) fn new(sides: &Both<Side>) -> Addresses {
        let nets = sides.iter().flat_map(|side| {
            let written = rules(side.policy()).flat_map(|rule| {
                let own = match rule.matcher {
                    Matcher::Cidr(net) => Some(net),
                    Matcher::Host(_) => None,
                };
                own.into_iter().chain(rule.private.iter().copied())
            });
            let fake = side.policy().dns.upstream_fake_range.iter().copied();
            written.chain(fake).chain(floor::ranges(&side.surroundings))
        });
        let spans = cut(nets);
        let mut named_ports: Vec<u16> = sides
            .iter()
            .flat_map(|side| &side.policy().deny)
            .filter(|rule| matches!(rule.matcher, Matcher::Cidr(_)))
            .flat_map(|rule| rule.ports.iter().copied())
            .collect();
        named_ports.sort_unstable();
        named_ports.dedup();
        let cells = spans.iter().map(|span| {
            let witness = |port| witness(span, &spans, sides, port);
            let all_carry = !floor::embedded_v4(witness(None)).is_empty();
            let ports = named_ports.iter().filter(|_| all_carry);
            let special = ports.map(|port| (*port, witness(Some(*port)))).collect();
            Cell { span: *span, witness: witness(None), special }
        });
        Addresses { cells: cells.collect(), named_ports }
    }

    /// Returns a port that fares as this one does at every address.
    pub(super) fn alike(&self, port: u16) -> u16 {
        if self.named_ports.binary_search(&port).is_ok() { port } else { 0 }
    }

    /// Returns the cells within some spans, or outside all private ranges.
    pub(super) fn within<'a>(&'a self, spans: Option<&'a [Span]>) -> impl Iterator<Item = &'a Cell> {
        let public = spans.is_none().then_some(&self.cells);
        let public = public.into_iter().flatten().filter(|cell| !is_private(cell.witness));
        let inside = spans.unwrap_or_default().iter().flat_map(|span| {
            let from = self.cells.partition_point(|cell| cell.span.first < span.first);
            self.cells[from..].iter().take_while(|cell| cell.span.last <= span.last)
        });
        public.chain(inside)
    }
}

pub(super) fn is_private(address: IpAddr) -> bool {
    floor::PRIVATE_RANGES.iter().any(|net| net.contains(&address))
}

/// Returns an address of a span that carries no IPv4 address; where all do, one whose IPv4 address
/// is refused by nothing on a port (`None`: on any that no denial of a range names).
fn witness(span: &Span, spans: &[Span], sides: &Both<Side>, port: Option<u16>) -> IpAddr {
    let plain = |address: &IpAddr| floor::embedded_v4(*address).is_empty();
    if let Some(address) = [span.first, span.last].into_iter().find(plain) {
        return address;
    }
    let IpAddr::V6(first) = span.first else { return span.first };
    let misses =
        |denial: &Rule| !denial.ports.is_empty() && !port.is_some_and(|port| denial.ports.contains(&port));
    let free = |address: &Ipv4Addr| {
        let address = IpAddr::V4(*address);
        sides.iter().all(|side| {
            side.whole.denials_of_address(address).iter().all(|denial| misses(denial))
                && floor::refusal(address, &[], &[], &side.surroundings).is_none()
        })
    };
    let v4 = spans.iter().filter_map(|span| match span.first {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let carrying = v4
        .filter(free)
        .map(|v4| IpAddr::V6(Ipv6Addr::from(u128::from(first) >> 32 << 32 | u128::from(u32::from(v4)))))
        .find(|address| (span.first..=span.last).contains(address));
    carrying.unwrap_or(span.first)
}

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
