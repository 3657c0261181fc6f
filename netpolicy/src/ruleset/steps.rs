//! The words of a rule: what it looks at, and what it does.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nftables::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix, SetItem,
};
use nftables::stmt::{
    AnonymousCounter, CTCount, Counter, JumpTarget, Limit, Log, Mangle, Match, NAT, Operator, Statement,
};
use serde::Serialize;

use super::limits::FenceLimit;
use super::plan::FencePlan;

/// One statement of a rule. A list of the `nftables` crate cannot hold `notrack`: it writes a
/// string where nft wants an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Step {
    Plain(Box<Statement<'static>>),
    Untracked { notrack: () },
}

pub(super) fn steps(statements: impl IntoIterator<Item = Statement<'static>>) -> Vec<Step> {
    statements.into_iter().map(|statement| Step::Plain(Box::new(statement))).collect()
}

pub(super) fn untracked(statements: impl IntoIterator<Item = Statement<'static>>) -> Vec<Step> {
    let mut steps = steps(statements);
    steps.push(Step::Untracked { notrack: () });
    steps
}

pub(super) fn equal(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

pub(super) fn not_equal(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::NEQ })
}

pub(super) fn ct_has(key: &'static str, flag: &'static str) -> Statement<'static> {
    let left = Expression::Named(NamedExpression::CT(CT { key: key.into(), family: None, dir: None }));
    Statement::Match(Match { left, right: text(flag), op: Operator::IN })
}

pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

pub(super) fn text(text: &'static str) -> Expression<'static> {
    Expression::String(text.into())
}

pub(super) fn port(port: u16) -> Expression<'static> {
    Expression::Number(u32::from(port))
}

pub(super) fn any_of(items: impl IntoIterator<Item = Expression<'static>>) -> Expression<'static> {
    Expression::Named(NamedExpression::Set(items.into_iter().map(SetItem::Element).collect()))
}

pub(super) fn range(range: Ipv4Net) -> Expression<'static> {
    let address = Expression::String(range.addr().to_string().into());
    if range.prefix_len() == 32 {
        return address;
    }
    let prefix = Prefix { addr: Box::new(address), len: u32::from(range.prefix_len()) };
    Expression::Named(NamedExpression::Prefix(prefix))
}

pub(super) fn own_or_loopback(plan: &FencePlan) -> Expression<'static> {
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    any_of(Ipv4Net::aggregate(&vec![loopback, Ipv4Net::from(plan.own)]).into_iter().map(range))
}

pub(super) fn goto_refuse() -> Statement<'static> {
    Statement::Goto(JumpTarget { target: "refuse".into() })
}

pub(super) fn goto_answer() -> Statement<'static> {
    Statement::Goto(JumpTarget { target: "answer".into() })
}

/// Matches a pair that leads to the gate.
pub(super) fn permitted() -> Statement<'static> {
    let pair = NamedExpression::Concat(vec![field("ip", "daddr"), field("tcp", "dport")]);
    equal(Expression::Named(pair), text("@permit"))
}

/// Matches a TCP packet without SYN, or one that answers to a SYN.
pub(super) fn opens_nothing() -> Statement<'static> {
    /// FIN, SYN, RST, ACK.
    const JUDGED: u32 = 0x17;
    const SYN: u32 = 0x02;
    let flags = BinaryOperation::AND(field("tcp", "flags"), Expression::Number(JUDGED));
    not_equal(Expression::BinaryOperation(Box::new(flags)), Expression::Number(SYN))
}

pub(super) fn mark(limit: FenceLimit) -> Statement<'static> {
    let (key, value) = (meta(MetaKey::Mark), Expression::Number(limit.mark()));
    Statement::Mangle(Mangle { key, value })
}

/// Matches a packet that a limit has marked.
pub(super) fn marked(limit: FenceLimit) -> Statement<'static> {
    equal(meta(MetaKey::Mark), Expression::Number(limit.mark()))
}

pub(super) fn log_to(group: u16) -> Statement<'static> {
    Statement::Log(Some(Log::new(Some(u32::from(group)))))
}

pub(super) fn redirect(to: u16) -> Statement<'static> {
    Statement::Redirect(Some(NAT { addr: None, family: None, port: Some(port(to)), flags: None }))
}

pub(super) fn counter() -> Statement<'static> {
    Statement::Counter(Counter::Anonymous(Some(AnonymousCounter::default())))
}

pub(super) fn over(rate: u32, burst: u32) -> Statement<'static> {
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

pub(super) fn more_than(connections: u32) -> Statement<'static> {
    Statement::CTCount(CTCount { val: Expression::Number(connections), inv: Some(true) })
}
