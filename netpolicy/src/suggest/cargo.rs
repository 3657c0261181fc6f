//! cargo: the lockfile names the registry of every package.

use super::found::{Found, numbered, value_of};

/// How lockfiles name the default registry; it is reached elsewhere.
const DEFAULT: &[&str] =
    &["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io"];

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let lockfile = name == "Cargo.lock";
    let mut implied = false;
    for (line, content) in numbered(text) {
        if !lockfile && value_of(content, "replace-with").is_some() {
            found.mirrored(&["cargo"]);
        }
        let keys: &[&str] = if lockfile { &["source"] } else { &["index", "registry", "git"] };
        let Some(value) = keys.iter().find_map(|key| value_of(content, key)) else { continue };
        if DEFAULT.iter().any(|default| value.trim_start_matches('"').starts_with(default)) {
            implied = true;
        } else {
            found.urls_in(line, value, if lockfile { "cargo lockfile" } else { "cargo configuration" });
        }
    }
    if implied {
        found.default_of("cargo");
    }
}
