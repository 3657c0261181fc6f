//! The rules of each chain of the inet table, each below its text as nft prints it.

use nftables::expr::{BinaryOperation, Expression, MetaKey};
use nftables::stmt::{Reject, RejectType, Statement};
use nftables::types::RejectCode;

use super::cut;
use super::limits::{
    DNS_CONNECTIONS, DNS_QUESTIONS_BURST, DNS_QUESTIONS_PER_SECOND, FenceLimit, LOGGED_BURST,
    LOGGED_PER_SECOND,
};
use super::plan::FencePlan;
use super::sockets::{DNS_PORT, FILTER_PORT, GATE_PORT, NFLOG_GROUP, NFLOG_REST};
use super::steps::{
    Step, any_of, counter, ct_has, equal, field, goto_answer, goto_refuse, log_to, mark, marked, meta,
    more_than, not_equal, opens_nothing, over, own_or_loopback, permitted, port, redirect, steps, text,
    untracked,
};

/// Packets on their way out, before any connection is known. The agent's own localhost traffic is
/// not tracked: it would fill the table.
pub(super) fn raw_out(plan: &FencePlan) -> Vec<Vec<Step>> {
    // oifname != "lo" goto refuse
    let mut rules = vec![steps([not_equal(meta(MetaKey::Oifname), text("lo")), goto_refuse()])];
    rules.extend(cut::raw_out(plan));
    rules.extend([too_many_questions(), ipv6_untracked(), local_untracked(plan)]);
    rules
}

/// A question too many goes on its way and is dropped in `raw_in`: its asker sees silence and asks
/// again. A drop on the way out would be EPERM at the send, and the asker would give up. Such a
/// question is not tracked, so that no flood of them fills the table.
fn too_many_questions() -> Vec<Step> {
    // meta nfproto ipv4 udp dport 53 limit rate over 1000/second burst 8000 packets
    // meta mark set 2 notrack
    untracked([
        equal(meta(MetaKey::Nfproto), text("ipv4")),
        equal(field("udp", "dport"), port(FILTER_PORT)),
        over(DNS_QUESTIONS_PER_SECOND, DNS_QUESTIONS_BURST),
        mark(FenceLimit::DnsQuestions),
    ])
}

/// Packets on their way in, before any connection is known. The mark leads to nothing but the end.
pub(super) fn raw_in(plan: &FencePlan) -> Vec<Vec<Step>> {
    // iifname != "lo" drop
    let mut rules = vec![steps([not_equal(meta(MetaKey::Iifname), text("lo")), Statement::Drop(None)])];
    // meta mark 2 counter log group 6 drop
    rules.push(steps([
        marked(FenceLimit::DnsQuestions),
        counter(),
        log_to(NFLOG_REST),
        Statement::Drop(None),
    ]));
    rules.extend(cut::raw_in(plan));
    rules.extend([ipv6_untracked(), local_untracked(plan)]);
    rules
}

fn ipv6_untracked() -> Vec<Step> {
    // meta nfproto ipv6 notrack
    untracked([equal(meta(MetaKey::Nfproto), text("ipv6"))])
}

fn local_untracked(plan: &FencePlan) -> Vec<Step> {
    // meta l4proto { tcp, udp } th dport != { 53, 65053, 65443 } th sport != { 65053, 65443 }
    // ip saddr { 127.0.0.0/8, OWN } ip daddr { 127.0.0.0/8, OWN } notrack
    untracked([
        equal(meta(MetaKey::L4proto), any_of([text("tcp"), text("udp")])),
        not_equal(field("th", "dport"), any_of([port(53), port(DNS_PORT), port(GATE_PORT)])),
        not_equal(field("th", "sport"), any_of([port(DNS_PORT), port(GATE_PORT)])),
        equal(field("ip", "saddr"), own_or_loopback(plan)),
        equal(field("ip", "daddr"), own_or_loopback(plan)),
    ])
}

/// Limits of connections. A number at once is refused: only the agent's own closing makes room, and
/// a connection that waits for that may wait for ever. A rate is back-pressure: the packet is
/// dropped, and the kernel sends it again after a second, when there is room.
pub(super) fn limits(plan: &FencePlan) -> Vec<Vec<Step>> {
    let new = || ct_has("state", "new");
    let bounds = plan.connections;
    vec![
        // ct state new tcp dport 53 ct count over 64 meta mark set 1 goto refuse
        steps([
            new(),
            equal(field("tcp", "dport"), port(FILTER_PORT)),
            more_than(DNS_CONNECTIONS),
            mark(FenceLimit::DnsConnections),
            goto_refuse(),
        ]),
        // ct state new ip daddr . tcp dport @permit ct count over 10000 meta mark set 3 goto refuse
        steps([
            new(),
            permitted(),
            more_than(bounds.at_once()),
            mark(FenceLimit::Connections),
            goto_refuse(),
        ]),
        // ct state new ip daddr . tcp dport @permit limit rate over 400/second burst 4000 packets
        // meta mark set 4 counter log group 6 drop
        steps([
            new(),
            permitted(),
            over(bounds.per_second(), bounds.burst()),
            mark(FenceLimit::NewConnections),
            counter(),
            log_to(NFLOG_REST),
            Statement::Drop(None),
        ]),
    ]
}

/// Redirections. The agent's own servers stay its own, whatever range is permitted.
pub(super) fn nat_out(plan: &FencePlan) -> Vec<Vec<Step>> {
    vec![
        // udp dport 53 redirect to :65053
        steps([equal(field("udp", "dport"), port(FILTER_PORT)), redirect(DNS_PORT)]),
        // tcp dport 53 redirect to :65053
        steps([equal(field("tcp", "dport"), port(FILTER_PORT)), redirect(DNS_PORT)]),
        // ip daddr { 127.0.0.0/8, OWN } accept
        steps([equal(field("ip", "daddr"), own_or_loopback(plan)), Statement::Accept(None)]),
        // ip daddr . tcp dport @permit redirect to :65443
        steps([permitted(), redirect(GATE_PORT)]),
    ]
}

/// Decides about packets that leave. No `ip saddr 127.0.0.0/8 accept`: a socket bound to 127.0.0.1
/// would go unlogged. OWN is accepted: programs reach their own servers by the host name's address.
/// Resets pass first: one to the gate's own port answers the guard's late packets on a connection
/// that the agent has forgotten, and tells it so.
pub(super) fn out(plan: &FencePlan) -> Vec<Vec<Step>> {
    let accept = || Statement::Accept(None);
    let reset =
        Expression::BinaryOperation(Box::new(BinaryOperation::AND(field("tcp", "flags"), text("rst"))));
    // oifname != "lo" goto refuse
    let mut rules = vec![steps([not_equal(meta(MetaKey::Oifname), text("lo")), goto_refuse()])];
    rules.extend(cut::out(plan));
    rules.extend([
        // meta mark 2 udp dport 53 accept
        steps([marked(FenceLimit::DnsQuestions), equal(field("udp", "dport"), port(FILTER_PORT)), accept()]),
        // ct status dnat accept
        steps([ct_has("status", "dnat"), accept()]),
        // tcp flags & rst == rst accept
        steps([equal(reset, text("rst")), accept()]),
        // ip daddr 127.0.0.11 goto refuse
        steps([equal(field("ip", "daddr"), text("127.0.0.11")), goto_refuse()]),
        // tcp dport { 65053, 65443 } goto refuse
        steps([equal(field("tcp", "dport"), any_of([port(DNS_PORT), port(GATE_PORT)])), goto_refuse()]),
        // udp dport 65053 goto refuse
        steps([equal(field("udp", "dport"), port(DNS_PORT)), goto_refuse()]),
        // ip daddr { 127.0.0.0/8, OWN } accept
        steps([equal(field("ip", "daddr"), own_or_loopback(plan)), accept()]),
        // ip6 daddr ::1 accept
        steps([equal(field("ip6", "daddr"), text("::1")), accept()]),
        // icmp type destination-unreachable accept
        steps([equal(field("icmp", "type"), text("destination-unreachable")), accept()]),
        // icmpv6 type destination-unreachable accept
        steps([equal(field("icmpv6", "type"), text("destination-unreachable")), accept()]),
        // ct state established accept
        steps([ct_has("state", "established"), accept()]),
        // goto refuse
        steps([goto_refuse()]),
    ]);
    rules
}

/// One place to count, log and refuse. A TCP packet that opens no connection belongs to one that is
/// forgotten, so it is no attempt; an agent can make no such packet by itself.
pub(super) fn refuse() -> Vec<Vec<Step>> {
    vec![
        // tcp flags & (fin | syn | rst | ack) != syn counter goto answer
        steps([opens_nothing(), counter(), goto_answer()]),
        // limit rate over 200/second burst 400 packets counter log group 6 goto answer
        steps([over(LOGGED_PER_SECOND, LOGGED_BURST), counter(), log_to(NFLOG_REST), goto_answer()]),
        // counter log group 5
        steps([counter(), log_to(NFLOG_GROUP)]),
        // goto answer
        steps([goto_answer()]),
    ]
}

/// The answer to what is refused.
pub(super) fn answer() -> Vec<Vec<Step>> {
    let reset = Reject::new(Some(RejectType::TCPReset), None);
    let prohibited = Reject::new(Some(RejectType::ICMPX), Some(RejectCode::AdminProhibited));
    vec![
        // meta l4proto tcp reject with tcp reset
        steps([equal(meta(MetaKey::L4proto), text("tcp")), Statement::Reject(Some(reset))]),
        // reject with icmpx admin-prohibited
        steps([Statement::Reject(Some(prohibited))]),
    ]
}

/// The hook that sees the true device: `oifname` in the output hook can be stale.
pub(super) fn last() -> Vec<Vec<Step>> {
    vec![
        // oifname "lo" accept
        steps([equal(meta(MetaKey::Oifname), text("lo")), Statement::Accept(None)]),
        // counter
        steps([counter()]),
    ]
}

/// Decides about packets that come in.
pub(super) fn input() -> Vec<Vec<Step>> {
    // iifname "lo" accept
    vec![steps([equal(meta(MetaKey::Iifname), text("lo")), Statement::Accept(None)])]
}
