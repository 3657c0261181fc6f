//! A small world of policies and questions for properties, and a slow, obvious reference for the decision.
//!
//! The reference is written from the design's text alone and shares no code with what it checks: names are compared label by
//! label, addresses bit by bit, every rule is looked at. Policies are data, so that all layers meet without files.

#![allow(dead_code, reason = "each test uses its part of the world")]

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netpolicy::decide::{Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::policy::{Ceiling, Date, Layer, Matcher, Origin, Policy, Protocol, ResolvedBy, Rule};
use netpolicy::settings::{Dns, Proxy, Server};
use netpolicy::target::Transport;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub const TODAY: Date = Date::constant(2026, 11, 25);
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));
pub const PORTS: [u16; 4] = [22, 80, 443, 8443];

const NAMES: [&str; 12] = [
    "example",
    "example",
    "a.example",
    "a.example",
    "a.example",
    "b.a.example",
    "c.b.a.example",
    "xa.example",
    "d.example",
    "internal",
    "docker.internal",
    "metadata.google.internal",
];
const ASKED: [&str; 12] = [
    "q.example",
    "q.a.example",
    "q.a.example",
    "r.q.a.example",
    "r.q.b.a.example",
    "q.c.b.a.example",
    "q.b.a.example",
    "r.q.c.b.a.example",
    "host.docker.internal",
    "localhost",
    "corp.internal",
    "other.test",
];
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "10.20.0.0/16", "10.20.5.0/24", "100.64.0.0/10", "192.168.7.0/24", "fc00::/7"];
const PERMITTED_RANGES: [&str; 7] = [
    "198.51.100.0/24",
    "198.51.100.128/25",
    "198.51.100.64/26",
    "10.20.0.0/16",
    "100.0.0.0/8",
    "25.0.0.0/8",
    "192.0.0.0/8",
];
const DENIED_RANGES: [&str; 12] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.20.0.0/16",
    "10.20.5.128/25",
    "172.17.0.0/24",
    "198.51.100.0/24",
    "198.51.100.192/26",
    "198.51.100.7/32",
    "100.64.0.0/10",
    "::/0",
    "2606:4700::/32",
    "64:ff9b::/64",
];
const ADDRESSES: [&str; 24] = [
    "1.1.1.1",
    "8.8.8.8",
    "25.0.7.7",
    "26.0.7.7",
    "198.51.100.7",
    "198.51.100.70",
    "198.51.100.130",
    "198.51.100.200",
    "10.0.0.1",
    "10.20.0.1",
    "10.20.5.1",
    "10.20.5.200",
    "100.63.0.1",
    "100.100.100.200",
    "100.100.100.201",
    "192.168.7.7",
    "172.17.0.1",
    "169.254.169.254",
    "198.18.0.7",
    "127.0.0.1",
    "2606:4700::1111",
    "2606:4700:0:1:0:5efe:c633:6407",
    "64:ff9b::198.51.100.7",
    "fd00::7",
];

fn nets(texts: &'static [&'static str]) -> impl Strategy<Value = IpNet> {
    select(texts).prop_map(|text| text.parse().expect("a range"))
}

fn pattern() -> impl Strategy<Value = HostPattern> {
    (select(&NAMES[..]), 0..3).prop_map(|(name, kind)| {
        let name = HostName::parse(name).expect("a name");
        match kind {
            0 => HostPattern::Exact(name),
            1 => HostPattern::Below(name),
            _ => HostPattern::AtOrBelow(name),
        }
    })
}

fn day() -> impl Strategy<Value = Date> {
    const DAYS: [Date; 5] = [
        Date::constant(2026, 11, 24),
        TODAY,
        Date::constant(2026, 11, 26),
        Date::constant(2026, 12, 31),
        Date::constant(2027, 1, 1),
    ];
    select(&DAYS[..])
}

fn origin(layer: Layer) -> Origin {
    Origin { layer, file: "p.yml".to_owned(), line: 1, text: String::new() }
}

fn grant(layers: &'static [Layer]) -> impl Strategy<Value = Rule> {
    let matcher = prop_oneof![
        4 => pattern().prop_map(Matcher::Host),
        1 => nets(&PERMITTED_RANGES).prop_map(Matcher::Cidr),
    ];
    let protocol = prop::option::weighted(
        0.3,
        select(&[Protocol::Tls, Protocol::Http, Protocol::Tcp, Protocol::Auto][..]),
    );
    (
        matcher,
        subsequence(&PORTS[..3], 1..=3),
        protocol,
        prop::option::weighted(0.4, prop::collection::vec(nets(&PRIVATE), 1..3)),
        prop::option::weighted(0.2, day()),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.8)),
        select(layers),
    )
        .prop_map(|(matcher, ports, protocol, private, expires, (proxy, host, sensible), layer)| {
            let alias = matches!(&matcher, Matcher::Host(pattern) if is_alias(pattern.name().as_str()));
            Rule {
                protocol,
                private: private.unwrap_or_default(),
                expires,
                resolved_by: if proxy { ResolvedBy::Proxy } else { ResolvedBy::Guard },
                host_access: if sensible { alias } else { host },
                ..Rule::new(matcher, ports, origin(layer))
            }
        })
}

pub fn denial() -> impl Strategy<Value = Rule> {
    let matcher =
        prop_oneof![pattern().prop_map(Matcher::Host), nets(&DENIED_RANGES).prop_map(Matcher::Cidr),];
    (matcher, prop::option::weighted(0.4, subsequence(&PORTS[..], 1..=2)))
        .prop_map(|(matcher, ports)| Rule::new(matcher, ports.unwrap_or_default(), origin(Layer::Run)))
}

fn ceilings() -> impl Strategy<Value = Vec<Ceiling>> {
    let ceiling = |layer: &'static [Layer]| {
        prop::collection::vec(grant(layer), 0..6)
            .prop_map(|rules| Ceiling { layer: layer[0], rules: rules.into_iter().map(Into::into).collect() })
    };
    let maybe = |layer| prop::option::weighted(0.15, ceiling(layer));
    (maybe(&[Layer::Organisation]), maybe(&[Layer::User]), maybe(&[Layer::Run]))
        .prop_map(|(one, two, three)| [one, two, three].into_iter().flatten().collect())
}

pub fn policy() -> impl Strategy<Value = Policy> {
    const LAYERS: &[Layer] = &[Layer::Organisation, Layer::User, Layer::Run, Layer::Run, Layer::Project];
    (
        prop::collection::vec(grant(LAYERS), 0..10),
        prop::collection::vec(denial(), 0..4),
        ceilings(),
        (any::<bool>(), prop::bool::weighted(0.03), any::<bool>()),
        select(&["25.0.0.0/16", "25.0.0.0/16", "26.0.0.0/16"][..]),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(allow, deny, ceilings, (trusted, denied, proxied), virtual_range, fake)| Policy {
            allow: allow.into_iter().map(Into::into).collect(),
            deny: deny.into_iter().map(Into::into).collect(),
            ceilings,
            project_trusted: trusted,
            network_denied: denied,
            proxy: proxied.then(|| Proxy {
                server: Server::Name(HostName::parse("proxy.test").expect("a name")),
                port: 3128,
                credentials_env: None,
                direct: Vec::new(),
            }),
            dns: Dns {
                virtual_range: virtual_range.parse().expect("a range"),
                upstream_fake_range: Vec::from_iter(fake.then(|| "198.18.0.0/15".parse().expect("a range"))),
                ..Dns::default()
            },
            ..Policy::nothing()
        })
}

/// One question, owned.
#[derive(Clone, Debug)]
pub struct Asked {
    pub target: Target,
    pub port: Option<u16>,
    pub address: Option<IpAddr>,
    pub resolver: ResolvedBy,
    pub transport: Transport,
    pub day: Date,
}

impl Asked {
    pub fn question(&self) -> Question<'_> {
        Question {
            target: &self.target,
            transport: self.transport,
            port: self.port,
            address: self.address,
            resolver: self.resolver,
            today: self.day,
        }
    }
}

pub fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => select(&ADDRESSES[..]).prop_map(|text| text.parse().expect("an address")),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        1 => any::<u8>().prop_map(|byte| IpAddr::V4(Ipv4Addr::new(198, 51, 100, byte))),
    ]
}

pub fn name() -> impl Strategy<Value = HostName> {
    prop_oneof![select(&NAMES[..]), select(&ASKED[..])]
        .prop_map(|name| HostName::parse(name).expect("a name"))
}

pub fn asked() -> impl Strategy<Value = Asked> {
    let target = prop_oneof![3 => name().prop_map(Target::Name), 1 => address().prop_map(Target::Address)];
    (
        target,
        prop::option::weighted(0.9, select(&[22, 80, 443, 443, 443, 8443][..])),
        prop::option::weighted(0.8, address()),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.02),
        day(),
    )
        .prop_map(|(target, port, address, proxy, udp, day)| Asked {
            // The proxy is asked about names whose address is not known; an address is its own, and nobody resolves it.
            address: address.filter(|_| !proxy && matches!(target, Target::Name(_))),
            resolver: match target {
                Target::Name(_) if proxy => ResolvedBy::Proxy,
                _ => ResolvedBy::Guard,
            },
            transport: if udp { Transport::Udp } else { Transport::Tcp },
            target,
            port,
            day,
        })
}

pub fn surroundings(policy: &Policy) -> Surroundings {
    Surroundings {
        virtual_range: policy.dns.virtual_range,
        host_gateway: Some(GATEWAY),
        ..Surroundings::default()
    }
}

// ---- the reference ----

/// The checks under which a question is permitted: that of every rule that permits it. None: it is refused.
pub fn reference(policy: &Policy, asked: &Asked) -> Vec<Protocol> {
    if policy.network_denied || asked.transport == Transport::Udp {
        return Vec::new();
    }
    let Some(port) = asked.port else {
        // A DNS question: the name is answered when some port of it is permitted.
        return (PORTS.iter())
            .flat_map(|port| reference(policy, &Asked { port: Some(*port), ..asked.clone() }))
            .collect();
    };
    if policy.deny.iter().any(|denial| denies(denial, asked, port)) {
        return Vec::new();
    }
    let permitting = policy.allow.iter().filter(|rule| permits(policy, rule, asked, port));
    permitting.map(|rule| check(rule, port)).collect()
}

fn permits(policy: &Policy, rule: &Rule, asked: &Asked, port: u16) -> bool {
    let layer = rule.origin.layer;
    let current = rule.expires.is_none_or(|last| asked.day <= last);
    if !speaks(rule, &asked.target) || !rule.ports.contains(&port) || !current {
        return false;
    }
    // Host aliases are refused by name, but to a rule that asks for the host, which a project's never may.
    if let Target::Name(name) = &asked.target
        && (is_metadata(name.as_str()) || is_alias(name.as_str()) != rule.host_access)
    {
        return false;
    }
    if rule.host_access && (layer == Layer::Project || matches!(asked.target, Target::Address(_))) {
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
        None => true,
        Some(address) if rule.host_access => address == GATEWAY,
        Some(address) => {
            !floored(address, policy)
                && (!is_private(address) || rule.private.iter().any(|net| in_net(address, net)))
        }
    }
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
            rule.host_access || !is_private(address) || entry.private.iter().any(|net| in_net(address, net))
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

pub fn is_as_strict(check: Protocol, than: Protocol) -> bool {
    use Protocol::{Auto, Http, Tcp, Tls};
    matches!((check, than), (_, Tcp) | (Tls | Http | Auto, Auto) | (Tls, Tls) | (Http, Http))
}

/// The names of the host that this world knows.
const ALIASES: [&str; 3] = ["docker.internal", "host.docker.internal", "localhost"];

pub fn is_alias(name: &str) -> bool {
    ["docker.internal", "localhost"]
        .iter()
        .any(|alias| name == *alias || name.ends_with(&format!(".{alias}")))
}

pub fn is_metadata(name: &str) -> bool {
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

pub fn is_private(address: IpAddr) -> bool {
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
pub fn carried(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let s = v6.segments();
    let nat64 = s[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let isatap = s[4] == 0 && s[5] == 0x5efe;
    (nat64 || isatap).then(|| IpAddr::V4(Ipv4Addr::from(u32::from(s[6]) << 16 | u32::from(s[7]))))
}
