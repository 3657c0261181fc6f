//! A Kubernetes NetworkPolicy: ranges and ports; it knows no names.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>: nothing is refused
//! by rule, so a denied range becomes an `except` of the ranges it lies in.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::grants::{about, note_expiry};
use crate::note::{Note, NoteKind};
use crate::policy::{Matcher, Policy, Rule};

pub(super) fn write(grants: &[Rule], policy: &Policy, notes: &mut Vec<Note>) -> Value {
    let mut egress = Vec::new();
    let mut written = Vec::new();
    for rule in grants {
        let net = match &rule.matcher {
            Matcher::Cidr(net) => net,
            Matcher::Host(_) => {
                notes.push(about(NoteKind::LeftOut, rule, "a NetworkPolicy knows no names; Cilium's does"));
                continue;
            }
        };
        let Some(except) = exceptions(net, rule, policy, notes) else { continue };
        let mut block = json!({"cidr": net.to_string()});
        if !except.is_empty() {
            block["except"] = json!(except);
        }
        let ports: Vec<Value> =
            rule.ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
        egress.push(json!({"ports": ports, "to": [{"ipBlock": block}]}));
        written.push(rule.clone());
    }
    note_expiry(&written, notes);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "ringfence"},
        "spec": {
            "egress": egress,
            "podSelector": {"matchLabels": {"dev.ringfence.role": "agent"}},
            "policyTypes": ["Egress"],
        },
    })
}

/// Returns the ranges that are taken out of a permitted range; `None` when nothing of it is left.
fn exceptions(net: &IpNet, rule: &Rule, policy: &Policy, notes: &mut Vec<Note>) -> Option<Vec<String>> {
    let mut except = Vec::new();
    for denial in &policy.deny {
        let Matcher::Cidr(denied) = &denial.matcher else { continue };
        let on_port = denial.ports.is_empty() || denial.ports.iter().any(|port| rule.ports.contains(port));
        if !on_port || !(net.contains(denied) || denied.contains(net)) {
            continue;
        }
        if denied.contains(net) {
            notes.push(about(NoteKind::LeftOut, rule, "a denied range covers it"));
            return None;
        }
        if !denial.ports.is_empty() {
            notes.push(about(NoteKind::Narrower, denial, "refused there on every port"));
        }
        except.push(denied.to_string());
    }
    Some(except)
}
