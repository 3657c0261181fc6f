//! Scripts that a package manager runs at an install, told apart from a project's other scripts:
//! few people think of an install as running the project.

use serde_json::{Map, Value};

use super::kinds::{Kind, Tier};
use super::record::{Digest, digest};

/// npm and its relatives run these in the project at `npm install`.
const NPM: [&str; 11] = [
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "dependencies",
    "predependencies",
    "postdependencies",
    "pnpm:devPreinstall",
];
/// Composer runs these, and what else is called like them, at `composer install`.
const COMPOSER: [&str; 4] = ["pre-", "post-", "init", "command"];

/// Tells whether a file of this name can name scripts that run at an install.
pub(super) fn is_asked(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"package.json") || name.eq_ignore_ascii_case(b"composer.json")
}

/// Finds the scripts that run at an install: returns a name to append to the file's own, the kind,
/// and a digest. Returns nothing when none runs.
pub(crate) fn of(name: &[u8], text: &[u8]) -> Option<(&'static str, Kind, Digest)> {
    let name = name.to_ascii_lowercase();
    let is_composer = name == b"composer.json";
    if !is_composer && name != b"package.json" {
        return None;
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let whole: Value = serde_json::from_slice(text).ok()?;
    let scripts = whole.get("scripts").and_then(Value::as_object).cloned().unwrap_or_default();
    let runs = |name: &str| match is_composer {
        true => COMPOSER.iter().any(|start| name.starts_with(start)),
        false => NPM.contains(&name),
    };
    let mut parts: Map<String, Value> = scripts.into_iter().filter(|(name, _)| runs(name)).collect();
    let others: &[&str] = match is_composer {
        true => &["/config/allow-plugins", "/config/bin-dir", "/config/vendor-dir"],
        // Which program npm is, and whose scripts run.
        false => &[
            "/packageManager",
            "/devEngines",
            "/pnpm",
            "/trustedDependencies",
            "/dependenciesMeta",
            "/gypfile",
        ],
    };
    for pointer in others {
        parts.extend(whole.pointer(pointer).map(|value| ((*pointer).to_owned(), value.clone())));
    }
    let (suffix, why) = match is_composer {
        true => (" (at `composer install`)", "Composer: scripts and plugins at an install"),
        false => (" (at `npm install`)", "npm and relatives: scripts at an install"),
    };
    let kind = Kind { tier: Tier::Command, place: 0, pattern: usize::MAX - usize::from(is_composer), why };
    (!parts.is_empty()).then(|| (suffix, kind, digest(Value::Object(parts).to_string().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_at_an_install_is_known_and_the_rest_changes_nothing() {
        let print = |text: &str| of(b"package.json", text.as_bytes()).map(|(.., print)| print);
        assert_eq!(print(r#"{"scripts": {"test": "x", "build": "y"}, "dependencies": {"a": "1"}}"#), None);
        let some = print(r#"{"scripts": {"test": "x", "postinstall": "y"}}"#);
        assert!(some.is_some());
        assert_eq!(
            some,
            print("\u{feff}{\"version\": \"2\", \"scripts\": {\"postinstall\": \"y\", \"test\": \"z\"}}")
        );
        assert_ne!(some, print(r#"{"scripts": {"postinstall": "evil"}}"#));
        assert!(print(r#"{"packageManager": "yarn@https://evil.test/y.js"}"#).is_some());
        assert!(of(b"composer.json", br#"{"scripts": {"post-autoload-dump": "x"}}"#).is_some());
        assert!(of(b"other.json", br#"{"scripts": {"postinstall": "x"}}"#).is_none());
    }
}
