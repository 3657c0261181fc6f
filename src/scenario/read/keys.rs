//! The mappings of a scenario: the keys of each, and what is said about another.

use netpolicy::yaml::shapes::{map, nearest};
use netpolicy::yaml::{Findings, Node, Value};

/// A mapping of a scenario.
pub(crate) struct Keys {
    /// Name of the mapping in messages.
    pub(crate) name: &'static str,
    /// Every key.
    pub(crate) keys: &'static [&'static str],
}

pub(crate) const TOP: Keys =
    Keys { name: "a scenario", keys: &["image", "command", "policy", "project", "env", "cases"] };
pub(crate) const CASE: Keys = Keys { name: "a case", keys: &["name", "network", "expect"] };
pub(crate) const STEP: Keys = Keys { name: "a step of `network`", keys: &["at", "on", "do", "host"] };
pub(crate) const EXPECT: Keys =
    Keys { name: "`expect`", keys: &["exit", "within", "stdout", "stderr", "files", "attempts"] };
pub(crate) const FILE: Keys = Keys { name: "an expected file", keys: &["matches"] };
pub(crate) const ATTEMPTS: Keys =
    Keys { name: "`attempts`", keys: &["none", "only", "some", "counts", "per-second", "gave-up-within"] };
pub(crate) const COUNT: Keys = Keys { name: "an entry of `counts`", keys: &["target", "least", "most"] };

/// Mappings in which a misplaced key is looked for, each with its place.
const HOMES: &[(&Keys, &str)] = &[
    (&TOP, "the top of the file"),
    (&CASE, "a case"),
    (&STEP, "a step of a case's `network`"),
    (&EXPECT, "a case's `expect`"),
    (&ATTEMPTS, "`expect.attempts`"),
    (&COUNT, "an entry of `expect.attempts.counts`"),
];

impl Keys {
    /// Returns the pairs of a mapping by the words of their keys; other keys are findings.
    pub(crate) fn pairs<'n>(
        &self,
        node: &'n Node,
        findings: &mut Findings,
    ) -> Vec<(&'n str, &'n Node, &'n Node)> {
        let mut known = Vec::new();
        for (key, value) in map(node, &format!("{} is a mapping", self.name), findings) {
            let Value::Scalar { text, .. } = &key.value else { continue };
            if self.keys.contains(&text.as_str()) {
                known.push((text.as_str(), key, value));
                continue;
            }
            let hint = if let Some(near) = nearest(text, self.keys) {
                format!("did you mean `{near}`?")
            } else if let Some((_, home)) = HOMES.iter().find(|(keys, _)| keys.keys.contains(&text.as_str()))
            {
                format!("`{text}` belongs into {home}")
            } else {
                format!("{} knows {}", self.name, self.keys.join(", "))
            };
            let message = format!("`{}` is no key of {}", super::shown(text), self.name);
            findings.push(key.place.error("unknown-key", message, Some(hint)));
        }
        known
    }
}
