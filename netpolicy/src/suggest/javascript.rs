//! npm, pnpm, yarn, bun: lockfiles name the registry of every package, or imply the tool's default.

use super::collector::Collector;
use super::ini;
use super::tree::{self, Tree, Unreadable};

const NPM: &str = "npm lockfile";
const PNPM: &str = "pnpm lockfile";
const YARN: &str = "yarn lockfile";
const BUN: &str = "bun lockfile";
const CONFIGURATION: &str = "npm configuration";

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    match name {
        ".npmrc" => npmrc(text, found),
        ".yarnrc" => yarnrc(text, found),
        ".yarnrc.yml" => tree::yaml(text)?.iter().for_each(|document| yarnrc_yml(document, found)),
        "pnpm-lock.yaml" => pnpm(&tree::yaml(text)?, found),
        "pnpm-workspace.yaml" => tree::yaml(text)?.iter().for_each(|document| workspace(document, found)),
        "yarn.lock" if text.lines().any(|line| line.starts_with("__metadata:")) => {
            tree::yaml(text)?.iter().for_each(|document| berry(document, found));
        }
        "yarn.lock" => yarn(text, found),
        "bun.lock" => bun(&tree::json(text)?, found),
        "bunfig.toml" => bunfig(&tree::toml(text)?, found),
        "package.json" => manifest(&tree::json(text)?, found),
        _ => npm(&tree::json(text)?, found),
    }
    Ok(())
}

/// Reads `package-lock.json` of every version: 1 nests `dependencies`, 2 has both, 3 lists
/// `packages`.
fn npm(lockfile: &Tree, found: &mut Collector) {
    let mut implied = false;
    for entry in lockfile.get("packages").map_or(&[] as &[_], Tree::entries) {
        // The project itself, and links to its own packages.
        if entry.key.is_empty() || entry.value.get("link").is_some() || !entry.key.contains("node_modules") {
            continue;
        }
        implied |= npm_package(&entry.value, found);
    }
    if lockfile.get("packages").is_none() {
        implied |= npm_nested(lockfile, found);
    }
    if implied {
        found.default_of("npm");
    }
}

fn npm_nested(package: &Tree, found: &mut Collector) -> bool {
    let mut implied = false;
    for entry in package.get("dependencies").map_or(&[] as &[_], Tree::entries) {
        let bundled = entry.value.get("bundled").is_some_and(|bundled| bundled.is("true"));
        implied |= !bundled && npm_package(&entry.value, found);
        implied |= npm_nested(&entry.value, found);
    }
    implied
}

/// Takes where a package comes from; `true` when only the default says it.
fn npm_package(package: &Tree, found: &mut Collector) -> bool {
    if let Some(resolved) = package.get("resolved") {
        if let Some(url) = resolved.text() {
            found.reference(resolved.line, url, NPM);
        }
        return false;
    }
    if package.get("inBundle").is_some_and(|bundled| bundled.is("true")) {
        return false;
    }
    match package.get("version") {
        // Version 1 names a package of git by the place in its version.
        Some(version) if version.text().is_some_and(is_reference) => {
            found.reference(version.line, version.text().unwrap_or_default(), NPM);
            false
        }
        Some(_) => true,
        None => package.get("integrity").is_some(),
    }
}

fn is_reference(text: &str) -> bool {
    text.contains("://") || text.starts_with("file:") || text.starts_with("github:") || text.contains("git@")
}

/// Reads `package.json`: what is not from a registry, and the default where no lockfile says more.
fn manifest(package: &Tree, found: &mut Collector) {
    let mut packages = false;
    for group in ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"] {
        for entry in package.get(group).map_or(&[] as &[_], Tree::entries) {
            let Some(version) = entry.value.text() else { continue };
            if is_reference(version) || FORGES.iter().any(|forge| version.starts_with(forge)) {
                found.reference(entry.value.line, version, "package.json");
            } else if is_repository(version) {
                found.host("github.com", 443, entry.value.line, "package.json");
            } else if !version.starts_with("workspace:") && !version.starts_with("link:") {
                packages = true;
            }
        }
    }
    if packages
        && !found.has_lockfile(&[
            "package-lock.json",
            "npm-shrinkwrap.json",
            "pnpm-lock.yaml",
            "yarn.lock",
            "bun.lock",
            "bun.lockb",
        ])
    {
        found.default_without_lockfile("npm");
    }
}

const FORGES: &[&str] = &["github:", "gitlab:", "bitbucket:", "gist:"];

/// Tells whether a version is npm's `user/repo`, a repository on GitHub.
fn is_repository(version: &str) -> bool {
    let name = version.split('#').next().unwrap_or(version);
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split_once('/').is_some_and(|(user, repo)| plain(user) && plain(repo) && !user.starts_with('.'))
}

fn pnpm(documents: &[Tree], found: &mut Collector) {
    let mut implied = false;
    for package in documents.iter().filter_map(|document| document.get("packages")) {
        for entry in package.entries() {
            let Some(resolution) = entry.value.get("resolution") else { continue };
            let mut named = false;
            for key in ["tarball", "repo", "registry"] {
                let Some(place) = resolution.get(key) else { continue };
                // A tarball may be a path below the registry.
                if let Some(text) = place.text().filter(|text| key == "repo" || text.contains(':')) {
                    named = true;
                    found.reference(place.line, text, PNPM);
                }
            }
            implied |= !named && resolution.get("directory").is_none();
        }
    }
    if implied {
        found.default_of("pnpm");
    }
}

fn workspace(settings: &Tree, found: &mut Collector) {
    let registries = settings.get("registries").map_or(&[] as &[_], Tree::entries);
    for entry in registries {
        if entry.key == "default" {
            found.mirrored(&["pnpm"]);
        }
        url(&entry.value, found);
    }
    if let Some(registry) = settings.get("registry") {
        found.mirrored(&["pnpm"]);
        url(registry, found);
    }
}

/// Reads a lockfile of yarn 1, a format of its own: `key value` and `key:`, indented, strings as in
/// JSON.
fn yarn(text: &str, found: &mut Collector) {
    let mut packages = 0_usize;
    for (line, raw) in (1u32..).zip(text.lines()) {
        if raw.starts_with('#') || raw.trim().is_empty() {
            continue;
        }
        if !raw.starts_with(' ') {
            packages += 1;
            continue;
        }
        let mut words = words(raw);
        if words.next().as_deref() == Some("resolved")
            && let Some(url) = words.next()
        {
            found.reference(line, &url, YARN);
        }
    }
    if packages == 0 {}
}

/// Splits a line of yarn 1's formats into words and quoted strings.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let (word, after) = if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let end = end.map_or(rest.len(), |end| end + 1);
            (rest[1..end].replace("\\\"", "\""), rest.get(end + 1..).unwrap_or(""))
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        rest = after;
        Some(word)
    })
}

/// Reads a lockfile of later yarns: `resolution: "a@npm:1.0.0"`, `"a@https://…#commit=…"`, with
/// parameters behind `::`.
fn berry(lockfile: &Tree, found: &mut Collector) {
    let mut implied = false;
    for entry in lockfile.entries().iter().filter(|entry| entry.key != "__metadata") {
        let Some(resolution) = entry.value.get("resolution") else { continue };
        let text = resolution.text().unwrap_or_default();
        // The name of a package begins with an @ where it has a scope.
        let at = text.get(1..).and_then(|rest| rest.find('@')).map_or(text.len(), |at| at + 1);
        let reference = text.get(at + 1..).unwrap_or_default();
        let (place, parameters) = reference.split_once("::").unwrap_or((reference, ""));
        let archive = parameters.split('&').find_map(|parameter| parameter.strip_prefix("__archiveUrl="));
        if let Some(archive) = archive {
            found.reference(resolution.line, &decoded(archive), YARN);
        } else if place.starts_with("npm:") || place.starts_with("patch:") {
            implied |= place.starts_with("npm:");
        } else if !place.starts_with("workspace:") && !place.starts_with("virtual:") {
            found.reference(resolution.line, place, YARN);
        }
    }
    if implied {
        found.default_of("yarn");
    }
}

/// Takes percent-encoding off.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                plain.push(decoded);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Reads `bun.lock`: `"a": ["a@1.0.0", "REGISTRY or nothing", {…}, "sha512-…"]`.
fn bun(lockfile: &Tree, found: &mut Collector) {
    let mut implied = false;
    for entry in lockfile.get("packages").map_or(&[] as &[_], Tree::entries) {
        let items = entry.value.items();
        let Some(resolved) = items.first() else { continue };
        let text = resolved.text().unwrap_or_default();
        let at = text.get(1..).and_then(|rest| rest.find('@')).map_or(text.len(), |at| at + 1);
        let place = text.get(at + 1..).unwrap_or_default();
        let registry = items.get(1).and_then(Tree::text);
        if is_reference(place) || FORGES.iter().any(|forge| place.starts_with(forge)) {
            found.reference(resolved.line, place, BUN);
        } else if let Some(registry) = registry.filter(|registry| registry.contains("://")) {
            found.reference(resolved.line, registry, BUN);
        } else if !place.starts_with("workspace:") && !place.starts_with("root:") {
            implied |= !place.is_empty();
        }
    }
    if implied {
        found.default_of("bun");
    }
}

fn bunfig(settings: &Tree, found: &mut Collector) {
    let Some(install) = settings.get("install") else { return };
    if let Some(registry) = install.get("registry") {
        found.mirrored(&["bun"]);
        url(registry.get("url").unwrap_or(registry), found);
    }
    for scope in install.get("scopes").map_or(&[] as &[_], Tree::entries) {
        url(scope.value.get("url").unwrap_or(&scope.value), found);
    }
}

fn url(value: &Tree, found: &mut Collector) {
    match value.text() {
        Some(text) => found.reference(value.line, text, CONFIGURATION),
        None => found.leave_out(value.line, CONFIGURATION, "names no host that can be read from it"),
    }
}

/// Keys of an `.npmrc` that hold something else than a place to fetch from.
const SECRETS: &[&str] = &["_auth", "_authtoken", "_password", "username", "email", "cert", "key", "otp"];

fn npmrc(text: &str, found: &mut Collector) {
    for setting in ini::ini(text, false) {
        let key = setting.key.to_ascii_lowercase();
        let last = key.rsplit(':').next().unwrap_or(&key);
        if SECRETS.contains(&last) || key.starts_with("//") {
        } else if key == "registry" {
            found.mirrored(&["npm", "pnpm", "yarn 1", "bun"]);
            found.reference(setting.line, &setting.value, CONFIGURATION);
        } else if last == "registry" || is_mirror(&key, &setting.value) {
            found.reference(setting.line, &setting.value, CONFIGURATION);
        } else if matches!(key.as_str(), "proxy" | "https-proxy" | "http-proxy") {
            found.leave_out(setting.line, &key, "a proxy is set with `network.proxy`");
        }
    }
}

/// Tells whether a setting names where a package's own installer downloads from: `disturl`,
/// `electron_mirror`.
fn is_mirror(key: &str, value: &str) -> bool {
    let named = ["mirror", "disturl", "_site", "_host", "_url", "-url", "cdnurl", "base_url"];
    value.contains("://") && named.iter().any(|end| key.ends_with(end) || key.contains("mirror"))
}

fn yarnrc(text: &str, found: &mut Collector) {
    for (line, raw) in (1u32..).zip(text.lines()) {
        if raw.trim_start().starts_with('#') {
            continue;
        }
        let mut words = words(raw);
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        if key == "registry" {
            found.mirrored(&["yarn 1"]);
        }
        if key == "registry" || key.ends_with(":registry") || is_mirror(&key, &value) {
            found.reference(line, &value, CONFIGURATION);
        }
    }
}

fn yarnrc_yml(settings: &Tree, found: &mut Collector) {
    if settings.get("npmRegistryServer").is_some() {
        found.mirrored(&["yarn"]);
    }
    // A scope's own registry leaves the default in its place.
    let scopes = settings.get("npmScopes").map_or(&[] as &[_], Tree::entries);
    for place in std::iter::once(settings).chain(scopes.iter().map(|scope| &scope.value)) {
        if let Some(server) = place.get("npmRegistryServer") {
            match server.text() {
                Some(text) => found.reference(server.line, &with_defaults(text), CONFIGURATION),
                None => found.leave_out(server.line, CONFIGURATION, "names no host"),
            }
        }
    }
    for plugin in settings.get("plugins").map_or(&[] as &[_], Tree::items) {
        if let Some(spec) = plugin.get("spec")
            && spec.text().is_some_and(|text| text.contains("://"))
        {
            found.reference(spec.line, spec.text().unwrap_or_default(), "yarn plugin");
        }
    }
    for key in ["httpProxy", "httpsProxy"] {
        if let Some(proxy) = settings.get(key) {
            found.leave_out(proxy.line, key, "a proxy is set with `network.proxy`");
        }
    }
}

/// Replaces `${NAME:-default}` and `${NAME-default}` by the default, which is what the file itself
/// says.
fn with_defaults(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inner, behind)) = after.split_once('}') else { break };
        plain.push_str(before);
        match inner.split_once('-') {
            Some((_, default)) => plain.push_str(default),
            None => {
                plain.push_str("${");
                plain.push_str(inner);
                plain.push('}');
            }
        }
        rest = behind;
    }
    plain + rest
}
