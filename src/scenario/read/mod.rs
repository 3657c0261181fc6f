//! Reads a scenario file: whole types, or findings with their places.
//!
//! ```text
//!  text ──netpolicy::yaml──▶ Node ─┬─ here: image, command, policy, project, env, cases
//!                                  ├─ network: conditions and their moments
//!                                  └─ expect: expectations
//! ```

mod expect;
mod keys;
mod network;
mod words;

use std::collections::BTreeMap;

use netpolicy::diagnostic::Diagnostic;
use netpolicy::yaml::shapes::{list, map, string, wrong_type};
use netpolicy::yaml::{self, Findings, Node, Value};

#[cfg(test)]
pub(super) use self::keys::{ATTEMPTS, CASE as CASE_KEYS, COUNT, EXPECT, FILE, STEP, TOP as TOP_KEYS};
use self::keys::{CASE, TOP};
use super::plan::{Case, NetworkPlan, Scenario};

/// Cases of one file.
const MOST_CASES: usize = 200;
/// Characters of a case's name.
const LONGEST_NAME: usize = 200;
/// Bytes of a text that becomes a word of a command line.
const LONGEST_WORD: usize = 128 << 10;

/// Reads a scenario.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn scenario(file: &str, text: &str) -> Result<Scenario, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let root = yaml::parse(file, text, &mut findings);
    let read = match &root {
        Some(root) => top(root, &mut findings),
        None if findings.has_errors() => None,
        None => {
            let hint =
                "begin with `image:` and `cases:`, or have a first one written: ringfence test --init IMAGE";
            let place = yaml::SourcePlace::file(file);
            findings.push(place.error("empty", "the scenario is empty", Some(hint.into())));
            None
        }
    };
    match read.filter(|_| !findings.has_errors()) {
        Some(scenario) => Ok(scenario),
        None => Err(findings.finish(file)),
    }
}

/// Reads the file's mapping.
fn top(root: &Node, findings: &mut Findings) -> Option<Scenario> {
    let (mut image, mut cases) = (None, None);
    let mut scenario = Scenario {
        image: String::new(),
        command: Vec::new(),
        policies: Vec::new(),
        project: None,
        env: Vec::new(),
        cases: Vec::new(),
    };
    for (word, key, value) in TOP.pairs(root, findings) {
        match word {
            "image" => image = Some(read_image(value, findings)),
            "command" => scenario.command = words::all(value, "command", findings),
            "policy" => scenario.policies = one_or_more(value, "a policy such as `gitlab@1`", findings),
            "project" => scenario.project = path_of_person(value, findings),
            "env" => scenario.env = variables(value, findings),
            _ => cases = Some(read_cases(key, value, findings)),
        }
    }
    if !root.is_refused() && matches!(root.value, Value::Map(_)) {
        for (is_there, key) in [(image.is_some(), "image"), (cases.is_some(), "cases")] {
            if !is_there {
                let hint =
                    if key == "image" { "write `image: NAME`" } else { "write `cases:` and a list of cases" };
                findings.push(root.place.error(
                    "missing",
                    format!("a scenario needs `{key}`"),
                    Some(hint.into()),
                ));
            }
        }
    }
    scenario.image = image??;
    scenario.cases = cases?;
    Some(scenario)
}

/// Tells whether a text may be the name of an image.
pub(crate) fn is_image(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_image(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "an image such as `my-agent:dev`", findings)?;
    let good = is_image(text);
    if !good {
        let hint = Some("write it as for `ringfence run`".into());
        findings.push(node.place.error("image", format!("`{text}` is no name of an image"), hint));
    }
    good.then(|| text.to_owned())
}

/// Reads a text, or a list of texts, none of them empty.
fn one_or_more(node: &Node, expected: &str, findings: &mut Findings) -> Vec<String> {
    let nodes = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut found = Vec::new();
    for item in nodes {
        let Some(text) = string(item, expected, findings) else { continue };
        if text.is_empty() || text.starts_with('-') || text.contains('\0') || text.len() > LONGEST_WORD {
            let hint = Some(format!("write {expected}"));
            findings.push(item.place.error("text", format!("`{}` cannot be meant", shown(text)), hint));
        } else {
            found.push(text.to_owned());
        }
    }
    found
}

/// Reads the path of a directory.
fn path_of_person(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a directory such as `.`", findings)?;
    if text.is_empty() || text.contains('\0') || text.len() > 4096 {
        let hint = Some("write a path, from the folder of this file".into());
        findings.push(node.place.error("path", "that is no path", hint));
        return None;
    }
    Some(text.to_owned())
}

/// Reads variables: a name with a text, or with nothing for the caller's value.
fn variables(node: &Node, findings: &mut Findings) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in map(node, "`env` is a mapping of variables", findings) {
        let Value::Scalar { text: name, .. } = &key.value else { continue };
        let bad = name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace);
        if bad || name.len() > 1024 {
            let hint = Some("write `NAME: value`, or `NAME:` for the value that it has here".into());
            findings.push(key.place.error(
                "variable",
                format!("`{}` is no name of a variable", shown(name)),
                hint,
            ));
            continue;
        }
        match &value.value {
            Value::Refused => {}
            Value::Scalar { .. } if value.kind() == "nothing" => found.push(name.clone()),
            Value::Scalar { text, .. } if !text.contains('\0') && text.len() <= LONGEST_WORD => {
                found.push(format!("{name}={text}"));
            }
            _ => {
                let hint =
                    Some(format!("write `{name}: value`, or `{name}:` for the value that it has here"));
                findings.push(wrong_type(value, &format!("the variable `{name}` is a text"), hint));
            }
        }
    }
    found
}

/// Reads the cases.
fn read_cases(key: &Node, node: &Node, findings: &mut Findings) -> Vec<Case> {
    let items = list(node, "`cases` is a list", findings);
    if items.is_empty() && matches!(node.value, Value::List(_)) {
        let hint = Some("write a case: `- {name: …, network: denied, expect: {exit: nonzero}}`".into());
        findings.push(key.place.error("missing", "there is no case", hint));
    }
    if items.len() > MOST_CASES {
        let message = format!("{} cases, and one file has at most {MOST_CASES}", items.len());
        findings.push(key.place.error("too-many-cases", message, Some("put some into another file".into())));
        return Vec::new();
    }
    let mut names = BTreeMap::new();
    items.iter().filter_map(|item| read_case(item, &mut names, findings)).collect()
}

fn read_case(node: &Node, names: &mut BTreeMap<String, u32>, findings: &mut Findings) -> Option<Case> {
    let (mut name, mut network, mut expect) = (None, NetworkPlan::Permitted, None);
    for (word, _, value) in CASE.pairs(node, findings) {
        match word {
            "name" => name = Some(case_name(value, names, findings)),
            "network" => network = network::network(value, findings),
            _ => expect = Some(expect::expectations(value, findings)),
        }
    }
    if !matches!(node.value, Value::Map(_)) {
        return None;
    }
    if name.is_none() {
        findings.push(node.place.error(
            "missing",
            "a case needs a name",
            Some("write `name: what it shows`".into()),
        ));
    }
    if expect.is_none() {
        let hint = Some("write `expect: {exit: zero}`, or what the agent must do".into());
        findings.push(node.place.error("missing", "a case without `expect` proves nothing", hint));
    }
    Some(Case { name: name??, network, expect: expect?, line: node.place.line() })
}

fn case_name(node: &Node, names: &mut BTreeMap<String, u32>, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a name such as `offline from the start`", findings)?;
    if text.trim().is_empty() || text.chars().count() > LONGEST_NAME || text.contains(char::is_control) {
        let message = format!("a name is one line of 1 to {LONGEST_NAME} characters");
        findings.push(node.place.error("name", message, None));
        return None;
    }
    if let Some(first) = names.insert(text.to_owned(), node.place.line()) {
        let message = format!("two cases are called `{text}`; the first is in line {first}");
        findings.push(node.place.error("name", message, Some("give each case a name of its own".into())));
        return None;
    }
    Some(text.to_owned())
}

/// Shortens a text for a message.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
