//! The reference: slow, obvious, and with no code in common with what it checks.

use super::*;

/// The checks under which a question is permitted: that of every rule that permits it. None: it is
/// refused.
pub(crate) fn reference(policy: &Policy, asked: &Asked) -> Vec<Protocol> {
    if policy.network_denied || asked.transport == Transport::Udp {
        return Vec::new();
    }
    let Some(port) = asked.port else {
        // A DNS question: the name is answered when some port of it is permitted.
        return (PORTS.iter().chain(observed_port(policy)))
            .flat_map(|port| reference(policy, &Asked { port: Some(*port), ..asked.clone() }))
            .collect();
    };
    if policy.deny.iter().any(|denial| denies(denial, asked, port)) {
        return Vec::new();
    }
    let permitting = policy.allow.iter().filter(|rule| permits(policy, rule, asked, port));
    let checks: Vec<Protocol> = permitting.map(|rule| check(rule, port)).collect();
    if checks.is_empty() { observed(policy, asked, port).into_iter().collect() } else { checks }
}

/// In an observed run without a ceiling, any further port stands for all that no rule names.
fn observed_port(policy: &Policy) -> Option<&'static u16> {
    (policy.network_observed && policy.ceilings.is_empty()).then_some(&9999)
}

/// The check of an observed run: that of a plain rule of the run's layer for this very name.
fn observed(policy: &Policy, asked: &Asked, port: u16) -> Option<Protocol> {
    let Target::Name(name) = &asked.target else { return None };
    let text = name.as_str();
    let plain = Rule::new(Matcher::Host(HostPattern::Exact(name.clone())), vec![port], origin(Layer::Run));
    let is_public = text.contains('.') && !text.ends_with(".internal") && !is_alias(text);
    let is_observed =
        policy.network_observed && policy.observing_forbidden.is_none() && policy.proxy.is_none();
    // No address of a VPN's resolver: it may stand for an inside one.
    let dns = Dns { upstream_fake_range: Vec::new(), ..policy.dns.clone() };
    let strict = Policy { dns, ..policy.clone() };
    (is_observed && is_public && permits(&strict, &plain, asked, port)).then(|| check(&plain, port))
}

fn permits(policy: &Policy, rule: &Rule, asked: &Asked, port: u16) -> bool {
    let layer = rule.origin.layer;
    let current = rule.expires.is_none_or(|last| asked.day <= last);
    if !speaks(rule, &asked.target) || !rule.ports.contains(&port) || !current {
        return false;
    }
    // Host aliases are refused by name, but to a rule that asks for the host, which a project's
    // never may.
    if let Target::Name(name) = &asked.target
        && (is_metadata(name.as_str()) || is_alias(name.as_str()) != is_host(rule))
    {
        return false;
    }
    if is_host(rule) && (layer == Layer::Project || matches!(asked.target, Target::Address(_))) {
        return false;
    }
    // Names that only the proxy resolves: organisation, user, run.
    if asked.resolver == ResolvedBy::Proxy
        && (rule.resolved_by != ResolvedBy::Proxy || layer == Layer::Project && policy.ceilings.is_empty())
    {
        return false;
    }
    let above: Vec<&Ceiling> = policy.ceilings.iter().filter(|ceiling| ceiling.layer <= layer).collect();
    if layer == Layer::Project && above.is_empty() {
        let plain = matches!(rule.matcher, Matcher::Host(_))
            && rule.private.is_empty()
            && rule.protocol != Some(Protocol::Tcp)
            && rule.resolved_by == ResolvedBy::Guard;
        if !policy.project_trusted || !plain {
            return false;
        }
    }
    if !above.iter().all(|ceiling| ceiling.rules.iter().any(|entry| holds(entry, rule, asked, port))) {
        return false;
    }
    let real = match asked.target {
        Target::Name(_) => asked.address,
        Target::Address(address) => Some(address),
    };
    match real {
        // The loopback has one address, and a denial of it is known before anything is resolved.
        None if rule.host_access == HostAccess::Loopback && asked.resolver == ResolvedBy::Guard => {
            let there = Asked { address: Some(LOOPBACK), ..asked.clone() };
            !policy.deny.iter().any(|denial| denies(denial, &there, port))
        }
        None => true,
        Some(address) if rule.host_access == HostAccess::Address => address == GATEWAY,
        Some(address) if rule.host_access == HostAccess::Loopback => address == LOOPBACK,
        Some(address) => {
            !floored(address, policy)
                && (!is_private(address) || rule.private.iter().any(|net| in_net(address, net)))
        }
    }
}

fn is_host(rule: &Rule) -> bool {
    matches!(rule.host_access, HostAccess::Address | HostAccess::Loopback)
}

/// Whether the entry of a ceiling contains what a rule grants of a target.
fn holds(entry: &Rule, rule: &Rule, asked: &Asked, port: u16) -> bool {
    let real = match asked.target {
        Target::Name(_) => asked.address,
        Target::Address(address) => Some(address),
    };
    speaks(entry, &asked.target)
        && entry.ports.contains(&port)
        && entry.expires.is_none_or(|last| asked.day <= last)
        && entry.host_access == rule.host_access
        && (rule.resolved_by == ResolvedBy::Guard || entry.resolved_by == ResolvedBy::Proxy)
        && is_as_strict(check(rule, port), check(entry, port))
        && real.is_none_or(|address| {
            is_host(rule) || !is_private(address) || entry.private.iter().any(|net| in_net(address, net))
        })
}

fn denies(denial: &Rule, asked: &Asked, port: u16) -> bool {
    if !(denial.ports.is_empty() || denial.ports.contains(&port)) {
        return false;
    }
    let real = match asked.target {
        Target::Name(_) => asked.address,
        Target::Address(address) => Some(address),
    };
    match (&denial.matcher, &asked.target) {
        (Matcher::Host(pattern), Target::Name(name)) if is_alias(name.as_str()) => {
            // One resource: a denial of any name of the host is a denial of all.
            ALIASES.iter().chain(&["metadata.google.internal"]).any(|alias| speaks_of(pattern, alias))
                || is_alias(pattern.name().as_str())
        }
        (Matcher::Host(pattern), Target::Name(name)) => speaks_of(pattern, name.as_str()),
        (Matcher::Host(_), Target::Address(_)) => false,
        (Matcher::Cidr(net), _) => real.is_some_and(|address| {
            in_net(address, net) || carried(address).is_some_and(|carried| in_net(carried, net))
        }),
    }
}

fn speaks(rule: &Rule, target: &Target) -> bool {
    match (&rule.matcher, target) {
        (Matcher::Host(pattern), Target::Name(name)) => speaks_of(pattern, name.as_str()),
        (Matcher::Cidr(net), Target::Address(address)) => in_net(*address, net),
        _ => false,
    }
}

fn speaks_of(pattern: &HostPattern, name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').rev().collect();
    let own: Vec<&str> = pattern.name().as_str().split('.').rev().collect();
    match pattern {
        HostPattern::Exact(_) => labels == own,
        HostPattern::Below(_) => labels.len() > own.len() && labels.starts_with(&own),
        HostPattern::AtOrBelow(_) => labels.starts_with(&own),
    }
}

fn check(rule: &Rule, port: u16) -> Protocol {
    match (rule.protocol, &rule.matcher, port) {
        (Some(protocol), _, _) => protocol,
        (None, Matcher::Cidr(_), _) => Protocol::Tcp,
        (None, Matcher::Host(_), 443) => Protocol::Tls,
        (None, Matcher::Host(_), 80) => Protocol::Http,
        (None, Matcher::Host(_), _) => Protocol::Auto,
    }
}

pub(crate) fn is_as_strict(check: Protocol, than: Protocol) -> bool {
    use Protocol::{Auto, Http, Tcp, Tls};
    matches!((check, than), (_, Tcp) | (Tls | Http | Auto, Auto) | (Tls, Tls) | (Http, Http))
}

/// The names of the host that this world knows.
const ALIASES: [&str; 3] = ["docker.internal", "host.docker.internal", "localhost"];

pub(crate) fn is_alias(name: &str) -> bool {
    ["docker.internal", "localhost"]
        .iter()
        .any(|alias| name == *alias || name.ends_with(&format!(".{alias}")))
}

pub(crate) fn is_metadata(name: &str) -> bool {
    name == "metadata.google.internal" || name.ends_with(".metadata.google.internal")
}

fn in_net(address: IpAddr, net: &IpNet) -> bool {
    let (bits, length) = match (address, net) {
        (IpAddr::V4(address), IpNet::V4(net)) => {
            (u128::from(u32::from(address) ^ u32::from(net.addr())) << 96, net.prefix_len())
        }
        (IpAddr::V6(address), IpNet::V6(net)) => {
            (u128::from(address) ^ u128::from(net.addr()), net.prefix_len())
        }
        _ => return false,
    };
    length == 0 || bits >> (128 - u32::from(length)) == 0
}

pub(crate) fn is_private(address: IpAddr) -> bool {
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]
        .iter()
        .any(|net| in_net(address, &net.parse().expect("a range")))
}

/// What the floor refuses to every rule.
fn floored(address: IpAddr, policy: &Policy) -> bool {
    const METADATA: [&str; 6] = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ];
    const RESERVED: [&str; 9] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
    ];
    let anycast = ["192.0.0.9", "192.0.0.10"].map(|text| text.parse::<IpAddr>().expect("an address"));
    let fake = policy.dns.upstream_fake_range.iter().any(|net| in_net(address, net));
    let loopback = in_net(address, &"127.0.0.0/8".parse().expect("a range"));
    if let Some(carried) = carried(address) {
        // The floor judges what is carried without any exemption.
        let plain = Policy {
            dns: Dns { upstream_fake_range: Vec::new(), ..policy.dns.clone() },
            ..Policy::nothing()
        };
        if floored(carried, &plain) || is_private(carried) {
            return true;
        }
    }
    METADATA.iter().any(|text| address == text.parse::<IpAddr>().expect("an address"))
        || in_net(address, &IpNet::V4(policy.dns.virtual_range))
        || (!fake || loopback)
            && !anycast.contains(&address)
            && RESERVED.iter().any(|net| in_net(address, &net.parse().expect("a range")))
}

/// The IPv4 address that the forms of IPv6 in this world carry.
pub(crate) fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let isatap = s[4] == 0 && s[5] == 0x5efe;
    (nat64 || isatap).then(|| IpAddr::V4(Ipv4Addr::from(u32::from(s[6]) << 16 | u32::from(s[7]))))
}
