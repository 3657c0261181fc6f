//! composer: where packages and archives come from. Pages about a package are not.

use super::collector::Collector;
use super::tree::{self, Tree, Unreadable};

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    let file = tree::json(text)?;
    if name == "composer.lock" {
        lockfile(&file, found)
    } else {
        manifest(&file, found)
    }
    Ok(())
}

fn lockfile(file: &Tree, found: &mut Collector) {
    let mut implied = false;
    let packages = ["packages", "packages-dev"].iter().filter_map(|key| file.get(key)).flat_map(Tree::items);
    for package in packages {
        implied |= package.get("notification-url").is_some();
        for key in ["dist", "source"] {
            if let Some(url) = package.at(&[key, "url"]) {
                found.reference(url.line, url.text().unwrap_or_default(), "composer lockfile");
            }
        }
    }
    if implied {
        found.default_of("composer");
    }
}

/// Reads `composer.json`: repositories as a list or a mapping, `packagist.org: false` among them.
fn manifest(file: &Tree, found: &mut Collector) {
    let repositories = file.get("repositories");
    let named = repositories.map_or(&[] as &[_], Tree::entries).iter();
    let without_default =
        |key: &str, value: &Tree| matches!(key, "packagist" | "packagist.org") && value.is("false");
    if named.clone().any(|entry| without_default(&entry.key, &entry.value)) {
        found.mirrored(&["composer"]);
    }
    let listed = repositories.map_or(&[] as &[_], Tree::items).iter();
    for repository in listed.chain(named.map(|entry| &entry.value)) {
        if repository.entries().iter().any(|entry| without_default(&entry.key, &entry.value)) {
            found.mirrored(&["composer"]);
        }
        let path = repository.get("type").and_then(Tree::text) == Some("path");
        if let Some(url) = repository.get("url").filter(|_| !path) {
            found.reference(url.line, url.text().unwrap_or_default(), "composer repository");
        }
        for key in ["dist", "source"] {
            if let Some(url) = repository.at(&["package", key, "url"]) {
                found.reference(url.line, url.text().unwrap_or_default(), "composer repository");
            }
        }
    }
    // `php` and `ext-…` are no packages.
    let requires = |key: &str| {
        file.get(key).is_some_and(|table| table.entries().iter().any(|entry| entry.key.contains('/')))
    };
    if (requires("require") || requires("require-dev")) && !found.has_lockfile(&["composer.lock"]) {
        found.default_without_lockfile("composer");
    }
}
