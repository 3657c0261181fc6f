//! pip, uv, poetry, Pipenv, PDM.

use super::collector::Collector;
use super::ini;
use super::tree::{self, Tree, Unreadable};

const REQUIREMENT: &str = "pip requirement";
const CONFIGURATION: &str = "pip configuration";
const PROJECT: &str = "python project";

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    match name {
        "pip.conf" | "pip.ini" => configuration(text, found),
        "uv.lock" => locked(&tree::toml(text)?, "uv lockfile", found),
        "pdm.lock" => locked(&tree::toml(text)?, "PDM lockfile", found),
        "poetry.lock" => poetry(&tree::toml(text)?, found),
        "Pipfile.lock" => pipenv(&tree::json(text)?, found),
        "Pipfile" => pipfile(&tree::toml(text)?, found),
        "uv.toml" => {
            indexes(&tree::toml(text)?, found);
        }
        "pyproject.toml" => project(&tree::toml(text)?, found),
        _ if name.starts_with("pylock.") => locked(&tree::toml(text)?, "pylock lockfile", found),
        _ => requirements(text, found),
    }
    Ok(())
}

/// Reads a requirements file: options, requirements, `name @ URL`; a backslash at the end goes on
/// on the next line.
fn requirements(text: &str, found: &mut Collector) {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let (mut packages, mut index) = (false, false);
    let mut lines = (1u32..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        let mut whole = first.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next);
        }
        // A comment begins a line, or stands behind white space: a fragment of a URL does not.
        let content =
            whole.split(" #").next().unwrap_or(&whole).split("\t#").next().unwrap_or_default().trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if !content.starts_with('-') {
            packages |= !direct(line, content, REQUIREMENT, found);
            continue;
        }
        let mut words = content.split_whitespace();
        while let Some(word) = words.next() {
            let (option, value) = option(word);
            let mut value = || if value.is_empty() { words.next().unwrap_or_default() } else { value };
            match option {
                "-i" | "--index-url" | "--pypi-url" => {
                    index = true;
                    found.reference(line, value(), REQUIREMENT);
                }
                "--extra-index-url" | "-f" | "--find-links" => found.reference(line, value(), REQUIREMENT),
                "--no-index" => index = true,
                "-e" | "--editable" => {
                    direct(line, value(), REQUIREMENT, found);
                }
                _ => {}
            }
        }
    }
    if packages && !index {
        found.default_of("pip");
    }
}

/// Splits `--option=value` and `-ivalue`; the value is empty where it is the next word.
fn option(word: &str) -> (&str, &str) {
    if word.starts_with("--") {
        return word.split_once('=').unwrap_or((word, ""));
    }
    if word.len() > 2 && word.is_char_boundary(2) { word.split_at(2) } else { (word, "") }
}

/// Takes a requirement that says where it comes from; `true` where it does.
fn direct(line: u32, content: &str, what: &str, found: &mut Collector) -> bool {
    // `name[extra] @ URL ; marker`: the URL has no white space in it.
    let place = content
        .split_once('@')
        .map_or("", |(name, place)| if name.contains("://") { "" } else { place.trim_start() });
    let place = if content.contains("://") && place.is_empty() { content } else { place };
    let url = place.split_whitespace().next().unwrap_or_default();
    if !url.contains("://") {
        return url.starts_with(['.', '/']) || content.starts_with(['.', '/']) || url.starts_with("file:");
    }
    found.reference(line, url, what);
    true
}

fn configuration(text: &str, found: &mut Collector) {
    for setting in ini::ini(text, true) {
        let key = setting.key.to_ascii_lowercase().replace('_', "-");
        if key == "index-url" && !setting.value.is_empty() {
            found.mirrored(&["pip"]);
        }
        if !matches!(key.as_str(), "index-url" | "extra-index-url" | "find-links" | "default-index") {
            if key == "proxy" {
                found.leave_out(setting.line, "proxy", "a proxy is set with `network.proxy`");
            }
            continue;
        }
        for url in setting.value.split_whitespace() {
            if url.starts_with(['#', ';']) {
                break;
            }
            found.reference(setting.line, url, CONFIGURATION);
        }
    }
}

/// Keys under which lockfiles of uv, PDM and PEP 751 have a place to fetch from.
const PLACES: &[&str] = &["registry", "git", "url", "index", "direct"];

/// Reads a lockfile in which every file of a package has its URL.
fn locked(lockfile: &Tree, what: &str, found: &mut Collector) {
    let (mut packages, mut named) = (false, false);
    for group in ["package", "packages"] {
        for package in lockfile.get(group).map_or(&[] as &[_], Tree::items) {
            packages = true;
            package.texts("", &mut |key, line, text| {
                if PLACES.contains(&key) && (text.contains("://") || text.contains('@')) {
                    named = true;
                    found.reference(line, text, what);
                }
            });
        }
    }
    if packages && !named && what == "PDM lockfile" {
        // PDM writes no URLs unless it is told to.
        found.default_of("pip");
    }
}

fn poetry(lockfile: &Tree, found: &mut Collector) {
    let mut implied = false;
    for package in lockfile.get("package").map_or(&[] as &[_], Tree::items) {
        match package.get("source") {
            None => implied = true,
            Some(source) => match source.get("url") {
                Some(url) if source.get("type").and_then(Tree::text) != Some("directory") => {
                    found.reference(url.line, url.text().unwrap_or_default(), "poetry lockfile");
                }
                _ => {}
            },
        }
    }
    if implied {
        found.default_of("poetry");
    }
}

fn pipenv(lockfile: &Tree, found: &mut Collector) {
    for source in lockfile.at(&["_meta", "sources"]).map_or(&[] as &[_], Tree::items) {
        if let Some(url) = source.get("url") {
            found.reference(url.line, url.text().unwrap_or_default(), "Pipenv lockfile");
        }
    }
    for group in lockfile.entries().iter().filter(|group| group.key != "_meta") {
        packages_of(&group.value, "Pipenv lockfile", found);
    }
}

fn pipfile(file: &Tree, found: &mut Collector) {
    for source in file.get("source").map_or(&[] as &[_], Tree::items) {
        if let Some(url) = source.get("url") {
            found.reference(url.line, url.text().unwrap_or_default(), PROJECT);
        }
    }
    for group in ["packages", "dev-packages"] {
        if let Some(group) = file.get(group) {
            packages_of(group, PROJECT, found);
        }
    }
}

/// Takes packages that a table says come from git or from a URL: `a = {git = "…"}`.
fn packages_of(table: &Tree, what: &str, found: &mut Collector) -> bool {
    let mut plain = false;
    for package in table.entries() {
        let place = ["git", "hg", "svn", "url", "file"].iter().find_map(|key| package.value.get(key));
        match place.and_then(|place| Some((place.line, place.text()?))) {
            Some((line, text)) => found.reference(line, text, what),
            None => plain |= package.value.get("path").is_none() && package.key != "python",
        }
    }
    plain
}

/// Takes the indexes that a tool's table names.
fn indexes(table: &Tree, found: &mut Collector) {
    for key in ["index-url", "default-index"] {
        if let Some(url) = table.get(key) {
            found.mirrored(&["pip", "poetry"]);
            found.reference(url.line, url.text().unwrap_or_default(), PROJECT);
        }
    }
    for key in ["extra-index-url", "find-links"] {
        if let Some(list) = table.get(key) {
            list.texts(key, &mut |_, line, url| found.reference(line, url, PROJECT));
        }
    }
    for key in ["index", "source", "sources"] {
        for index in table.get(key).map_or(&[] as &[_], Tree::items) {
            let Some(url) = index.get("url") else { continue };
            let default = index.get("default").is_some_and(|default| default.is("true"));
            if default || index.get("priority").and_then(Tree::text) == Some("default") {
                found.mirrored(&["pip", "poetry"]);
            }
            found.reference(url.line, url.text().unwrap_or_default(), PROJECT);
        }
    }
}

/// The lockfiles beside which a project's own file says nothing new.
const LOCKFILES: &[&str] =
    &["uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "requirements.txt"];

fn project(file: &Tree, found: &mut Collector) {
    let mut packages = false;
    let tools = file.get("tool");
    for tool in ["uv", "poetry", "pdm", "rye"] {
        if let Some(table) = tools.and_then(|tools| tools.get(tool)) {
            indexes(table, found);
        }
    }
    // Requirements as PEP 508 writes them.
    let lists = [
        file.at(&["project", "dependencies"]),
        file.at(&["project", "optional-dependencies"]),
        file.get("dependency-groups"),
        file.at(&["build-system", "requires"]),
        file.at(&["tool", "uv", "dev-dependencies"]),
        file.at(&["tool", "pdm", "dev-dependencies"]),
    ];
    for list in lists.into_iter().flatten() {
        list.texts("", &mut |_, line, requirement| packages |= !direct(line, requirement, PROJECT, found));
    }
    // Tables of poetry and uv.
    let poetry = tools.and_then(|tools| tools.get("poetry"));
    let groups = poetry.and_then(|poetry| poetry.get("group")).map_or(&[] as &[_], Tree::entries);
    let tables = groups.iter().filter_map(|group| group.value.get("dependencies")).chain(
        ["dependencies", "dev-dependencies"].iter().filter_map(|key| poetry.and_then(|table| table.get(key))),
    );
    for table in tables {
        packages |= packages_of(table, PROJECT, found);
    }
    if let Some(sources) = file.at(&["tool", "uv", "sources"]) {
        packages_of(sources, PROJECT, found);
    }
    if packages && !found.has_lockfile(LOCKFILES) {
        found.default_without_lockfile("pip");
    }
}
