//! Ranges of addresses: `cidr`, `private`, the virtual range, and addresses that resolvers make up.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::shape::string;
use super::side::Side;
use crate::floor;
use crate::yaml::{Findings, Node, SourcePlace};

pub(super) fn range(text: &str, side: Side, place: &SourcePlace, findings: &mut Findings) -> Option<IpNet> {
    let net = range_from_text(text, place, findings)?;
    if side == Side::Deny {
        return Some(net);
    }
    match net {
        IpNet::V6(_) => {
            let hint = Some("permit names, or IPv4 ranges".into());
            findings.push(place.error(
                "cidr",
                "an IPv6 range cannot be permitted: the fence has no IPv6",
                hint,
            ));
            None
        }
        IpNet::V4(net) if net.prefix_len() < 8 => {
            let hint = Some("permit the ranges that are needed".into());
            findings.push(place.error("cidr", format!("{net} is wider than /8"), hint));
            None
        }
        net => Some(net),
    }
}

/// Reads a range whose address has no bits beyond its length.
pub(super) fn range_from_text(text: &str, place: &SourcePlace, findings: &mut Findings) -> Option<IpNet> {
    let finding = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) if net.trunc() != net => {
            let hint = format!(
                "write `{}` for the range, or `{}` for the address",
                net.trunc(),
                IpNet::from(net.addr())
            );
            place.error("host-bits", format!("`{text}` has bits beyond its length"), Some(hint))
        }
        (Ok(IpNet::V6(net)), _)
            if !floor::embedded_v4(IpAddr::V6(net.network())).is_empty() && net.prefix_len() >= 80 =>
        {
            place.error(
                "cidr",
                format!("`{text}` is IPv4 in the clothes of IPv6"),
                Some("write the IPv4 range".into()),
            )
        }
        (Ok(net), _) => return Some(net),
        (Err(_), Ok(addr)) => {
            let hint = Some(format!("write `{}`", IpNet::from(addr)));
            place.error("cidr", format!("`{text}` is an address without a length"), hint)
        }
        (Err(_), Err(_)) => {
            let hint = Some("write a range as `198.51.100.0/24`".into());
            place.error("cidr", format!("`{text}` is no range of addresses"), hint)
        }
    };
    findings.push(finding);
    None
}

pub(super) fn private_range(node: &Node, findings: &mut Findings) -> Option<IpNet> {
    let text = string(node, "a range such as `10.20.0.0/16`", findings)?;
    let net = range_from_text(text, &node.place, findings)?;
    if floor::PRIVATE_RANGES.iter().any(|pool| pool.contains(&net)) {
        return Some(net);
    }
    let pools: Vec<String> = floor::PRIVATE_RANGES.iter().map(ToString::to_string).collect();
    findings.push(node.place.error(
        "private",
        format!("`private` cannot hold {net}"),
        Some(format!("it may hold parts of {}; public addresses need no exemption", pools.join(", "))),
    ));
    None
}

/// Warns of a permitted range that the floor refuses whole: it is surely a mistake.
pub(super) fn warn_of_floor(net: IpNet, private: &[IpNet], node: &Node, findings: &mut Findings) {
    let nowhere = floor::Surroundings::default();
    let ends = [net.network(), net.broadcast()];
    let reasons: Vec<_> =
        ends.iter().filter_map(|addr| floor::refusal(*addr, private, &[], &nowhere)).collect();
    if let ([first, _], false) = (reasons.as_slice(), net.contains(&IpNet::V4(nowhere.virtual_range))) {
        let (message, hint) = match first {
            crate::reason::Reason::PrivateAddress => (
                format!("{net} is refused all the same, unless the rule names it as `private` ({first})"),
                Some(format!("add `private: [{net}]` if that is meant")),
            ),
            _ => (format!("{net} is refused all the same, whatever a policy says ({first})"), None),
        };
        findings.push(node.place.warning("floor", message, hint));
    }
}

pub(super) fn virtual_range(node: &Node, findings: &mut Findings) -> Option<Ipv4Net> {
    let text = string(node, "a range such as `25.0.0.0/16`", findings)?;
    let net = range_from_text(text, &node.place, findings)?;
    let IpNet::V4(net) = net else {
        findings.push(node.place.error("virtual-range", "the virtual range is IPv4", None));
        return None;
    };
    let hint = || Some("the default, 25.0.0.0/16, suits nearly everybody".to_owned());
    if !(8..=24).contains(&net.prefix_len()) {
        let message = format!("{net} is not between /8 and /24");
        findings.push(node.place.error("virtual-range", message, hint()));
        return None;
    }
    let unusable = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    let clash = unusable
        .iter()
        .map(|(addr, length)| Ipv4Net::new_assert(*addr, *length))
        .find(|bad| bad.contains(&net) || net.contains(bad));
    if let Some(clash) = clash {
        let message = format!("programs do not connect to addresses in {clash}");
        findings.push(node.place.error("virtual-range", message, hint()));
        return None;
    }
    Some(net)
}

/// Reads one of `upstream-fake-range`.
pub(super) fn fake_range(node: &Node, findings: &mut Findings) -> Option<IpNet> {
    let text = string(node, "a range such as `198.18.0.0/15`", findings)?;
    let net = range_from_text(text, &node.place, findings)?;
    if floor::FAKE_RANGES.iter().any(|pool| pool.contains(&net)) {
        return Some(net);
    }
    let pools: Vec<String> = floor::FAKE_RANGES.iter().map(ToString::to_string).collect();
    findings.push(node.place.error(
        "fake-range",
        format!("`upstream-fake-range` cannot hold {net}"),
        Some(format!("it may hold parts of {}", pools.join(", "))),
    ));
    None
}
