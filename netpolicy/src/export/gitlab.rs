//! `network_policy` of GitLab's `.gitlab/duo/agent-config.yml`: lists of names, for every port.
//!
//! <https://docs.gitlab.com/user/duo_agent_platform/environment_sandbox/>: `x.example` is that
//! name, `*.x.example` what is below it, at most 1000 entries a list, denials win.

use std::sync::Arc;

use serde_json::{Value, json};

use super::exported::ExportError;
use super::grants::{about, note_expiry, overall, without};
use crate::host::HostPattern;
use crate::note::{Note, NoteKind};
use crate::policy::{Matcher, Policy, Rule};

const MOST: usize = 1000;

pub(super) fn write(grants: &[Rule], policy: &Policy, notes: &mut Vec<Note>) -> Result<Value, ExportError> {
    let mut denied = Vec::new();
    let mut unsaid: Vec<&Arc<Rule>> = Vec::new();
    for rule in &policy.deny {
        match &rule.matcher {
            Matcher::Cidr(_) => {
                notes.push(about(
                    NoteKind::Wider,
                    rule,
                    "GitLab cannot refuse addresses: names that resolve to them are reached",
                ));
            }
            Matcher::Host(pattern) => match entries(pattern) {
                Some(names) => {
                    if !rule.ports.is_empty() {
                        notes.push(about(NoteKind::Narrower, rule, "refused there on every port"));
                    }
                    denied.extend(names);
                }
                None => unsaid.push(rule),
            },
        }
    }
    let mut allowed = Vec::new();
    let grants = without(grants, &unsaid, notes);
    for rule in &grants {
        match &rule.matcher {
            Matcher::Cidr(_) => notes.push(about(NoteKind::LeftOut, rule, "GitLab's list holds names")),
            Matcher::Host(pattern) => match entries(pattern) {
                Some(names) => allowed.extend(names),
                None => notes.push(about(
                    NoteKind::LeftOut,
                    rule,
                    "a name without a dot, which GitLab does not take",
                )),
            },
        }
    }
    if !allowed.is_empty() {
        notes.push(overall(NoteKind::Wider, "ports", "GitLab's entries mean every port"));
        notes.push(overall(NoteKind::Wider, "checks", "neither the SNI nor the addresses behind a name are checked there; localhost, the host and the GitLab instance are always reachable"));
        note_expiry(&grants, notes);
    }
    for list in [&mut allowed, &mut denied] {
        let mut seen = std::collections::HashSet::new();
        list.retain(|entry: &String| seen.insert(entry.clone()));
        if list.len() > MOST {
            return Err(ExportError::TooMany { count: list.len(), most: MOST });
        }
    }
    Ok(json!({"network_policy": {
        "allow_all_unix_sockets": false,
        "allowed_domains": allowed,
        "denied_domains": denied,
        "include_recommended_allowed": false,
    }}))
}

/// Returns the entries that say the same as a pattern; none for a pattern that GitLab's list
/// refuses to hold.
fn entries(pattern: &HostPattern) -> Option<Vec<String>> {
    let name = pattern.name().as_str();
    if !name.contains('.') {
        return None;
    }
    Some(match pattern {
        HostPattern::Exact(_) => vec![name.to_owned()],
        HostPattern::Below(_) => vec![format!("*.{name}")],
        HostPattern::AtOrBelow(_) => vec![name.to_owned(), format!("*.{name}")],
    })
}
