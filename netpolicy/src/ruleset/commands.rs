//! Commands for nft: tables, sets and chains that are replaced whole, and rules in them.

use nftables::expr::{Expression, NamedExpression, Range};
use nftables::schema::{Chain, NfCmd, NfListObject, NfObject, Set, SetFlag, SetType, SetTypeValue, Table};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde::Serialize;

use super::plan::{FencePlan, Permit, without_overlaps};
use super::sockets::{PERMIT_SET, TABLE};
use super::steps::{Step, port, range};

/// Commands for `nft -j -f -`: serialise it and hand it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    pub(super) nftables: Vec<Object>,
}

impl Ruleset {
    /// Returns the JSON text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Object {
    Plain(NfObject<'static>),
    Rule { add: AddRule },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AddRule {
    pub(super) rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rule {
    pub(super) family: NfFamily,
    pub(super) table: &'static str,
    pub(super) chain: &'static str,
    pub(super) expr: Vec<Step>,
}

/// `set permit { type ipv4_addr . inet_service; flags interval; elements = { … } }`
pub(super) fn permit_set(plan: &FencePlan) -> Set<'static> {
    let elements: Vec<Expression<'static>> = without_overlaps(plan.permits.clone())
        .iter()
        .map(|permit| {
            let pair = vec![range(permit.range), ports(permit)];
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
pub(super) fn replaced_table(family: NfFamily) -> Vec<Object> {
    let table = || NfListObject::Table(Table { family, name: TABLE.into(), handle: None });
    vec![add(table()), Object::Plain(NfObject::CmdObject(NfCmd::Delete(table()))), add(table())]
}

fn ports(permit: &Permit) -> Expression<'static> {
    if permit.port == permit.last {
        return port(permit.port);
    }
    let ends = [port(permit.port), port(permit.last)];
    Expression::Range(Box::new(Range { range: ends }))
}

pub(super) fn base_chain(
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

pub(super) fn add(object: NfListObject<'static>) -> Object {
    Object::Plain(NfObject::CmdObject(NfCmd::Add(object)))
}
