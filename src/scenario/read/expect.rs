//! `expect` of a case.

use std::path::{Component, Path};
use std::time::Duration;

use netpolicy::yaml::shapes::{list, map, string, whole_number, wrong_type};
use netpolicy::yaml::{Findings, Node, Value};

use super::keys::{ATTEMPTS, COUNT, EXPECT, FILE};
use super::{shown, words};
use crate::scenario::plan::{AttemptsExpected, CountExpected, ExitExpected, Expectations, FileExpected};
use crate::scenario::target::TargetPattern;

/// The greatest number of attempts that is counted to.
pub(super) const MOST_ATTEMPTS: u64 = 10_000;

/// Reads `expect`.
pub(super) fn expectations(node: &Node, findings: &mut Findings) -> Expectations {
    let mut expect = Expectations::default();
    let pairs = EXPECT.pairs(node, findings);
    if pairs.is_empty() && matches!(&node.value, Value::Map(pairs) if pairs.is_empty()) {
        let hint = Some("write `{exit: zero}`, or what the agent must do".into());
        findings.push(node.place.error("missing", "`expect` expects nothing", hint));
    }
    for (word, _, value) in pairs {
        match word {
            "exit" => expect.exit = exit(value, findings),
            "within" => expect.within = words::time(value, "within", Duration::from_secs(1), findings),
            "stdout" => expect.stdout = words::patterns(value, "stdout", findings),
            "stderr" => expect.stderr = words::patterns(value, "stderr", findings),
            "files" => expect.files = files(value, findings),
            _ => expect.attempts = attempts(value, findings),
        }
    }
    expect
}

fn exit(node: &Node, findings: &mut Findings) -> Option<ExitExpected> {
    match node.as_str() {
        Some("zero") => Some(ExitExpected::Status(0)),
        Some("nonzero") => Some(ExitExpected::NonZero),
        Some(other) => {
            let hint = Some("write `zero`, `nonzero` or a number".into());
            findings.push(node.place.error("exit", format!("`{}` is no exit status", shown(other)), hint));
            None
        }
        None => {
            let number = whole_number(node, 0, 255, "exit", findings)?;
            u8::try_from(number).ok().map(ExitExpected::Status)
        }
    }
}

fn files(node: &Node, findings: &mut Findings) -> Vec<(String, FileExpected)> {
    let mut found = Vec::new();
    for (key, value) in map(node, "`files` is a mapping of paths", findings) {
        let Value::Scalar { text: path, .. } = &key.value else { continue };
        let inside = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || path.len() > 4096 || path.contains('\0') || !inside(Path::new(path)) {
            let message = format!("`{}` is no path below the project", shown(path));
            findings.push(key.place.error(
                "path",
                message,
                Some("write a path such as `src/main.rs`".into()),
            ));
            continue;
        }
        if let Some(expected) = file(value, findings) {
            found.push((path.clone(), expected));
        }
    }
    found
}

fn file(node: &Node, findings: &mut Findings) -> Option<FileExpected> {
    match (node.as_str(), &node.value) {
        (Some("exists"), _) => Some(FileExpected::Exists),
        (Some("absent"), _) => Some(FileExpected::Absent),
        (None, Value::Map(_)) => {
            let pairs = FILE.pairs(node, findings);
            let (_, _, value) = pairs.first()?;
            words::pattern(value, "matches", findings).map(FileExpected::Matches)
        }
        (None, Value::Refused) => None,
        _ => {
            let hint = Some("write `exists`, `absent` or `{matches: PATTERN}`".into());
            findings.push(wrong_type(node, "a file is expected to be something else", hint));
            None
        }
    }
}

fn attempts(node: &Node, findings: &mut Findings) -> AttemptsExpected {
    let mut expect = AttemptsExpected::default();
    for (word, _, value) in ATTEMPTS.pairs(node, findings) {
        match word {
            "none" => expect.none = some_targets(value, word, findings),
            "only" => expect.only = Some(targets(value, word, findings)),
            "some" => expect.some = some_targets(value, word, findings),
            "counts" => {
                let items = list(value, "`counts` is a list", findings);
                expect.counts = items.iter().filter_map(|item| count(item, findings)).collect();
            }
            "per-second" => expect.per_second = whole_number(value, 1, MOST_ATTEMPTS, word, findings),
            _ => expect.gave_up_within = words::time(value, word, Duration::from_millis(1), findings),
        }
    }
    if expect.is_empty() && matches!(&node.value, Value::Map(pairs) if pairs.is_empty()) {
        let hint = Some("write `{none: [\"*.corp.example\"]}` or another expectation".into());
        findings.push(node.place.error("missing", "`attempts` expects nothing", hint));
    }
    expect
}

/// Reads targets, of which there is at least one.
fn some_targets(node: &Node, what: &str, findings: &mut Findings) -> Vec<TargetPattern> {
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        let hint = Some("name a target, or write `only: []` for no attempt at all".into());
        findings.push(node.place.error("missing", format!("`{what}` names no target"), hint));
    }
    targets(node, what, findings)
}

fn targets(node: &Node, what: &str, findings: &mut Findings) -> Vec<TargetPattern> {
    let items = list(node, &format!("`{what}` is a list of targets"), findings);
    items.iter().filter_map(|item| target(item, findings)).collect()
}

fn target(node: &Node, findings: &mut Findings) -> Option<TargetPattern> {
    let text = string(node, "a target such as `api.example.com:443`", findings)?;
    match text.parse() {
        Ok(target) => Some(target),
        Err(why) => {
            let hint =
                "write `api.example.com`, `\"*.corp.example\"`, `api.example.com:443` or `tcp://10.0.0.0/8`";
            let message = format!("`{}` is no target: {why}", shown(text));
            findings.push(node.place.error("target", message, Some(hint.into())));
            None
        }
    }
}

fn count(node: &Node, findings: &mut Findings) -> Option<CountExpected> {
    let mut count = CountExpected { target: None, least: None, most: None };
    for (word, _, value) in COUNT.pairs(node, findings) {
        match word {
            "target" => count.target = Some(target(value, findings)?),
            "least" => count.least = Some(whole_number(value, 1, MOST_ATTEMPTS, word, findings)?),
            _ => count.most = Some(whole_number(value, 0, MOST_ATTEMPTS, word, findings)?),
        }
    }
    if !matches!(node.value, Value::Map(_)) {
        return None;
    }
    match (count.least, count.most) {
        (None, None) => {
            let hint = Some("write `{target: NAME, least: 1, most: 5}`, with one bound or both".into());
            findings.push(node.place.error("missing", "a count needs `least` or `most`", hint));
            None
        }
        (Some(least), Some(most)) if least > most => {
            let message = format!("no number is at least {least} and at most {most}");
            findings.push(node.place.error("number", message, None));
            None
        }
        _ => Some(count),
    }
}
