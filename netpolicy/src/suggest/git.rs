//! git: remotes and submodules.

use super::found::{Found, numbered, value_of};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let what = if name == ".gitmodules" { "git submodule" } else { "git remote" };
    let mut section = "";
    for (line, content) in numbered(text) {
        if content.starts_with('[') {
            section = content;
            continue;
        }
        let place = section.starts_with("[remote ") || section.starts_with("[submodule ");
        let Some(value) = value_of(content, "url").or_else(|| value_of(content, "pushurl")).filter(|_| place)
        else {
            continue;
        };
        let value = value.trim_matches('"');
        if value.contains("://") {
            found.urls_in(line, value, what);
        } else if let Some((place, _)) = value.split_once(':').filter(|(place, _)| !place.contains('/')) {
            // `git@host:path`, `host:path`.
            let at = if place.contains('@') { place.to_owned() } else { format!("git@{place}") };
            found.target(line, &at, what);
        }
        // Anything else is a path.
    }
}
