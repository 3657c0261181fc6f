//! The names that a project's own files say it needs, each with the place that says so.
//!
//! ```text
//!  path ──is_evidence──▶ read it? (the caller's)
//!  path, text ──the format's parser──▶ Tree, Setting, Token ──a reader a tool──▶ Found ──▶ Suggestion, notes
//! ```
//! Of a file only hosts and ports are taken, never a user, a token or a path of an URL. A tool's
//! default hosts are suggested only where a lockfile implies them, and are called so. Nothing here
//! decides anything: what comes out is for a person to read.

mod apt;
mod bundler;
mod cargo;
mod collector;
mod composer;
mod defaults;
mod git;
mod go;
mod gradle;
mod ini;
mod javascript;
mod maven;
mod nuget;
mod python;
mod reference;
mod suggestion;
mod test_data;
mod tree;

use self::collector::Collector;
pub use self::suggestion::{Evidence, Suggested, Suggestion};
pub use self::test_data::is_test_data;
use self::tree::Unreadable;

/// The largest file that is looked at.
pub const MAX_FILE: usize = 16 * 1024 * 1024;

/// A reader of one tool's files: it takes a file's name and text.
enum Reader {
    /// Reader of a format with a parser, which may not understand the text.
    Parsed(fn(&str, &str, &mut Collector) -> Result<(), Unreadable>),
    /// Reader of a format in which every line can be taken for something.
    Scanned(fn(&str, &str, &mut Collector)),
}

/// Tells whether a file can be evidence of a project's needs. `path` is relative to the project,
/// with `/`.
pub fn is_evidence(path: &str) -> bool {
    reader(path).is_some()
}

/// Suggests from files, given as path and text.
pub fn suggest<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Suggested {
    let mut files: Vec<(&str, &str)> = files.into_iter().collect();
    let mut found = Collector::among(files.iter().map(|(path, _)| *path));
    // What build files refer to by name comes before them.
    files.sort_by_key(|(path, _)| name_of(path) != PROPERTIES);
    for (path, text) in files {
        let Some(read) = reader(path) else { continue };
        found.begin(path);
        match read {
            Reader::Parsed(read) => {
                if let Err(error) = read(name_of(path), text, &mut found) {
                    found.unreadable(&error);
                }
            }
            Reader::Scanned(read) => read(name_of(path), text, &mut found),
        }
        found.end();
    }
    found.finish()
}

/// File from which gradle's scripts have their values.
const PROPERTIES: &str = "gradle.properties";

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn reader(path: &str) -> Option<Reader> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = name_of(folder);
    let text = |name: &str, beginnings: &[&str]| {
        name.ends_with(".txt") && beginnings.iter().any(|beginning| name.starts_with(beginning))
    };
    let reader = match (folder, name) {
        (
            _,
            "package.json"
            | "package-lock.json"
            | "npm-shrinkwrap.json"
            | ".npmrc"
            | "pnpm-lock.yaml"
            | "pnpm-workspace.yaml"
            | "yarn.lock"
            | ".yarnrc.yml"
            | ".yarnrc"
            | "bun.lock"
            | "bunfig.toml",
        ) => Reader::Parsed(javascript::read),
        (
            _,
            "pip.conf" | "pip.ini" | "pyproject.toml" | "poetry.lock" | "uv.lock" | "uv.toml" | "pdm.lock"
            | "Pipfile" | "Pipfile.lock",
        ) => Reader::Parsed(python::read),
        (_, name) if name.starts_with("pylock.") && name.ends_with("toml") => Reader::Parsed(python::read),
        (_, name) if text(name, &["requirements", "constraints"]) => Reader::Parsed(python::read),
        (_, name) if name.ends_with("-requirements.txt") || name.ends_with("_requirements.txt") => {
            Reader::Parsed(python::read)
        }
        ("requirements", name) if text(name, &[""]) => Reader::Parsed(python::read),
        (_, "Cargo.lock" | "Cargo.toml") | (".cargo", "config.toml" | "config") => {
            Reader::Parsed(cargo::read)
        }
        (_, "go.sum" | "go.mod") => Reader::Scanned(go::read),
        (_, "pom.xml" | "settings.xml" | "gradle-wrapper.properties" | "maven-wrapper.properties")
        | (".mvn", "extensions.xml") => Reader::Parsed(maven::read),
        (_, PROPERTIES) => Reader::Scanned(gradle::properties),
        (
            _,
            "build.gradle"
            | "build.gradle.kts"
            | "settings.gradle"
            | "settings.gradle.kts"
            | "init.gradle"
            | "init.gradle.kts",
        ) => Reader::Scanned(gradle::read),
        (_, "Gemfile" | "Gemfile.lock" | "gems.rb" | "gems.locked") | (".bundle", "config") => {
            Reader::Parsed(bundler::read)
        }
        (_, "composer.lock" | "composer.json") => Reader::Parsed(composer::read),
        (_, name) if nuget::is_its(name) => Reader::Parsed(nuget::read),
        (_, "sources.list" | "Dockerfile" | "Containerfile") => Reader::Scanned(apt::read),
        (_, name) if name.starts_with("Dockerfile.") || name.ends_with(".Dockerfile") => {
            Reader::Scanned(apt::read)
        }
        ("sources.list.d", name) if name.ends_with(".list") || name.ends_with(".sources") => {
            Reader::Scanned(apt::read)
        }
        (".git", "config") | (_, ".gitmodules" | ".lfsconfig") => Reader::Scanned(git::read),
        _ => return None,
    };
    Some(reader)
}
