//! Texts of a scenario: words of a command, times, patterns.

use std::time::Duration;

use netpolicy::yaml::shapes::{list, string, wrong_type};
use netpolicy::yaml::{Findings, Node, Value};

use super::LONGEST_WORD;
use crate::scenario::pattern::Pattern;

/// The longest time of a scenario.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 3600);
/// Words of a command.
const MOST_WORDS: usize = 10_000;

/// Reads the words of a command.
pub(super) fn all(node: &Node, what: &str, findings: &mut Findings) -> Vec<String> {
    let items = list(node, &format!("`{what}` is a list of words"), findings);
    if items.is_empty() && matches!(node.value, Value::List(_)) {
        let hint = Some("leave it out for the image's own command".into());
        findings.push(node.place.error("command", format!("`{what}` has no word"), hint));
    }
    let mut found = Vec::new();
    for item in items.iter().take(MOST_WORDS) {
        match &item.value {
            Value::Refused => {}
            Value::Scalar { text, .. }
                if item.kind() != "nothing" && !text.contains('\0') && text.len() <= LONGEST_WORD =>
            {
                found.push(text.clone());
            }
            _ => findings.push(wrong_type(item, &format!("a word of `{what}` is a text"), None)),
        }
    }
    found
}

/// Reads a time, from `least` to a day.
pub(super) fn time(node: &Node, what: &str, least: Duration, findings: &mut Findings) -> Option<Duration> {
    let text = match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, .. } => text.as_str(),
        _ => {
            findings.push(wrong_type(node, &format!("`{what}` is a time such as `30s`"), None));
            return None;
        }
    };
    let read = humantime::parse_duration(text).ok();
    let good = read.filter(|time| (least..=LONGEST_TIME).contains(time));
    if good.is_none() {
        let hint = match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => format!("a unit is missing: write `{text}s`"),
            false => "write a time such as `500ms`, `30s` or `2m`".to_owned(),
        };
        let least = humantime::format_duration(least);
        let message = format!("`{}` is no time for `{what}`, from {least} to a day", super::shown(text));
        findings.push(node.place.error("time", message, Some(hint)));
    }
    good
}

/// Reads a pattern, or a list of patterns.
pub(super) fn patterns(node: &Node, what: &str, findings: &mut Findings) -> Vec<Pattern> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| pattern(item, what, findings)).collect(),
        _ => pattern(node, what, findings).into_iter().collect(),
    }
}

/// Reads a pattern.
pub(super) fn pattern(node: &Node, what: &str, findings: &mut Findings) -> Option<Pattern> {
    let text = string(node, &format!("a pattern for `{what}`, such as `/no network/`"), findings)?;
    match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            let hint = Some(
                "write a regular expression, with `\\` before a character that is meant as it is".into(),
            );
            findings.push(node.place.error("pattern", format!("the pattern cannot be used: {why}"), hint));
            None
        }
    }
}
