//! Real addresses cut into cells in which neither policy, nor the floor, tells a difference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::side::{Both, Side, rules};
use super::spans::{Span, cut};
use crate::floor;
use crate::policy::{Matcher, Rule};

/// Addresses between which neither policy, nor the floor, tells a difference.
pub(super) struct Cell {
    pub(super) span: Span,
    /// One address of the cell, for every port that no denial of a range names.
    pub(super) witness: IpAddr,
    /// Ports for which it is another one.
    pub(super) special: Vec<(u16, IpAddr)>,
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
