//! cargo: the lockfile names the registry of every package.

use super::collector::Collector;
use super::tree::{self, Tree, Unreadable};

/// Names of the default registry in lockfiles; it is reached at other hosts.
const DEFAULT: &[&str] =
    &["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io"];
const CONFIGURATION: &str = "cargo configuration";

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    let file = tree::toml(text)?;
    match name {
        "Cargo.lock" => lockfile(&file, found),
        "Cargo.toml" => manifest(&file, found),
        _ => configuration(&file, found),
    }
    Ok(())
}

fn lockfile(file: &Tree, found: &mut Collector) {
    let mut implied = false;
    let packages = ["package", "root"].iter().filter_map(|key| file.get(key)).flat_map(Tree::items);
    for source in packages.filter_map(|package| package.get("source")) {
        let text = source.text().unwrap_or_default();
        if DEFAULT.iter().any(|default| text.starts_with(default)) {
            implied = true;
        } else {
            found.reference(source.line, text, "cargo lockfile");
        }
    }
    if implied {
        found.default_of("cargo");
    }
}

fn configuration(file: &Tree, found: &mut Collector) {
    for source in file.get("source").map_or(&[] as &[_], Tree::entries) {
        if source.key == "crates-io" && source.value.get("replace-with").is_some() {
            found.mirrored(&["cargo"]);
        }
        for key in ["registry", "git"] {
            if let Some(place) = source.value.get(key) {
                found.reference(place.line, place.text().unwrap_or_default(), CONFIGURATION);
            }
        }
    }
    let registries = file.get("registries").map_or(&[] as &[_], Tree::entries);
    let indexes = registries.iter().filter_map(|registry| registry.value.get("index"));
    for index in indexes.chain(file.at(&["registry", "index"])) {
        found.reference(index.line, index.text().unwrap_or_default(), CONFIGURATION);
    }
    if let Some(proxy) = file.at(&["http", "proxy"]) {
        found.leave_out(proxy.line, "proxy", "a proxy is set with `network.proxy`");
    }
}

/// Reads `Cargo.toml`: packages of git, and the default where no lockfile says more.
fn manifest(file: &Tree, found: &mut Collector) {
    let mut packages = false;
    dependencies(file, &mut packages, found);
    if let Some(workspace) = file.get("workspace") {
        dependencies(workspace, &mut packages, found);
    }
    for target in file.get("target").map_or(&[] as &[_], Tree::entries) {
        dependencies(&target.value, &mut packages, found);
    }
    for patch in file.get("patch").map_or(&[] as &[_], Tree::entries) {
        table(&patch.value, &mut packages, found);
    }
    if packages && !found.has_lockfile(&["Cargo.lock"]) {
        found.default_without_lockfile("cargo");
    }
}

fn dependencies(file: &Tree, packages: &mut bool, found: &mut Collector) {
    for key in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(group) = file.get(key) {
            table(group, packages, found);
        }
    }
}

fn table(group: &Tree, packages: &mut bool, found: &mut Collector) {
    for package in group.entries() {
        match package.value.get("git") {
            Some(git) => found.reference(git.line, git.text().unwrap_or_default(), "Cargo.toml"),
            None => {
                *packages |= package.value.get("path").is_none() && package.value.get("workspace").is_none()
            }
        }
    }
}
