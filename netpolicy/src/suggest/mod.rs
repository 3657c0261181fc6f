//! The names that a project's own files say it needs, each with the place that says so.
//!
//! ```text
//!  path ──is_evidence──▶ read it? (the caller's)
//!  path, text ──a reader a tool──▶ Found ──▶ Suggestion (rule, evidence), notes
//! ```
//! Of a file only hosts and ports are taken, never a user, a token or a path of an URL. A tool's default hosts are suggested
//! only where a lockfile implies them, and are called so. Nothing here decides anything: what comes out is for a person to read.

mod apt;
mod bundler;
mod cargo;
mod composer;
mod defaults;
mod found;
mod git;
mod go;
mod javascript;
mod jvm;
mod python;

use serde::Serialize;

use self::found::Found;
use crate::note::Note;
use crate::policy::Rule;

/// The largest file that is looked at.
pub const MAX_FILE: usize = 16 * 1024 * 1024;

/// A place that shows that a host is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole implies it.
    pub line: u32,
    /// What it is there, for example `npm lockfile` or `default of cargo`.
    pub what: String,
}

/// A rule and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The rule; its origin is the first evidence.
    pub rule: Rule,
    /// The first places that show it.
    pub evidence: Vec<Evidence>,
    /// How many more there are.
    pub more: usize,
    /// What the host takes from whoever sends it, when it is known to.
    pub uploads: Option<&'static str>,
}

/// What a project needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Suggested {
    /// Sorted by name.
    pub suggestions: Vec<Suggestion>,
    /// What could not be suggested.
    pub notes: Vec<Note>,
}

/// Reads one file of a tool.
type Reader = fn(&str, &str, &mut Found);

/// Whether a file can say what a project needs. `path` is relative to the project, with `/`.
pub fn is_evidence(path: &str) -> bool {
    reader(path).is_some()
}

/// Suggests from files, given as path and text.
pub fn suggest<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Suggested {
    let mut found = Found::default();
    for (path, text) in files {
        if let Some(read) = reader(path) {
            found.begin(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            read(name, text, &mut found);
        }
    }
    found.finish()
}

fn reader(path: &str) -> Option<Reader> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or(folder);
    let reader: Reader = match (folder, name) {
        (
            _,
            "package-lock.json"
            | "npm-shrinkwrap.json"
            | ".npmrc"
            | "pnpm-lock.yaml"
            | "yarn.lock"
            | ".yarnrc.yml"
            | ".yarnrc",
        ) => javascript::read,
        (
            _,
            "pip.conf" | "pip.ini" | "pyproject.toml" | "poetry.lock" | "uv.lock" | "uv.toml" | "Pipfile"
            | "Pipfile.lock",
        ) => python::read,
        (_, name)
            if name.ends_with(".txt")
                && (name.starts_with("requirements") || name.starts_with("constraints")) =>
        {
            python::read
        }
        ("requirements", name) if name.ends_with(".txt") => python::read,
        (_, "Cargo.lock") | (".cargo", "config.toml" | "config") => cargo::read,
        (_, "go.sum" | "go.mod") => go::read,
        (
            _,
            "pom.xml"
            | "settings.xml"
            | "build.gradle"
            | "build.gradle.kts"
            | "settings.gradle"
            | "settings.gradle.kts"
            | "gradle-wrapper.properties"
            | "maven-wrapper.properties",
        ) => jvm::read,
        (_, "Gemfile" | "Gemfile.lock" | "gems.rb" | "gems.locked") => bundler::read,
        (_, "composer.lock" | "composer.json") => composer::read,
        (_, "sources.list" | "Dockerfile" | "Containerfile") => apt::read,
        (_, name) if name.starts_with("Dockerfile.") || name.ends_with(".Dockerfile") => apt::read,
        ("sources.list.d", name) if name.ends_with(".list") || name.ends_with(".sources") => apt::read,
        (".git", "config") | (_, ".gitmodules") => git::read,
        _ => return None,
    };
    Some(reader)
}
