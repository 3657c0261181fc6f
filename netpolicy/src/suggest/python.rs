//! pip, uv, poetry, Pipenv, PDM.

use super::found::{Found, numbered, value_of};

/// Tables of a `pyproject.toml` whose `url` is an index.
const INDEXES: &[&str] =
    &["[[tool.uv.index]]", "[[tool.poetry.source]]", "[[tool.pdm.source]]", "[[index]]", "[[source]]"];
/// Options that name an index.
const OPTIONS: &[&str] =
    &["--index-url", "-i ", "--extra-index-url", "--find-links", "-f ", "--trusted-host"];
/// Keys that do.
const KEYS: &[&str] =
    &["index-url", "index_url", "extra-index-url", "extra_index_url", "find-links", "default-index"];

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    match name {
        "pip.conf" | "pip.ini" => configuration(text, found),
        "uv.lock" => uv(text, found),
        "poetry.lock" => poetry(text, found),
        "Pipfile.lock" => pipenv(text, found),
        "pyproject.toml" | "uv.toml" | "Pipfile" => project(text, found),
        _ => requirements(text, found),
    }
}

fn requirements(text: &str, found: &mut Found) {
    let (mut packages, mut index) = (false, false);
    for (line, content) in numbered(text) {
        let option = OPTIONS.iter().any(|option| content.starts_with(option));
        if content.is_empty() || content.starts_with('#') {
        } else if option || content.contains("://") {
            index |= content.starts_with("--index-url") || content.starts_with("-i ");
            // `pkg @ https://…`, `git+https://…@main`; a comment behind it says nothing.
            found.urls_in(line, content.split(" #").next().unwrap_or(content), "pip requirement");
        } else {
            packages |= content.starts_with(|c: char| c.is_ascii_alphanumeric());
        }
    }
    if packages && !index {
        found.default_of("pip");
    }
}

fn configuration(text: &str, found: &mut Found) {
    let mut listed = false;
    for (number, raw) in (1u32..).zip(text.lines()) {
        let content = raw.trim();
        if value_of(content, "index-url").or_else(|| value_of(content, "index_url")).is_some() {
            found.mirrored(&["pip"]);
        }
        let key = KEYS.iter().any(|key| value_of(content, key).is_some());
        // Further indexes stand below their key, indented.
        listed = key || (listed && raw.starts_with([' ', '\t']));
        if listed && !content.starts_with(['#', ';']) {
            found.urls_in(number, content, "pip configuration");
        }
    }
}

fn uv(text: &str, found: &mut Found) {
    for (line, content) in numbered(text) {
        if content.starts_with("source =") || content.contains("url = \"") {
            found.urls_in(line, content, "uv lockfile");
        }
    }
}

fn poetry(text: &str, found: &mut Found) {
    let (mut packages, mut sources) = (0, 0);
    for (line, content) in numbered(text) {
        packages += usize::from(content == "[[package]]");
        sources += usize::from(content == "[package.source]");
        if let Some(value) = value_of(content, "url") {
            found.urls_in(line, value, "poetry lockfile");
        }
    }
    if packages > sources {
        found.default_of("poetry");
    }
}

fn pipenv(text: &str, found: &mut Found) {
    for (line, content) in numbered(text) {
        if let Some(value) = value_of(content, "\"url\"").or_else(|| value_of(content, "\"git\"")) {
            found.urls_in(line, value, "Pipenv lockfile");
        }
    }
}

fn project(text: &str, found: &mut Found) {
    let mut table = "";
    for (line, content) in numbered(text) {
        if content.starts_with('[') {
            table = content;
            continue;
        }
        let index = (INDEXES.contains(&table) && value_of(content, "url").is_some())
            || KEYS.iter().any(|key| value_of(content, key).is_some());
        let dependency = content.contains(" @ ") || content.contains("git = \"") || content.contains("git+");
        if !content.starts_with('#') && (index || dependency) {
            found.urls_in(line, content, "python project");
        }
    }
}
