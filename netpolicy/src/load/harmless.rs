//! `network.harmless`: names that an agent asks for and does not need.

use super::host::host_of_map;
use super::rule::reason_of;
use super::shape::{self, list};
use super::side::Side;
use crate::policy::{Harmless, Layer};
use crate::yaml::{Findings, Node};

/// Reads the list. An entry has both keys: a name without a reason tells a person nothing.
pub(super) fn harmless(node: &Node, layer: Layer, findings: &mut Findings) -> Vec<Harmless> {
    let items = list(node, "`harmless` is a list", findings);
    items.iter().filter_map(|item| entry(item, layer, findings)).collect()
}

fn entry(item: &Node, layer: Layer, findings: &mut Findings) -> Option<Harmless> {
    let (mut host, mut reason, mut keys) = (None, None, 0);
    for (word, _, value) in shape::HARMLESS.pairs(item, layer, findings) {
        keys += 1;
        match word {
            "host" => host = host_of_map(value, Side::Deny, findings),
            _ => reason = reason_of(value, findings),
        }
    }
    if keys < 2 && !item.is_refused() {
        let hint = Some("write `{host: NAME, reason: telemetry}`".into());
        findings.push(item.place.error("harmless", "an entry has `host` and `reason`", hint));
    }
    Some(Harmless { host: host?, reason: reason? })
}
