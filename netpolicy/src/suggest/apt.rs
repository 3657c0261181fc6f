//! apt: sources in their files and in Dockerfiles. Images themselves are fetched by the engine, not by the agent.

use super::found::{Found, numbered, value_of};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let dockerfile = !(name.ends_with(".list") || name.ends_with(".sources"));
    for (line, content) in numbered(text) {
        if content.starts_with('#') {
            continue;
        }
        let source = content.starts_with("deb ")
            || content.starts_with("deb-src ")
            || value_of(content, "URIs").is_some();
        let written = dockerfile
            && (content.contains("deb http")
                || content.contains("deb [")
                || content.contains("sources.list"));
        if source || written {
            found.urls_in(line, content, "apt source");
        }
    }
}
