//! The fence's nft rules as data, in the JSON form of libnftables, for `nft -j -f -`.
//!
//! ```text
//!  Policy + VirtualNames ──permits──▶ FencePlan ──┬─ ruleset ────────▶ one transaction: inet and arp tables, replaced whole
//!                                                 └─ netdev_ruleset ─▶ a second one: not every kernel has netdev egress
//! ```
//! Nothing leaves the fence by any device but `lo`: chain `last` and the arp table see to that, the
//! netdev chains are a further lock. Inside, port 53 goes to the DNS filter's socket, permitted
//! pairs to the gate's, the rest is refused.

mod cut;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftables::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, SetItem,
};
use nftables::schema::{Chain, NfCmd, NfListObject, NfObject, Set, SetFlag, SetType, SetTypeValue, Table};
use nftables::stmt::{
    AnonymousCounter, CTCount, Counter, JumpTarget, Limit, Log, Mangle, Match, NAT, Operator, Reject,
    RejectType, Statement,
};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use serde::{Deserialize, Serialize};

pub use self::cut::Cut;
use crate::policy::{Matcher, Policy};
use crate::virtual_names::VirtualNames;

/// The gate's socket: permitted connections are redirected here.
pub const GATE_PORT: u16 = 65443;
/// The DNS filter's sockets, UDP and TCP.
pub const DNS_PORT: u16 = 65053;
/// The port that is the DNS filter's, whatever address it is asked at.
pub const FILTER_PORT: u16 = 53;
/// The ports that the fence keeps for itself, on every address: nothing behind them can be
/// permitted.
pub const RESERVED_PORTS: [u16; 3] = [FILTER_PORT, DNS_PORT, GATE_PORT];
/// The log group of refused packets.
pub const NFLOG_GROUP: u16 = 5;
/// The log group of those beyond the rate at which they are listed: they come in batches and are
/// counted only.
pub const NFLOG_REST: u16 = 6;
/// The name of every table of the fence.
pub const TABLE: &str = "fence";
/// The set of permitted pairs, in the inet table.
pub const PERMIT_SET: &str = "permit";

const DNS_QUESTIONS_PER_SECOND: u32 = 1000;
const DNS_CONNECTIONS: u32 = 64;
/// A limit that refuses what is permitted; a refused packet carries its number as mark, so that the
/// log can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FenceLimit {
    /// Connections to the DNS filter at once.
    DnsConnections = 1,
    /// Questions to it a second.
    DnsQuestions = 2,
    /// Permitted connections at once.
    Connections = 3,
    /// New permitted connections.
    NewConnections = 4,
}

impl FenceLimit {
    /// Every one.
    pub const ALL: [FenceLimit; 4] = [
        FenceLimit::DnsConnections,
        FenceLimit::DnsQuestions,
        FenceLimit::Connections,
        FenceLimit::NewConnections,
    ];

    /// Returns the limit that refused a packet with this mark.
    pub fn of_mark(mark: u32) -> Option<FenceLimit> {
        FenceLimit::ALL.into_iter().find(|limit| limit.mark() == mark)
    }

    fn mark(self) -> u32 {
        u32::from(self as u8)
    }
}

impl std::fmt::Display for FenceLimit {
    /// Writes the limit in words: the number and the thing that it limits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FenceLimit::DnsConnections => {
                write!(f, "{DNS_CONNECTIONS} connections to the DNS filter at once")
            }
            FenceLimit::DnsQuestions => write!(f, "{DNS_QUESTIONS_PER_SECOND} DNS questions a second"),
            FenceLimit::Connections => write!(f, "{GATE_CONNECTIONS} permitted connections at once"),
            FenceLimit::NewConnections => write!(
                f,
                "{GATE_CONNECTIONS_BURST} new permitted connections in a moment, and \
                 {GATE_CONNECTIONS_PER_SECOND} a second after that"
            ),
        }
    }
}

/// Permitted connections that an agent may have open at once. The guard's own table, its
/// descriptors and its container's memory follow this number; nothing else states it.
pub const GATE_CONNECTIONS: u32 = 10_000;
/// Permitted connections that an agent may make in a moment: no more than wait in the gate's
/// backlog, so that a busy guard means a refusal and never a connection that hangs.
pub const GATE_CONNECTIONS_BURST: u32 = 4000;
/// Permitted connections a second after that. One that has ended stays in the connection table of
/// the engine's machine for two minutes: with the guard's own burst these are 50,000 entries, of
/// the 65,536 that a small machine has.
pub const GATE_CONNECTIONS_PER_SECOND: u32 = 400;
/// Connections that the guard makes at once; those beyond wait for their turn, at the rate above.
/// Half of what the fence lets in, so that a fast client is slowed down by the guard before the
/// fence refuses it.
pub const DIALS_BURST: u32 = GATE_CONNECTIONS_BURST / 2;
const LOGGED_PER_SECOND: u32 = 200;
const LOGGED_BURST: u32 = 400;

/// A range and a port that lead to the gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permit {
    /// Virtual addresses, or real ones of an `allow` range.
    pub range: Ipv4Net,
    /// The TCP port.
    pub port: u16,
}

/// Everything the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencePlan {
    /// The namespace's own address on the workflow's network.
    pub own: Ipv4Addr,
    /// Targets that lead to the gate.
    pub permits: Vec<Permit>,
    /// Every device but `lo`.
    pub links: Vec<String>,
    /// Packets that are dropped silently.
    pub cut: Cut,
}

/// Returns the pairs that a policy lets through to the gate, without overlaps. The gate decides
/// again; a pair too many opens nothing, a pair too few is a refusal without a name.
pub fn permits(policy: &Policy, names: &VirtualNames) -> Vec<Permit> {
    if policy.network_denied {
        return Vec::new();
    }
    let wildcards = names.wildcard_range();
    let mut permits = Vec::new();
    for rule in &policy.allow {
        let mut ranges: Vec<Ipv4Net> = Vec::new();
        match &rule.matcher {
            Matcher::Host(pattern) => {
                if let (false, Some(address)) =
                    (matches!(pattern, crate::host::HostPattern::Below(_)), names.address_of(pattern.name()))
                {
                    ranges.push(Ipv4Net::from(address));
                }
                if pattern.is_wildcard() {
                    // A name that is written elsewhere in the policy keeps its own address under a
                    // wildcard too.
                    ranges.extend(&wildcards);
                    ranges.extend(
                        names
                            .entries()
                            .filter(|(_, name)| pattern.matches(name))
                            .map(|(address, _)| Ipv4Net::from(address)),
                    );
                }
            }
            Matcher::Cidr(ipnet::IpNet::V4(range)) => ranges.push(*range),
            Matcher::Cidr(ipnet::IpNet::V6(_)) => {}
        }
        // The fence's own ports are never redirected to the gate, whichever layer names them.
        let ports = || rule.ports.iter().filter(|port| !RESERVED_PORTS.contains(port));
        permits.extend(
            ranges.iter().flat_map(|range| ports().map(|port| Permit { range: *range, port: *port })),
        );
    }
    without_overlaps(permits)
}

/// Removes overlaps: nft refuses a set whose elements overlap.
fn without_overlaps(permits: Vec<Permit>) -> Vec<Permit> {
    let mut by_port = std::collections::BTreeMap::<u16, Vec<Ipv4Net>>::new();
    for permit in permits {
        by_port.entry(permit.port).or_default().push(permit.range);
    }
    let mut result: Vec<Permit> = by_port
        .iter()
        .flat_map(|(port, ranges)| {
            Ipv4Net::aggregate(ranges).into_iter().map(|range| Permit { range, port: *port })
        })
        .collect();
    result.sort();
    result
}

/// Commands for `nft -j -f -`: serialise it and hand it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    nftables: Vec<Object>,
}

impl Ruleset {
    /// Returns the JSON text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Object {
    Plain(NfObject<'static>),
    Rule { add: AddRule },
}

/// `{"rule": …}` of our own: a statement list of the `nftables` crate cannot hold `notrack` (it
/// writes a string where nft wants an object).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct AddRule {
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Rule {
    family: NfFamily,
    table: &'static str,
    chain: &'static str,
    expr: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Step {
    Plain(Box<Statement<'static>>),
    Untracked { notrack: () },
}

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
        // Before Docker's own rules for 127.0.0.11, which stand at -100.
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
        ("raw_out", raw_out(plan)),
        ("raw_in", raw_in(plan)),
        ("limits", limits()),
        ("nat_out", nat_out(plan)),
        ("out", out(plan)),
        ("refuse", refuse()),
        ("answer", answer()),
        ("last", last()),
        ("in", input()),
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

// raw_out, raw_in: the agent's own localhost traffic is not tracked; it would fill the table.

/// ```text
/// oifname != "lo" goto refuse
/// …                              # what is cut, see there
/// meta nfproto ipv6 notrack
/// meta l4proto { tcp, udp } th dport != { 53, 65053, 65443 } th sport != { 65053, 65443 } ip saddr { 127.0.0.0/8, OWN } ip daddr { 127.0.0.0/8, OWN } notrack
/// ```
fn raw_out(plan: &FencePlan) -> Vec<Vec<Step>> {
    let mut rules = vec![steps([not_equal(meta(MetaKey::Oifname), text("lo")), goto_refuse()])];
    rules.extend(cut::raw_out(plan));
    rules.extend([ipv6_untracked(), local_untracked(plan)]);
    rules
}

/// ```text
/// iifname != "lo" drop
/// …                              # what is cut, see there
/// meta nfproto ipv6 notrack
/// meta l4proto … notrack        # as above
/// ```
fn raw_in(plan: &FencePlan) -> Vec<Vec<Step>> {
    let mut rules = vec![steps([not_equal(meta(MetaKey::Iifname), text("lo")), Statement::Drop(None)])];
    rules.extend(cut::raw_in(plan));
    rules.extend([ipv6_untracked(), local_untracked(plan)]);
    rules
}

fn ipv6_untracked() -> Vec<Step> {
    untracked([equal(meta(MetaKey::Nfproto), text("ipv6"))])
}

fn local_untracked(plan: &FencePlan) -> Vec<Step> {
    untracked([
        equal(meta(MetaKey::L4proto), any_of([text("tcp"), text("udp")])),
        not_equal(field("th", "dport"), any_of([port(53), port(DNS_PORT), port(GATE_PORT)])),
        not_equal(field("th", "sport"), any_of([port(DNS_PORT), port(GATE_PORT)])),
        equal(field("ip", "saddr"), own_or_loopback(plan)),
        equal(field("ip", "daddr"), own_or_loopback(plan)),
    ])
}

/// ```text
/// ct state new tcp dport 53 ct count over 64 meta mark set 1 goto refuse
/// ct state new udp dport 53 limit rate over 1000/second burst 1000 packets meta mark set 2 counter log group 6 drop
/// ct state new ip daddr . tcp dport @permit ct count over 10000 meta mark set 3 goto refuse
/// ct state new ip daddr . tcp dport @permit limit rate over 400/second burst 4000 packets meta mark set 4 goto refuse
/// ```
/// Limits refuse instead of letting a full backlog hang. A question too many is dropped: its asker
/// asks again.
fn limits() -> Vec<Vec<Step>> {
    let new = || ct_has("state", "new");
    let filter = |protocol: &'static str| equal(field(protocol, "dport"), port(FILTER_PORT));
    vec![
        steps([
            new(),
            filter("tcp"),
            more_than(DNS_CONNECTIONS),
            mark(FenceLimit::DnsConnections),
            goto_refuse(),
        ]),
        steps([
            new(),
            filter("udp"),
            over(DNS_QUESTIONS_PER_SECOND, DNS_QUESTIONS_PER_SECOND),
            mark(FenceLimit::DnsQuestions),
            counter(),
            log_to(NFLOG_REST),
            Statement::Drop(None),
        ]),
        steps([
            new(),
            permitted(),
            more_than(GATE_CONNECTIONS),
            mark(FenceLimit::Connections),
            goto_refuse(),
        ]),
        steps([
            new(),
            permitted(),
            over(GATE_CONNECTIONS_PER_SECOND, GATE_CONNECTIONS_BURST),
            mark(FenceLimit::NewConnections),
            goto_refuse(),
        ]),
    ]
}

/// ```text
/// udp dport 53 redirect to :65053
/// tcp dport 53 redirect to :65053
/// ip daddr { 127.0.0.0/8, OWN } accept
/// ip daddr . tcp dport @permit redirect to :65443
/// ```
/// The agent's own servers stay its own, whatever range is permitted.
fn nat_out(plan: &FencePlan) -> Vec<Vec<Step>> {
    vec![
        steps([equal(field("udp", "dport"), port(FILTER_PORT)), redirect(DNS_PORT)]),
        steps([equal(field("tcp", "dport"), port(FILTER_PORT)), redirect(DNS_PORT)]),
        steps([equal(field("ip", "daddr"), own_or_loopback(plan)), Statement::Accept(None)]),
        steps([permitted(), redirect(GATE_PORT)]),
    ]
}

/// ```text
/// oifname != "lo" goto refuse
/// …                              # what is cut, see there
/// ct status dnat accept
/// tcp flags & rst == rst accept
/// ip daddr 127.0.0.11 goto refuse
/// tcp dport { 65053, 65443 } goto refuse
/// udp dport 65053 goto refuse
/// ip daddr { 127.0.0.0/8, OWN } accept
/// ip6 daddr ::1 accept
/// icmp type destination-unreachable accept
/// icmpv6 type destination-unreachable accept
/// ct state established accept
/// goto refuse
/// ```
/// No `ip saddr 127.0.0.0/8 accept`: a socket bound to 127.0.0.1 would go unlogged. OWN is
/// accepted: programs reach their own servers by the host name's address. Resets pass first: one to
/// the gate's own port answers the guard's late packets on a connection that the agent has
/// forgotten, and tells it so.
fn out(plan: &FencePlan) -> Vec<Vec<Step>> {
    let accept = || Statement::Accept(None);
    let reset =
        Expression::BinaryOperation(Box::new(BinaryOperation::AND(field("tcp", "flags"), text("rst"))));
    let mut rules = vec![steps([not_equal(meta(MetaKey::Oifname), text("lo")), goto_refuse()])];
    rules.extend(cut::out(plan));
    rules.extend([
        steps([ct_has("status", "dnat"), accept()]),
        steps([equal(reset, text("rst")), accept()]),
        steps([equal(field("ip", "daddr"), text("127.0.0.11")), goto_refuse()]),
        steps([equal(field("tcp", "dport"), any_of([port(DNS_PORT), port(GATE_PORT)])), goto_refuse()]),
        steps([equal(field("udp", "dport"), port(DNS_PORT)), goto_refuse()]),
        steps([equal(field("ip", "daddr"), own_or_loopback(plan)), accept()]),
        steps([equal(field("ip6", "daddr"), text("::1")), accept()]),
        steps([equal(field("icmp", "type"), text("destination-unreachable")), accept()]),
        steps([equal(field("icmpv6", "type"), text("destination-unreachable")), accept()]),
        steps([ct_has("state", "established"), accept()]),
        steps([goto_refuse()]),
    ]);
    rules
}

/// One place to count, log and refuse. A TCP packet that opens no connection belongs to one that is
/// forgotten, so it is no attempt; an agent can make no such packet by itself.
/// ```text
/// tcp flags & (fin | syn | rst | ack) != syn counter goto answer
/// limit rate over 200/second burst 400 packets counter log group 6 goto answer
/// counter log group 5
/// goto answer
/// ```
fn refuse() -> Vec<Vec<Step>> {
    vec![
        steps([opens_nothing(), counter(), goto_answer()]),
        steps([over(LOGGED_PER_SECOND, LOGGED_BURST), counter(), log_to(NFLOG_REST), goto_answer()]),
        steps([counter(), log_to(NFLOG_GROUP)]),
        steps([goto_answer()]),
    ]
}

/// ```text
/// meta l4proto tcp reject with tcp reset
/// reject with icmpx admin-prohibited
/// ```
fn answer() -> Vec<Vec<Step>> {
    let reset = Reject::new(Some(RejectType::TCPReset), None);
    let prohibited = Reject::new(Some(RejectType::ICMPX), Some(RejectCode::AdminProhibited));
    vec![
        steps([equal(meta(MetaKey::L4proto), text("tcp")), Statement::Reject(Some(reset))]),
        steps([Statement::Reject(Some(prohibited))]),
    ]
}

/// The hook that sees the true device: `oifname` in the output hook can be stale.
/// ```text
/// oifname "lo" accept
/// counter
/// ```
fn last() -> Vec<Vec<Step>> {
    vec![steps([equal(meta(MetaKey::Oifname), text("lo")), Statement::Accept(None)]), steps([counter()])]
}

/// ```text
/// iifname "lo" accept
/// ```
fn input() -> Vec<Vec<Step>> {
    vec![steps([equal(meta(MetaKey::Iifname), text("lo")), Statement::Accept(None)])]
}

/// `set permit { type ipv4_addr . inet_service; flags interval; elements = { … } }`
fn permit_set(plan: &FencePlan) -> Set<'static> {
    let elements: Vec<Expression<'static>> = without_overlaps(plan.permits.clone())
        .iter()
        .map(|permit| {
            let pair = vec![range(permit.range), Expression::Number(u32::from(permit.port))];
            Expression::Named(NamedExpression::Concat(pair))
        })
        .collect();
    Set {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: PERMIT_SET.into(),
        set_type: SetTypeValue::Concatenated(vec![SetType::Ipv4Addr, SetType::InetService].into()),
        flags: Some([SetFlag::Interval].into()),
        elem: (!elements.is_empty()).then(|| elements.into()),
        ..Set::default()
    }
}

/// Returns `add`, `delete`, `add`: the table is replaced whole, whether it was there or not.
fn replaced_table(family: NfFamily) -> Vec<Object> {
    let table = || NfListObject::Table(Table { family, name: TABLE.into(), handle: None });
    vec![add(table()), Object::Plain(NfObject::CmdObject(NfCmd::Delete(table()))), add(table())]
}

fn base_chain(
    family: NfFamily,
    name: &str,
    kind: NfChainType,
    hook: NfHook,
    priority: i32,
    policy: NfChainPolicy,
    device: Option<&str>,
) -> Object {
    add(NfListObject::Chain(Chain {
        family,
        table: TABLE.into(),
        name: name.to_owned().into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        dev: device.map(|device| device.to_owned().into()),
        policy: Some(policy),
        ..Chain::default()
    }))
}

fn add(object: NfListObject<'static>) -> Object {
    Object::Plain(NfObject::CmdObject(NfCmd::Add(object)))
}

fn steps(statements: impl IntoIterator<Item = Statement<'static>>) -> Vec<Step> {
    statements.into_iter().map(|statement| Step::Plain(Box::new(statement))).collect()
}

fn untracked(statements: impl IntoIterator<Item = Statement<'static>>) -> Vec<Step> {
    let mut steps = steps(statements);
    steps.push(Step::Untracked { notrack: () });
    steps
}

fn equal(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

fn not_equal(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::NEQ })
}

fn ct_has(key: &'static str, flag: &'static str) -> Statement<'static> {
    let left = Expression::Named(NamedExpression::CT(CT { key: key.into(), family: None, dir: None }));
    Statement::Match(Match { left, right: text(flag), op: Operator::IN })
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn text(text: &'static str) -> Expression<'static> {
    Expression::String(text.into())
}

fn port(port: u16) -> Expression<'static> {
    Expression::Number(u32::from(port))
}

fn any_of(items: impl IntoIterator<Item = Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Set(items.into_iter().map(SetItem::Element).collect()))
}

fn range(range: Ipv4Net) -> Expression<'static> {
    let address = Expression::String(range.addr().to_string().into());
    if range.prefix_len() == 32 {
        return address;
    }
    let prefix = Prefix { addr: Box::new(address), len: u32::from(range.prefix_len()) };
    Expression::Named(NamedExpression::Prefix(prefix))
}

fn own_or_loopback(plan: &FencePlan) -> Expression<'static> {
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    any_of(Ipv4Net::aggregate(&vec![loopback, Ipv4Net::from(plan.own)]).into_iter().map(range))
}

fn goto_refuse() -> Statement<'static> {
    Statement::Goto(JumpTarget { target: "refuse".into() })
}

fn goto_answer() -> Statement<'static> {
    Statement::Goto(JumpTarget { target: "answer".into() })
}

/// Matches a pair that leads to the gate.
fn permitted() -> Statement<'static> {
    let pair = NamedExpression::Concat(vec![field("ip", "daddr"), field("tcp", "dport")]);
    equal(Expression::Named(pair), text("@permit"))
}

/// Matches a TCP packet without SYN, or one that answers to a SYN.
fn opens_nothing() -> Statement<'static> {
    /// FIN, SYN, RST, ACK.
    const JUDGED: u32 = 0x17;
    const SYN: u32 = 0x02;
    let flags = BinaryOperation::AND(field("tcp", "flags"), Expression::Number(JUDGED));
    not_equal(Expression::BinaryOperation(Box::new(flags)), Expression::Number(SYN))
}

fn mark(limit: FenceLimit) -> Statement<'static> {
    let (key, value) = (meta(MetaKey::Mark), Expression::Number(limit.mark()));
    Statement::Mangle(Mangle { key, value })
}

fn log_to(group: u16) -> Statement<'static> {
    Statement::Log(Some(Log::new(Some(u32::from(group)))))
}

fn redirect(to: u16) -> Statement<'static> {
    Statement::Redirect(Some(NAT { addr: None, family: None, port: Some(port(to)), flags: None }))
}

fn counter() -> Statement<'static> {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter::default())))
}

fn over(rate: u32, burst: u32) -> Statement<'static> {
    let per = Some("second".into());
    Statement::Limit(Limit {
        rate,
        rate_unit: None,
        per,
        burst: Some(burst),
        burst_unit: None,
        inv: Some(true),
    })
}

fn more_than(connections: u32) -> Statement<'static> {
    Statement::CTCount(CTCount { val: Expression::Number(connections), inv: Some(true) })
}
