//! The fence's nft rules as data, in the JSON form of libnftables, for `nft -j -f -`.
//!
//! ```text
//!  Policy + VirtualNames ──permits──▶ FencePlan ──┬─ ruleset ────────▶ one transaction: inet and arp tables, replaced whole
//!                                                 └─ netdev_ruleset ─▶ a second one: not every kernel has netdev egress
//! ```
//! Nothing leaves the fence by any device but `lo`: chain `last` and the arp table see to that, the
//! netdev chains are a further lock. Inside, port 53 goes to the DNS filter's socket, permitted
//! pairs to the gate's, the rest is refused.

mod bounds;
mod chains;
mod commands;
mod cut;
mod limits;
mod plan;
mod sockets;
mod steps;

use nftables::schema::{Chain, NfListObject};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use self::commands::{AddRule, Object, Rule, add, base_chain, permit_set, replaced_table};

pub use self::bounds::{
    AppliedBounds, ConnectionBounds, ConnectionShare, ConnectionTable, GATE_CONNECTIONS, MOST_PER_SECOND,
};
pub use self::commands::Ruleset;
pub use self::limits::FenceLimit;
pub use self::plan::{Cut, FencePlan, Permit, permits};
pub use self::sockets::{
    DNS_PORT, FILTER_PORT, GATE_PORT, NFLOG_GROUP, NFLOG_REST, PERMIT_SET, RESERVED_PORTS, TABLE,
};

/// Returns the inet and arp tables, in one transaction that replaces what is there.
pub fn ruleset(plan: &FencePlan) -> Ruleset {
    let mut nftables = replaced_table(NfFamily::INet);
    nftables.push(add(NfListObject::Set(Box::new(permit_set(plan)))));
    for (name, kind, hook, priority, policy) in [
        ("raw_out", NfChainType::Filter, NfHook::Output, -300, NfChainPolicy::Accept),
        ("raw_in", NfChainType::Filter, NfHook::Prerouting, -300, NfChainPolicy::Accept),
        // Connections are known, and none is redirected yet: what is refused here is logged with
        // its true target.
        ("limits", NfChainType::Filter, NfHook::Output, -150, NfChainPolicy::Accept),
        // Before rules of an engine's for a resolver of its own, which stand at -100.
        ("nat_out", NfChainType::NAT, NfHook::Output, -110, NfChainPolicy::Accept),
        ("out", NfChainType::Filter, NfHook::Output, 0, NfChainPolicy::Drop),
        ("last", NfChainType::Filter, NfHook::Postrouting, 300, NfChainPolicy::Drop),
        ("in", NfChainType::Filter, NfHook::Input, 0, NfChainPolicy::Drop),
        ("forwarded", NfChainType::Filter, NfHook::Forward, 0, NfChainPolicy::Drop),
    ] {
        nftables.push(base_chain(NfFamily::INet, name, kind, hook, priority, policy, None));
    }
    let vanish = cut::vanish(plan);
    for name in ["refuse", "answer"].into_iter().chain((!vanish.is_empty()).then_some(cut::CHAIN)) {
        nftables.push(add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: name.into(),
            ..Chain::default()
        })));
    }
    for (chain, rules) in [
        (cut::CHAIN, vanish),
        ("raw_out", chains::raw_out(plan)),
        ("raw_in", chains::raw_in(plan)),
        ("limits", chains::limits(plan)),
        ("nat_out", chains::nat_out(plan)),
        ("out", chains::out(plan)),
        ("refuse", chains::refuse()),
        ("answer", chains::answer()),
        ("last", chains::last()),
        ("in", chains::input()),
    ] {
        nftables.extend(rules.into_iter().map(|expr| Object::Rule {
            add: AddRule { rule: Rule { family: NfFamily::INet, table: TABLE, chain, expr } },
        }));
    }
    nftables.extend(replaced_table(NfFamily::ARP));
    for (name, hook) in [("out", NfHook::Output), ("in", NfHook::Input)] {
        let policy = NfChainPolicy::Drop;
        nftables.push(base_chain(NfFamily::ARP, name, NfChainType::Filter, hook, 0, policy, None));
    }
    Ruleset { nftables }
}

/// Returns the netdev table, which drops every frame of every device but `lo`, both ways. It is
/// apart, since a kernel below 5.16 has no egress hook, and since it binds to names of devices.
pub fn netdev_ruleset(plan: &FencePlan) -> Ruleset {
    let mut nftables = replaced_table(NfFamily::NetDev);
    for (index, link) in plan.links.iter().enumerate() {
        for (name, hook) in [("out", NfHook::Egress), ("in", NfHook::Ingress)] {
            let name = if index == 0 { name.to_owned() } else { format!("{name}{index}") };
            let (kind, policy) = (NfChainType::Filter, NfChainPolicy::Drop);
            nftables.push(base_chain(NfFamily::NetDev, &name, kind, hook, 0, policy, Some(link)));
        }
    }
    Ruleset { nftables }
}
