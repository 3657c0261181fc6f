//! The floor: addresses and names that are refused whatever a policy says.
//!
//! ```text
//!  address ──┬─ metadata service ─────────────▶ metadata-address  (never exempt)
//!            ├─ this machine, its engine ─────▶ host-address      (never exempt; loopback is here too)
//!            ├─ virtual range, IANA tables ───▶ reserved-address  (never exempt)
//!            ├─ private ranges ───────────────▶ private-address   (unless the rule's `private` holds it)
//!            └─ IPv6 that carries an IPv4 ────▶ what that IPv4 address is
//! ```
//! A loopback address is the machine that dials, so its reason is always `host-address`. Of IPv6
//! only 2000::/3 and the well-known NAT64 prefix can be reached at all. 6to4, Teredo, v4-mapped and
//! v4-compatible forms are refused even when they carry a public address: nothing honest answers
//! with them any more. An on-link prefix with private addresses is exempt where a rule's `private`
//! says so; the machine's own addresses in it never are. The three IPv4 documentation ranges are
//! not in the floor: they are nobody's intranet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::host::HostName;
use crate::reason::Reason;

/// The state of the IANA special-purpose registries that the tables follow; part of every digest.
pub const FLOOR_VERSION: &str = "iana-2025-10-09";

/// Addresses of the machine and of the engine, which the guard must know: nothing may reach them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Every address of the supervisor's machine and of the engine's.
    pub host_addresses: Vec<IpAddr>,
    /// Ranges that are one of the machines' own as a whole.
    #[serde(default)]
    pub host_ranges: Vec<IpNet>,
    /// On-link prefixes of the machine; never routes through a gateway.
    pub on_link: Vec<IpNet>,
    /// Subnets of all networks of the engine.
    pub engine_subnets: Vec<IpNet>,
    /// The range whose addresses stand for names.
    pub virtual_range: Ipv4Net,
    /// Address at which the guard reaches the host itself, for rules with `host-access`.
    #[serde(default)]
    pub host_gateway: Option<IpAddr>,
}

impl Surroundings {
    /// Adds one more machine's own addresses and ranges, and its on-link prefixes.
    #[must_use]
    pub fn and_host(
        mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
        ranges: impl IntoIterator<Item = IpNet>,
        on_link: impl IntoIterator<Item = IpNet>,
    ) -> Surroundings {
        add(&mut self.host_addresses, addresses);
        add(&mut self.host_ranges, ranges);
        add(&mut self.on_link, on_link);
        self
    }
}

fn add<T: Ord + Copy>(all: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    all.extend(more);
    all.sort_unstable();
    all.dedup();
}

impl Default for Surroundings {
    /// Knows nothing of any machine: for decisions made offline.
    fn default() -> Self {
        Surroundings {
            host_addresses: Vec::new(),
            host_ranges: Vec::new(),
            on_link: Vec::new(),
            engine_subnets: Vec::new(),
            virtual_range: crate::settings::DEFAULT_VIRTUAL_RANGE,
            host_gateway: None,
        }
    }
}

/// Names by which engines and clouds call the host or its metadata service. They and the names
/// below them are refused by name, whatever they resolve to.
pub const HOST_ALIASES: &[(&str, Reason)] = &[
    ("localhost", Reason::HostAddress),
    ("localhost.localdomain", Reason::HostAddress),
    ("ip6-localhost", Reason::HostAddress),
    ("ip6-loopback", Reason::HostAddress),
    ("docker.internal", Reason::HostAddress), // host., gateway., kubernetes., vm., docker-for-desktop
    ("docker.for.mac.localhost", Reason::HostAddress),
    ("docker.for.mac.host.internal", Reason::HostAddress),
    ("docker.for.mac.gateway.internal", Reason::HostAddress),
    ("docker.for.win.localhost", Reason::HostAddress),
    ("docker.for.win.host.internal", Reason::HostAddress),
    ("containers.internal", Reason::HostAddress), // Podman: host.containers.internal
    ("lima.internal", Reason::HostAddress),       // Lima, Colima
    ("orb.internal", Reason::HostAddress),
    ("orb.local", Reason::HostAddress), // OrbStack: containers and machines by name
    ("rancher-desktop.internal", Reason::HostAddress),
    ("minikube.internal", Reason::HostAddress),
    ("k3d.internal", Reason::HostAddress),
    ("wsl.internal", Reason::HostAddress),
    ("crc.testing", Reason::HostAddress),
    ("host-gateway", Reason::HostAddress),
    ("metadata", Reason::MetadataAddress),
    ("metadata.google.internal", Reason::MetadataAddress),
    ("metadata.goog", Reason::MetadataAddress),
    ("metadata.azure.internal", Reason::MetadataAddress),
    ("instance-data", Reason::MetadataAddress),
    ("instance-data.ec2.internal", Reason::MetadataAddress),
    ("metadata.platformequinix.com", Reason::MetadataAddress),
];

/// Returns the names of [`HOST_ALIASES`].
pub fn aliases() -> impl Iterator<Item = &'static HostName> {
    static NAMES: LazyLock<Vec<HostName>> =
        LazyLock::new(|| HOST_ALIASES.iter().filter_map(|(alias, _)| HostName::parse(alias).ok()).collect());
    NAMES.iter()
}

/// Returns the reason for which a name is refused whatever it resolves to, if there is one.
pub fn refused_name(name: &HostName) -> Option<Reason> {
    let text = name.as_str();
    HOST_ALIASES.iter().find_map(|(alias, reason)| {
        let rest = text.strip_suffix(alias)?;
        (rest.is_empty() || rest.ends_with('.')).then_some(*reason)
    })
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(s: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), length)
}

/// The ranges that `private` may exempt parts of.
pub const PRIVATE_RANGES: &[IpNet] = &[
    IpNet::V4(v4(10, 0, 0, 0, 8)),
    IpNet::V4(v4(172, 16, 0, 0, 12)),
    IpNet::V4(v4(192, 168, 0, 0, 16)),
    IpNet::V4(v4(100, 64, 0, 0, 10)),
    IpNet::V6(v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)),
];

/// Addresses at which clouds serve credentials to every caller.
pub const METADATA_ADDRESSES: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // nearly everybody
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // Amazon ECS
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // Amazon EKS
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)), // Amazon
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)), // Amazon EKS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254)), // Google
];

/// IPv4: not globally reachable and not private (the documentation ranges left out), multicast,
/// 240/4.
pub(crate) const RESERVED_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(192, 0, 0, 0, 24),
    v4(192, 88, 99, 0, 24), // 6to4 relays, withdrawn
    v4(198, 18, 0, 0, 15),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// Within [`RESERVED_V4`], yet globally reachable: PCP and TURN anycast.
const REACHABLE_V4: &[Ipv4Net] = &[v4(192, 0, 0, 9, 32), v4(192, 0, 0, 10, 32)];

/// The only IPv6 that can be global at all.
const GLOBAL_V6: &[Ipv6Net] = &[v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), NAT64];

const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const NAT64_LOCAL: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const V4_MAPPED: Ipv6Net = v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const V4_TRANSLATED: Ipv6Net = v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
const V4_COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// Within [`GLOBAL_V6`], yet not globally reachable.
const RESERVED_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // IETF assignments: Teredo, benchmarking, ORCHID
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    SIX_TO_FOUR,
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Within [`RESERVED_V6`], yet globally reachable.
const REACHABLE_V6: &[Ipv6Net] = &[
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128),
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28),
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28),
];

/// Returns the reason for which the floor refuses an address, or `None`. `private` are the ranges
/// that the deciding rule exempts; they count inside [`PRIVATE_RANGES`] only. `fake` are ranges
/// with which a resolver answers public names; they count against being reserved, and against
/// nothing else.
pub fn refusal(addr: IpAddr, private: &[IpNet], fake: &[IpNet], s: &Surroundings) -> Option<Reason> {
    if METADATA_ADDRESSES.contains(&addr) {
        return Some(Reason::MetadataAddress);
    }
    // What an IPv6 form carries is judged first: it names the true target. Where it may carry one
    // of several, the worst counts.
    let carried =
        embedded_v4(addr).into_iter().filter_map(|carried| refusal(IpAddr::V4(carried), &[], &[], s));
    if let Some(worst) = carried.min_by_key(|reason| severity(*reason)) {
        return Some(worst);
    }
    if addr.is_loopback()
        || s.host_addresses.contains(&addr)
        || s.host_ranges.iter().chain(&s.engine_subnets).any(|net| net.contains(&addr))
    {
        return Some(Reason::HostAddress);
    }
    if s.virtual_range.contains(&as_v4_or_unspecified(addr)) {
        return Some(Reason::ReservedAddress);
    }
    if PRIVATE_RANGES.iter().any(|net| net.contains(&addr)) {
        let exempt = private.iter().any(|net| net.contains(&addr));
        return (!exempt).then_some(Reason::PrivateAddress);
    }
    if s.on_link.iter().any(|net| net.contains(&addr)) {
        return Some(Reason::HostAddress);
    }
    let reserved = match addr {
        IpAddr::V4(addr) => {
            RESERVED_V4.iter().any(|net| net.contains(&addr))
                && !REACHABLE_V4.iter().any(|net| net.contains(&addr))
        }
        IpAddr::V6(addr) => {
            !GLOBAL_V6.iter().any(|net| net.contains(&addr))
                || (RESERVED_V6.iter().any(|net| net.contains(&addr))
                    && !REACHABLE_V6.iter().any(|net| net.contains(&addr)))
        }
    };
    (reserved && !fake.iter().any(|net| net.contains(&addr))).then_some(Reason::ReservedAddress)
}

/// The reserved ranges that resolvers of VPNs answer public names with; `upstream-fake-range` may
/// name parts of them.
pub const FAKE_RANGES: &[IpNet] = &[IpNet::V4(v4(198, 18, 0, 0, 15)), IpNet::V4(v4(240, 0, 0, 0, 4))];

/// Returns every range that the floor knows: between the ranges' ends, and but for [`embedded_v4`],
/// the floor treats all addresses alike.
pub(crate) fn ranges(s: &Surroundings) -> impl Iterator<Item = IpNet> + '_ {
    const LOOPBACK: [IpNet; 2] =
        [IpNet::V4(v4(127, 0, 0, 0, 8)), IpNet::V6(v6([0, 0, 0, 0, 0, 0, 0, 1], 128))];
    let tables_v4 = RESERVED_V4.iter().chain(REACHABLE_V4).map(|net| IpNet::V4(*net));
    let tables_v6 = GLOBAL_V6.iter().chain(RESERVED_V6).chain(REACHABLE_V6).map(|net| IpNet::V6(*net));
    let single = METADATA_ADDRESSES.iter().chain(&s.host_addresses).map(|addr| IpNet::from(*addr));
    let machine = s.on_link.iter().chain(&s.host_ranges).chain(&s.engine_subnets).copied();
    PRIVATE_RANGES
        .iter()
        .copied()
        .chain(LOOPBACK)
        .chain(tables_v4)
        .chain(tables_v6)
        .chain(single)
        .chain(machine)
        .chain([IpNet::V4(s.virtual_range)])
}

fn severity(reason: Reason) -> u8 {
    match reason {
        Reason::MetadataAddress => 0,
        Reason::HostAddress => 1,
        Reason::PrivateAddress => 2,
        _ => 3,
    }
}

fn as_v4_or_unspecified(addr: IpAddr) -> Ipv4Addr {
    match addr {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Returns the IPv4 addresses that an IPv6 address carries: packets to it may end up at them.
pub fn embedded_v4(addr: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(addr) = addr else { return Vec::new() };
    let s = addr.segments();
    let at = |index: usize| Ipv4Addr::from(u32::from(s[index]) << 16 | u32::from(s[index + 1]));
    let mut found = Vec::new();
    let tail = [V4_MAPPED, V4_TRANSLATED, V4_COMPATIBLE, NAT64];
    if tail.iter().any(|net| net.contains(&addr)) && !addr.is_loopback() && !addr.is_unspecified() {
        found.push(at(6));
    }
    if NAT64_LOCAL.contains(&addr) {
        // RFC 6052: where the address stands depends on the length of the prefix in use.
        let o = addr.octets();
        found.push(at(6)); // /96
        found.push(Ipv4Addr::new(o[6], o[7], o[9], o[10])); // /48
        found.push(Ipv4Addr::new(o[7], o[9], o[10], o[11])); // /56
        found.push(Ipv4Addr::new(o[9], o[10], o[11], o[12])); // /64
    }
    if SIX_TO_FOUR.contains(&addr) {
        found.push(at(1));
    }
    if TEREDO.contains(&addr) {
        found.push(at(2)); // the server
        found.push(Ipv4Addr::from(!u32::from(at(6)))); // the client, inverted
    }
    if matches!(s[4], 0 | 0x0200 | 0x0100 | 0x0300) && s[5] == 0x5efe {
        found.push(at(6)); // ISATAP
    }
    found
}
