//! Shapes that every part of a policy is read by: mappings, lists, texts, numbers, and what is said
//! when it is another.

use crate::diagnostic::Diagnostic;
use crate::policy::Layer;
use crate::yaml::{Findings, Node, Value};

/// A mapping of the language: what it is called in messages, its keys, and those that a project's
/// file may not hold.
pub(crate) struct Section {
    /// `a policy`, `` `network.dns` ``.
    pub(crate) name: &'static str,
    /// Every key.
    pub(crate) keys: &'static [&'static str],
    /// Keys that are for stronger layers than the project.
    pub(crate) not_in_project: &'static [&'static str],
}

pub(crate) const TOP: Section = Section {
    name: "a policy",
    keys: &[
        "version",
        "extends",
        "network",
        "container",
        "services",
        "images",
        "engine",
        "workspace",
        "credentials",
        "notice",
        "tests",
    ],
    not_in_project: &["services", "images", "engine", "credentials"],
};
pub(crate) const NETWORK: Section = Section {
    name: "`network`",
    keys: &["allow", "deny", "ceiling", "harmless", "observe", "dns", "proxy", "no-proxy"],
    not_in_project: &["ceiling", "dns", "proxy", "no-proxy"],
};
pub(crate) const DNS: Section = Section {
    name: "`network.dns`",
    keys: &["upstreams", "domains", "names-per-wildcard", "virtual-range", "upstream-fake-range"],
    not_in_project: &[],
};
pub(crate) const PROXY: Section = Section {
    name: "`network.proxy`",
    keys: &["url", "credentials-env", "resolves-names"],
    not_in_project: &[],
};
pub(crate) const CONTAINER: Section = Section {
    name: "`container`",
    keys: &["cpus", "memory", "pids", "open-files", "disk", "time", "capabilities", "runtime", "ca"],
    not_in_project: &["runtime", "ca"],
};
pub(crate) const SERVICE: Section =
    Section { name: "a service", keys: &["image", "env", "command", "ready", "within"], not_in_project: &[] };
pub(crate) const READY: Section = Section { name: "`ready`", keys: &["tcp", "command"], not_in_project: &[] };
pub(crate) const ENGINE: Section = Section { name: "`engine`", keys: &["require"], not_in_project: &[] };
pub(crate) const WORKSPACE: Section =
    Section { name: "`workspace`", keys: &["mask", "unmask", "hide-committed"], not_in_project: &["unmask"] };
pub(crate) const CREDENTIALS: Section =
    Section { name: "`credentials`", keys: &["scopes", "max-lifetime"], not_in_project: &[] };
pub(crate) const RULE: Section = Section {
    name: "a rule",
    keys: &[
        "host",
        "cidr",
        "ports",
        "protocol",
        "private",
        "reason",
        "expires",
        "resolved-by",
        "host-access",
    ],
    not_in_project: &["resolved-by", "host-access"],
};
pub(crate) const DENIAL: Section =
    Section { name: "a denial", keys: &["host", "cidr", "ports", "reason"], not_in_project: &[] };
pub(crate) const HARMLESS: Section =
    Section { name: "an entry of `harmless`", keys: &["host", "reason"], not_in_project: &[] };
pub(crate) const TEST: Section = Section { name: "a test", keys: &["allow", "deny"], not_in_project: &[] };

/// Sections in which a misplaced key is looked for.
const HOMES: &[(&Section, &str)] = &[
    (&NETWORK, "network"),
    (&DNS, "network.dns"),
    (&CONTAINER, "container"),
    (&SERVICE, "a service of `services`"),
    (&ENGINE, "engine"),
    (&WORKSPACE, "workspace"),
    (&CREDENTIALS, "credentials"),
    (&RULE, "a rule of `network.allow`"),
];

impl Section {
    /// Says what is wrong with a key that stands in this section and is not read; `false` for one
    /// that is.
    pub(super) fn refuses(&self, key: &Node, layer: Layer, findings: &mut Findings) -> bool {
        let Value::Scalar { text, .. } = &key.value else { return true };
        let text = text.as_str();
        if self.keys.contains(&text) {
            if layer == Layer::Project && self.not_in_project.contains(&text) {
                findings.push(not_for_projects(key, text));
                return true;
            }
            return false;
        }
        let hint = if let Some(near) = nearest(text, self.keys) {
            format!("did you mean `{near}`?")
        } else if let Some((_, home)) = HOMES.iter().find(|(section, _)| section.keys.contains(&text)) {
            format!("`{text}` belongs into {home}")
        } else {
            format!("{} knows {}", self.name, self.keys.join(", "))
        };
        let message = format!("`{text}` is no key of {}", self.name);
        findings.push(key.place.error("unknown-key", message, Some(hint)));
        true
    }

    /// Returns the pairs of a mapping whose keys are this section's, by the keys' words.
    pub(super) fn pairs<'n>(
        &self,
        node: &'n Node,
        layer: Layer,
        findings: &mut Findings,
    ) -> Vec<(&'n str, &'n Node, &'n Node)> {
        let pairs = map(node, &format!("{} is a mapping", self.name), findings);
        let mut known = Vec::new();
        for (key, value) in pairs {
            if let (false, Some(word)) = (self.refuses(key, layer, findings), key.as_str()) {
                known.push((word, key, value));
            }
        }
        known
    }
}

/// Reports a key that the project's file may not hold.
pub(super) fn not_for_projects(key: &Node, text: &str) -> Diagnostic {
    key.place.error(
        "layer",
        format!("`{text}` cannot be set by a project's policy"),
        Some("the organisation's, the user's or the run's policy may set it".into()),
    )
}

pub(super) fn wrong_type(node: &Node, expected: &str, hint: Option<String>) -> Diagnostic {
    node.place.error("wrong-type", format!("{expected}, this is {}", node.kind()), hint)
}

pub(super) fn map<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [(Node, Node)] {
    match &node.value {
        Value::Map(pairs) => pairs,
        Value::Refused => &[],
        _ => {
            findings.push(wrong_type(node, expected, None));
            &[]
        }
    }
}

pub(super) fn list<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Refused => &[],
        Value::Scalar { .. } if node.kind() == "nothing" => {
            findings.push(wrong_type(node, expected, Some("write `[]` for an empty list".into())));
            &[]
        }
        Value::Scalar { text, .. } => {
            findings.push(wrong_type(node, expected, Some(format!("write `[{text}]`"))));
            &[]
        }
        Value::Map(_) => {
            findings.push(wrong_type(node, expected, Some("begin every entry with `- `".into())));
            &[]
        }
    }
}

pub(super) fn string<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> Option<&'n str> {
    let found = node.as_str();
    if found.is_none() && !node.is_refused() {
        let hint = match &node.value {
            Value::Scalar { text, .. } if !text.is_empty() => {
                Some(format!("write \"{text}\" if it is meant as text"))
            }
            _ => None,
        };
        findings.push(wrong_type(node, &format!("expected {expected}"), hint));
    }
    found
}

pub(super) fn whole_number(
    node: &Node,
    least: u64,
    most: u64,
    what: &str,
    findings: &mut Findings,
) -> Option<u64> {
    let expected = format!("`{what}` is a whole number from {least} to {most}");
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a number" => {
            let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
            if number.is_none() {
                findings.push(node.place.error("number", format!("{expected}, this is {text}"), None));
            }
            number
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, &expected, None));
            None
        }
    }
}

/// Returns the known word within two edits, swaps of neighbours included.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 40 {
        return None;
    }
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .iter()
        .map(|other| (edits(word, other), *other))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

pub(super) fn boolean(node: &Node, what: &str, findings: &mut Findings) -> Option<bool> {
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a boolean" => {
            Some(text.starts_with(['t', 'T']))
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, &format!("{what} is `true` or `false`"), None));
            None
        }
    }
}
