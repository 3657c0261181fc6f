//! `workspace`, `credentials` and `notice`: what of the project's files is hidden, which tokens may
//! be given away, and what the agent is told.

use super::container::seconds;
use super::draft::{Draft, Set};
use super::shape::{self, list, string};
use crate::policy::Layer;
use crate::settings::NoticeDetail;
use crate::yaml::{Findings, Node};

/// Reads `workspace` into the draft; the lists of all layers add up.
pub(super) fn workspace(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (word, _, value) in shape::WORKSPACE.pairs(node, layer, findings) {
        if word == "hide-committed" {
            // No layer takes back what another one demands.
            draft.workspace.hide_committed |=
                shape::boolean(value, "`hide-committed`", findings).unwrap_or(false);
            continue;
        }
        let expected = format!("`{word}` is a list");
        let read = list(value, &expected, findings).iter().filter_map(|item| pattern(item, word, findings));
        let read: Vec<String> = read.collect();
        match word {
            "mask" => draft.workspace.mask.extend(read),
            "unmask" => draft.workspace.unmask.extend(read),
            _ => {}
        }
    }
}

/// Reads a path below the project, in which `*` and `?` stand for parts of a name and `**` for any
/// folders.
fn pattern(node: &Node, word: &str, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a path below the project, such as `tests/keys`", findings)?;
    match pattern_fault(text, word) {
        None => Some(text.to_owned()),
        Some((why, hint)) => {
            let message = format!("`{text}` cannot stand in `{word}`: {why}");
            findings.push(node.place.error("path", message, Some(hint.into())));
            None
        }
    }
}

/// Returns the fault of a pattern of `mask` or `unmask`, and the advice what to write.
pub fn pattern_fault(text: &str, word: &str) -> Option<(&'static str, &'static str)> {
    let everything = text.chars().all(|c| matches!(c, '*' | '/' | '.' | '?'));
    if text.is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
        return Some(("it is no path", "write a path below the project, such as `tests/keys`"));
    }
    if text.starts_with('/') || text.starts_with('~') {
        return Some(("it is not below the project", "write it as seen from the project's directory"));
    }
    if text.split('/').any(|part| part == "..") {
        return Some(("`..` leads out of the project", "write it as seen from the project's directory"));
    }
    if text.contains(['[', ']', '{', '}', '\\']) {
        return Some(("only `*`, `**` and `?` stand for other letters", "write one line for each path"));
    }
    (everything && word == "unmask")
        .then_some(("it would show every secret of the project", "name the files that are no secrets"))
}

/// Reads `credentials` into the draft.
pub(super) fn credentials(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (word, _, value) in shape::CREDENTIALS.pairs(node, layer, findings) {
        let place = &value.place;
        match word {
            "scopes" => {
                let items = list(value, "`scopes` is a list", findings);
                let mut scopes: Vec<String> = items.iter().filter_map(|item| scope(item, findings)).collect();
                scopes.sort();
                scopes.dedup();
                draft.scopes = Set::at(scopes, place);
            }
            "max-lifetime" => {
                if let Some(seconds) = seconds(value, "max-lifetime", findings) {
                    draft.max_lifetime = Set::at(seconds, place);
                }
            }
            _ => {}
        }
    }
}

/// Reads `notice` into the draft. No file and no layer takes back that the notice is brief.
pub(super) fn notice(node: &Node, draft: &mut Draft, findings: &mut Findings) {
    let Some(text) = string(node, "`full` or `brief`", findings) else { return };
    match NoticeDetail::ALL.iter().find(|(word, _)| *word == text) {
        Some((_, detail)) => draft.notice = draft.notice.max(*detail),
        None => {
            let message = format!("`{text}` is not `full` or `brief`");
            let hint = "`brief` keeps the names of hosts and covered paths from the agent's notice";
            findings.push(node.place.error("notice", message, Some(hint.into())));
        }
    }
}

fn scope(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a scope such as `ai_workflows`", findings)?;
    let good = (1..=60).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !good {
        let hint = Some("write it as GitLab does, such as `ai_workflows` or `read_api`".into());
        findings.push(node.place.error("scope", format!("`{text}` is no scope of a token"), hint));
    }
    good.then(|| text.to_owned())
}
