//! Rules of the condition `cut`: packets are dropped silently.
//!
//! ```text
//!  agent ── TCP ──▶ raw_out: gone, before any redirection, so that the log shows where it was going
//!        ── UDP ──▶ out: let through ─▶ raw_in: gone, since a drop on the way out is an error at the send, no silence
//!  guard ─────────▶ gone in raw_out (all), or in raw_in by the address that it answers for
//! ```
//! Questions over UDP do arrive at the DNS filter, which says nothing to them and has their names
//! for the log; were it to answer, the answer would vanish too.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftables::expr::{Expression, MetaKey};
use nftables::stmt::{JumpTarget, Statement};

use super::limits::{LOGGED_BURST, LOGGED_PER_SECOND};
use super::plan::{Cut, FencePlan};
use super::sockets::{DNS_PORT, GATE_PORT, NFLOG_GROUP, NFLOG_REST};
use super::steps::{
    Step, any_of, counter, equal, field, log_to, meta, not_equal, opens_nothing, over, own_or_loopback, port,
    range, steps, text,
};

/// The chain in which packets vanish; there is none while nothing is cut.
pub(super) const CHAIN: &str = "vanish";

/// Matches the agent's packets that are cut, by their destination.
fn cut_off(plan: &FencePlan) -> Option<Statement<'static>> {
    match &plan.cut {
        Cut::Nothing => None,
        Cut::Only(addresses) if addresses.is_empty() => None,
        Cut::Only(addresses) => Some(equal(field("ip", "daddr"), set(addresses))),
        Cut::All => Some(not_equal(field("ip", "daddr"), own_or_loopback(plan))),
    }
}

/// ```text
/// tcp flags & (fin | syn | rst | ack) != syn counter drop
/// limit rate over 200/second burst 400 packets counter log group 6 drop
/// counter log group 5
/// drop
/// ```
pub(super) fn vanish(plan: &FencePlan) -> Vec<Vec<Step>> {
    if cut_off(plan).is_none() {
        return Vec::new();
    }
    let drop = || Statement::Drop(None);
    vec![
        steps([opens_nothing(), counter(), drop()]),
        steps([over(LOGGED_PER_SECOND, LOGGED_BURST), counter(), log_to(NFLOG_REST), drop()]),
        steps([counter(), log_to(NFLOG_GROUP)]),
        steps([drop()]),
    ]
}

/// ```text
/// tcp sport { 65053, 65443 } drop                          # all
/// tcp dport 53 goto vanish                                 # all
/// meta l4proto tcp ip daddr … goto vanish
/// ```
pub(super) fn raw_out(plan: &FencePlan) -> Vec<Vec<Step>> {
    let Some(cut_off) = cut_off(plan) else { return Vec::new() };
    let mut rules = Vec::new();
    if plan.cut == Cut::All {
        let of_the_guard = equal(field("tcp", "sport"), any_of([port(DNS_PORT), port(GATE_PORT)]));
        rules.push(steps([of_the_guard, Statement::Drop(None)]));
        rules.push(steps([equal(field("tcp", "dport"), port(53)), goto_vanish()]));
    }
    rules.push(steps([equal(meta(MetaKey::L4proto), text("tcp")), cut_off, goto_vanish()]));
    rules
}

/// ```text
/// meta l4proto != tcp ip daddr … accept
/// ```
pub(super) fn out(plan: &FencePlan) -> Vec<Vec<Step>> {
    let accepted = |cut_off| steps([no_tcp(), cut_off, Statement::Accept(None)]);
    cut_off(plan).map(accepted).into_iter().collect()
}

/// ```text
/// meta l4proto != tcp ip daddr … goto vanish
/// udp sport 53 drop                                        # all: an answer has its old source again here
/// ip saddr … drop                                          # those addresses
/// ```
pub(super) fn raw_in(plan: &FencePlan) -> Vec<Vec<Step>> {
    let Some(cut_off) = cut_off(plan) else { return Vec::new() };
    let answers = match &plan.cut {
        Cut::Only(addresses) => equal(field("ip", "saddr"), set(addresses)),
        Cut::Nothing | Cut::All => equal(field("udp", "sport"), port(53)),
    };
    vec![steps([no_tcp(), cut_off, goto_vanish()]), steps([answers, Statement::Drop(None)])]
}

fn no_tcp() -> Statement<'static> {
    not_equal(meta(MetaKey::L4proto), text("tcp"))
}

fn goto_vanish() -> Statement<'static> {
    Statement::Goto(JumpTarget { target: CHAIN.into() })
}

fn set(addresses: &[Ipv4Addr]) -> Expression<'static> {
    any_of(addresses.iter().map(|address| range(Ipv4Net::from(*address))))
}
