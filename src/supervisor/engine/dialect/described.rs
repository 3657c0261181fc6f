//! Names and versions of an engine and its parts, to be shown and looked up; nothing is decided by
//! them here.

use std::fmt;

use bollard::models::SystemVersionComponents;

use super::answers::Answers;

/// Podman's name among its parts.
const PODMAN: &str = "Podman Engine";

/// Name and version of an engine. It can be shown only, so that nobody parses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Title(String);

impl Title {
    pub(super) fn new(name: &str, answers: &Answers) -> Title {
        let version = answers.version.version.as_deref().unwrap_or_default();
        Title(format!("{name} {version}").trim_end().to_owned())
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// Its name in the list of known holes: `engine`, `containerd`, `runc`, `desktop`, `linux`, …
    pub(crate) name: String,
    /// Its version, as it says it.
    pub(crate) version: String,
    /// The commit that it was built from, as it says it; empty where it says none.
    pub(crate) commit: String,
}

/// Returns what the engine is part of, by the marks that it leaves; where it leaves none, `plain`.
pub(super) fn distribution(answers: &Answers, plain: &str) -> String {
    let (platform, name, system) = (answers.platform(), name(answers), system(answers));
    let marks = [
        ("Docker Desktop", platform.starts_with("Docker Desktop") || system.contains("Docker Desktop")),
        ("OrbStack", system.contains("OrbStack") || name == "orbstack"),
        ("Colima", name.starts_with("colima")),
        ("Rancher Desktop", system.contains("Rancher Desktop") || name.starts_with("lima-rancher-desktop")),
    ];
    let found = marks.into_iter().find(|(_, there)| *there);
    found.map_or(plain, |(distribution, _)| distribution).to_owned()
}

/// Tells whether Podman runs in the virtual machine that it makes itself.
pub(super) fn is_podman_machine(answers: &Answers) -> bool {
    system(answers).contains("CoreOS") || name(answers).starts_with("podman-machine")
}

fn name<'a>(answers: &Answers<'a>) -> &'a str {
    answers.info.name.as_deref().unwrap_or_default()
}

fn system<'a>(answers: &Answers<'a>) -> &'a str {
    answers.info.operating_system.as_deref().unwrap_or_default()
}

/// Lists the engine's parts by the names that the list of known holes uses, Docker Desktop and the
/// kernel among them.
pub(super) fn components(answers: &Answers) -> Vec<Component> {
    let told = answers.version.components.as_deref().unwrap_or_default();
    let has_podman = told.iter().any(|part| part.name == PODMAN);
    let mut all: Vec<Component> = told.iter().filter_map(|part| component(part, has_podman)).collect();
    let mut add = |name: &str, version: &str| {
        all.push(Component { name: name.to_owned(), version: version.to_owned(), commit: String::new() });
    };
    if let Some(version) = answers.platform().strip_prefix("Docker Desktop ") {
        add("desktop", version.split(' ').next().unwrap_or_default());
    }
    add("linux", answers.info.kernel_version.as_deref().unwrap_or_default());
    all
}

/// Reads one part. Podman is an `Engine` to Docker's clients besides, and tells its other parts in
/// the words that they print: `OCI Runtime (runc)` is of version `runc version 1.1.15`, and more
/// lines.
fn component(part: &SystemVersionComponents, has_podman: bool) -> Option<Component> {
    let runtime = part.name.strip_prefix("OCI Runtime (").and_then(|name| name.strip_suffix(')'));
    let name = match part.name.as_str() {
        "Engine" if has_podman => return None,
        "Engine" => "engine".to_owned(),
        PODMAN => "podman".to_owned(),
        other => runtime.unwrap_or(other).to_ascii_lowercase(),
    };
    let version = match part.version.split_once(" version ") {
        Some((_, number)) => number.split([',', ' ', '\n']).next().unwrap_or_default(),
        None => &part.version,
    };
    // Without a commit, the package says whose build it is.
    let told = |key| {
        let details = part.details.as_ref()?;
        details.get(key).filter(|text| !text.eq_ignore_ascii_case("unknown")).cloned()
    };
    let commit = told("GitCommit").or_else(|| told("Package")).unwrap_or_default();
    Some(Component { name, version: version.to_owned(), commit })
}
