//! Stretches of addresses: ranges cut at each other's ends, and joined again.
//!
//! ```text
//!  ranges ──cut──▶ the whole address space in cells, none of which a range divides ──join, to_nets──▶ ranges
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
}

impl Span {
    pub(super) fn of(net: &IpNet) -> Span {
        Span { first: net.network(), last: net.broadcast() }
    }

    /// Tells whether the other span begins right after this one.
    fn touches(&self, next: &Span) -> bool {
        match (self.last, next.first) {
            (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last).checked_add(1) == Some(first.into()),
            (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last).checked_add(1) == Some(first.into()),
            _ => false,
        }
    }
}

/// Cuts both address spaces at both ends of every range; IPv4 first, in order.
pub(super) fn cut(nets: impl Iterator<Item = IpNet>) -> Vec<Span> {
    let (mut v4, mut v6) = (vec![0u32], vec![0u128]);
    for net in nets {
        match net {
            IpNet::V4(net) => {
                v4.push(net.network().into());
                v4.extend(u32::from(net.broadcast()).checked_add(1));
            }
            IpNet::V6(net) => {
                v6.push(net.network().into());
                v6.extend(u128::from(net.broadcast()).checked_add(1));
            }
        }
    }
    v4.sort_unstable();
    v4.dedup();
    v6.sort_unstable();
    v6.dedup();
    let last_v4 = v4.iter().skip(1).map(|next| next - 1).chain([u32::MAX]);
    let last_v6 = v6.iter().skip(1).map(|next| next - 1).chain([u128::MAX]);
    let spans_v4 = v4.iter().zip(last_v4).map(|(first, last)| Span {
        first: IpAddr::V4(Ipv4Addr::from(*first)),
        last: IpAddr::V4(Ipv4Addr::from(last)),
    });
    let spans_v6 = v6.iter().zip(last_v6).map(|(first, last)| Span {
        first: IpAddr::V6(Ipv6Addr::from(*first)),
        last: IpAddr::V6(Ipv6Addr::from(last)),
    });
    spans_v4.chain(spans_v6).collect()
}

/// Joins what touches; the spans are in order and apart.
pub(super) fn join(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(before) if before.touches(&span) => before.last = span.last,
            _ => joined.push(span),
        }
    }
    joined
}

/// Returns the fewest ranges that make up the spans.
pub(super) fn to_nets(spans: &[Span]) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for span in spans {
        match (span.first, span.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                nets.extend(Ipv4Subnets::new(first, last, 0).map(IpNet::V4));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                nets.extend(Ipv6Subnets::new(first, last, 0).map(IpNet::V6));
            }
            _ => {}
        }
    }
    nets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_joins_to_the_whole() {
        let nets = ["10.0.0.0/8", "10.1.0.0/16", "255.255.255.255/32", "0.0.0.0/0", "2001:db8::/32"];
        let cells = cut(nets.iter().map(|net| net.parse().unwrap()));
        assert_eq!(cells.len(), 5 + 1 + 3);
        let whole: Vec<String> = to_nets(&join(cells)).iter().map(ToString::to_string).collect();
        assert_eq!(whole, ["0.0.0.0/0", "::/0"]);
    }
}
