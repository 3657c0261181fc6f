//! composer: where packages and archives come from. Pages about a package are not.

use super::found::{Found, numbered, value_of};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    let lockfile = name == "composer.lock";
    let (mut about, mut implied) = (false, false);
    for (line, content) in numbered(text) {
        if content.starts_with("\"funding\"")
            || content.starts_with("\"support\"")
            || content.starts_with("\"authors\"")
        {
            about = content.ends_with('[') || content.ends_with('{');
        } else if about && (content.starts_with(']') || content == "}" || content == "},") {
            about = !content.starts_with(']') && !content.starts_with('}');
        }
        implied |= lockfile && content.starts_with("\"notification-url\"");
        if let (Some(value), false) = (value_of(content, "\"url\""), about) {
            found.urls_in(line, value, if lockfile { "composer lockfile" } else { "composer repository" });
        }
    }
    if implied {
        found.default_of("composer");
    }
}
