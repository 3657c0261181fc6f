//! bundler: sources of gems and git repositories.

use super::found::{Found, numbered, value_of};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let lockfile = name == "Gemfile.lock" || name == "gems.locked";
    for (line, content) in numbered(text) {
        if lockfile {
            if let Some(value) = value_of(content, "remote") {
                // A path is a gem of the project's own.
                if value.contains("://") {
                    found.urls_in(line, value, "bundler lockfile");
                } else if value.contains('@') {
                    found.target(line, value, "bundler lockfile");
                }
            }
        } else if content.starts_with("source ") || content.contains("git:") || content.starts_with("git ") {
            found.urls_in(line, content, "Gemfile");
        }
    }
}
