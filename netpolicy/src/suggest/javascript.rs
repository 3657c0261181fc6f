//! npm, pnpm, yarn: lockfiles name the registry of every package, or imply the tool's default.

use super::found::{Found, numbered, value_of};

pub(super) fn read(name: &str, text: &str, found: &mut Found) {
    match name {
        ".npmrc" | ".yarnrc" | ".yarnrc.yml" => configuration(text, found),
        "pnpm-lock.yaml" => pnpm(text, found),
        "yarn.lock" => yarn(text, found),
        _ => npm(text, found),
    }
}

fn npm(text: &str, found: &mut Found) {
    let (mut named, mut packages) = (0, false);
    for (line, content) in numbered(text) {
        if let Some(value) = value_of(content, "\"resolved\"") {
            named += found.urls_in(line, value, "npm lockfile");
        }
        packages |= content.starts_with("\"integrity\"");
    }
    if named == 0 && packages {
        found.default_of("npm");
    }
}

fn pnpm(text: &str, found: &mut Found) {
    let mut packages = false;
    for (line, content) in numbered(text) {
        if let Some((_, value)) = content.split_once("tarball:") {
            found.urls_in(line, value, "pnpm lockfile");
        } else {
            packages |= content.starts_with("resolution:") && content.contains("integrity:");
        }
    }
    if packages {
        found.default_of("pnpm");
    }
}

fn yarn(text: &str, found: &mut Found) {
    let mut implied = false;
    for (line, content) in numbered(text) {
        if let Some(value) = content.strip_prefix("resolved ") {
            found.urls_in(line, value, "yarn lockfile");
        } else if let Some(value) = value_of(content, "resolution") {
            // `"left-pad@npm:1.3.0"`, `"x@https://github.com/…#commit=…"`.
            implied |= value.contains("@npm:");
            found.urls_in(line, value, "yarn lockfile");
        }
    }
    if implied {
        found.default_of("yarn");
    }
}

fn configuration(text: &str, found: &mut Found) {
    for (line, content) in numbered(text) {
        // `//registry.example/:_authToken=…` holds a secret and is not looked at.
        if content.starts_with(['#', ';', '/']) || content.contains("_auth") || content.contains("oken") {
            continue;
        }
        let (key, value) = content.split_once(['=', ' ', ':']).unwrap_or((content, ""));
        let registry =
            content.contains("registry") || matches!(key, "npmRegistryServer" | "npmPublishRegistry");
        if matches!(key, "registry" | "npmRegistryServer") {
            found.mirrored(&["npm", "pnpm", "yarn"]);
        }
        if registry {
            found.urls_in(line, if key.starts_with('@') { content } else { value }, "npm configuration");
        }
    }
}
