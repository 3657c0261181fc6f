//! The mappings of a policy: the keys of each, and what is said about another.

use crate::diagnostic::Diagnostic;
use crate::policy::Layer;
pub(super) use crate::yaml::shapes::{boolean, list, map, nearest, string, whole_number, wrong_type};
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
    keys: &[
        "cpus",
        "memory",
        "pids",
        "open-files",
        "disk",
        "time",
        "connections",
        "connections-per-second",
        "capabilities",
        "runtime",
        "ca",
    ],
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
pub(crate) const TEST: Section =
    Section { name: "a test", keys: &["allow", "deny", "may", "never"], not_in_project: &[] };

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
