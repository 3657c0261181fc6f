//! `network` of a case: permitted, denied, or conditions and their moments.

use std::time::Duration;

use netpolicy::host::HostPattern;
use netpolicy::yaml::shapes::{nearest, string, wrong_type};
use netpolicy::yaml::{Findings, Node, Value};

use super::keys::STEP;
use super::{shown, words};
use crate::scenario::plan::{Moment, NetworkPlan, Step};
use crate::wire::conditions::{Applied, Condition};
use crate::wire::planned::ConditionChange;

/// Steps of one case.
const MOST_STEPS: usize = 100;
/// Words that a network is.
const FORMS: &str = "`network` is `permitted`, `denied`, or a list of conditions";

/// Reads `network`.
pub(super) fn network(node: &Node, findings: &mut Findings) -> NetworkPlan {
    match &node.value {
        Value::List(items) if items.len() > MOST_STEPS => {
            let message = format!("{} steps, and a case has at most {MOST_STEPS}", items.len());
            findings.push(node.place.error("too-many-steps", message, None));
            NetworkPlan::Denied
        }
        Value::List(items) => {
            NetworkPlan::Steps(items.iter().filter_map(|item| step(item, findings)).collect())
        }
        Value::Refused => NetworkPlan::Denied,
        _ => match node.as_str() {
            Some("permitted") => NetworkPlan::Permitted,
            Some("denied") => NetworkPlan::Denied,
            Some(other) => {
                let near = nearest(other, &["permitted", "denied"]);
                let hint = match (other.parse::<Condition>(), near) {
                    (_, Some(near)) => format!("did you mean `{near}`?"),
                    (Ok(_), None) => {
                        format!("write `[{{at: 0s, do: {other}}}]` for a condition from the start")
                    }
                    (Err(_), None) => {
                        "write `denied`, or `[{at: 5s, do: cut}, {at: 15s, do: restore}]`".to_owned()
                    }
                };
                findings.push(node.place.error(
                    "network",
                    format!("{FORMS}, this is `{}`", shown(other)),
                    Some(hint),
                ));
                NetworkPlan::Denied
            }
            None => {
                findings.push(wrong_type(node, FORMS, Some("begin every condition with `- `".into())));
                NetworkPlan::Denied
            }
        },
    }
}

/// Reads one step.
fn step(node: &Node, findings: &mut Findings) -> Option<Step> {
    let (mut moments, mut change, mut host, mut wrong) = (Vec::new(), None, None, false);
    for (word, key, value) in STEP.pairs(node, findings) {
        let read = match word {
            "at" => words::time(value, "at", Duration::ZERO, findings).map(|time| {
                moments.push(if time.is_zero() { Moment::Start } else { Moment::After(time) });
            }),
            "on" => on(value, findings).map(|moment| moments.push(moment)),
            "do" => action(value, findings).map(|action| change = Some(action)),
            _ => pattern(value, "host", findings).map(|name| host = Some((name, key))),
        };
        wrong |= read.is_none();
    }
    if wrong || !matches!(node.value, Value::Map(_)) {
        return None;
    }
    let [when] = moments.as_slice() else {
        let message = "a step has one moment: `at` or `on`";
        let hint = Some("write `at: 5s`, `at: 0s` for the start, or `on: \"connect HOST\"`".into());
        findings.push(node.place.error("moment", message, hint));
        return None;
    };
    let Some(change) = change else {
        let hint = Some("write `do: cut`, `do: restore` or another condition".into());
        findings.push(node.place.error("missing", "a step needs `do`", hint));
        return None;
    };
    let host = host.map(|(host, _)| host);
    let change = match change {
        Some(condition) => ConditionChange::Set(Applied { condition, host }),
        None if *when == Moment::Start => {
            let hint = Some("leave it out: nothing holds before the start".into());
            findings.push(node.place.error("moment", "`restore` at the start ends nothing", hint));
            return None;
        }
        None => ConditionChange::Restore(host),
    };
    Some(Step { when: when.clone(), change })
}

/// Reads `on`: a connection to a name.
fn on(node: &Node, findings: &mut Findings) -> Option<Moment> {
    let text = string(node, "`connect HOST`", findings)?;
    let mut parts = text.split_whitespace();
    let (Some("connect"), Some(host), None) = (parts.next(), parts.next(), parts.next()) else {
        let hint =
            Some("write `on: \"connect gitlab.com\"`: a connection is the only event that there is".into());
        findings.push(node.place.error("event", format!("`{}` is no event", shown(text)), hint));
        return None;
    };
    name(node, host, findings).map(Moment::OnConnect)
}

/// Reads `do`: a condition; none for `restore`.
fn action(node: &Node, findings: &mut Findings) -> Option<Option<Condition>> {
    let text = string(node, "a condition such as `cut`", findings)?;
    if text == "restore" {
        return Some(None);
    }
    match text.parse::<Condition>() {
        Ok(condition) => Some(Some(condition)),
        Err(error) => {
            let hint = "see docs/live.md for the conditions; `restore` ends them".to_owned();
            findings.push(node.place.error("condition", shown_error(&error.to_string()), Some(hint)));
            None
        }
    }
}

/// Shortens the words of an error that repeats a text.
fn shown_error(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Reads the pattern of names of a key.
fn pattern(node: &Node, what: &str, findings: &mut Findings) -> Option<HostPattern> {
    let text = string(node, &format!("a name for `{what}`"), findings)?;
    name(node, text, findings)
}

fn name(node: &Node, text: &str, findings: &mut Findings) -> Option<HostPattern> {
    match HostPattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let hint =
                Some("write a name such as `api.example.com` or `\"*.example.com\"`, without a port".into());
            findings.push(node.place.error(
                "host",
                format!("`{}` cannot be used: {error}", shown(text)),
                hint,
            ));
            None
        }
    }
}
