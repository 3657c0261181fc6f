//! A small world of policies and questions for properties, and a slow, obvious reference for the
//! decision.
//!
//! The reference is written from the design's text alone and shares no code with what it checks:
//! names are compared label by label, addresses bit by bit, every rule is looked at. Policies are
//! data, so that all layers meet without files.

#![allow(dead_code, reason = "each test uses its part of the world")]

mod reference;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netpolicy::decide::{Question, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::host_access::HostAccess;
use netpolicy::policy::{Ceiling, Date, Layer, Matcher, Origin, Policy, Protocol, ResolvedBy, Rule};
use netpolicy::settings::{Dns, Proxy, Server};
use netpolicy::target::Transport;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub(crate) use self::reference::*;

pub(crate) const TODAY: Date = Date::constant(2026, 11, 25);
pub(crate) const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1));
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const PORTS: [u16; 4] = [22, 80, 443, 8443];

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
        (prop::bool::weighted(0.4), select(layers)),
    )
        .prop_map(
            |(matcher, ports, protocol, private, expires, (proxy, host, sensible), (near, layer))| {
                let alias = matches!(&matcher, Matcher::Host(pattern) if is_alias(pattern.name().as_str()));
                Rule {
                    protocol,
                    private: private.unwrap_or_default(),
                    expires,
                    resolved_by: if proxy { ResolvedBy::Proxy } else { ResolvedBy::Guard },
                    host_access: match (if sensible { alias } else { host }, near) {
                        (false, _) => HostAccess::None,
                        (true, false) => HostAccess::Address,
                        (true, true) => HostAccess::Loopback,
                    },
                    ..Rule::new(matcher, ports, origin(layer))
                }
            },
        )
}

pub(crate) fn denial() -> impl Strategy<Value = Rule> {
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

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
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
                resolves_names: false,
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
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) port: Option<u16>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) resolver: ResolvedBy,
    pub(crate) transport: Transport,
    pub(crate) day: Date,
}

impl Asked {
    pub(crate) fn question(&self) -> Question<'_> {
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

pub(crate) fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => select(&ADDRESSES[..]).prop_map(|text| text.parse().expect("an address")),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        1 => any::<u8>().prop_map(|byte| IpAddr::V4(Ipv4Addr::new(198, 51, 100, byte))),
    ]
}

pub(crate) fn name() -> impl Strategy<Value = HostName> {
    prop_oneof![select(&NAMES[..]), select(&ASKED[..])]
        .prop_map(|name| HostName::parse(name).expect("a name"))
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
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
            // The proxy is asked about names whose address is not known; an address is its own, and
            // nobody resolves it.
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

pub(crate) fn surroundings(policy: &Policy) -> Surroundings {
    Surroundings {
        virtual_range: policy.dns.virtual_range,
        host_gateway: Some(GATEWAY),
        ..Surroundings::default()
    }
}
