//! NuGet: sources of a configuration, and projects that refer to packages.

use roxmltree::{Document, Node};

use super::collector::Collector;
use super::tree::{self, Tree, Unreadable};

const TOOL: &str = "nuget";

/// Tells whether NuGet, or a build of .NET, reads a file of this name.
pub(super) fn is_its(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "nuget.config" | "packages.config" | "packages.lock.json" | "directory.packages.props"
    ) || [".csproj", ".fsproj", ".vbproj"].iter().any(|end| lower.ends_with(end))
}

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    if name.eq_ignore_ascii_case("packages.lock.json") {
        lockfile(&tree::json(text)?, found);
        return Ok(());
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let document = Document::parse(text)
        .map_err(|error| Unreadable { line: error.pos().row, why: format!("no XML: {error}") })?;
    if name.eq_ignore_ascii_case("nuget.config") {
        configuration(&document, found);
    } else {
        project(&document, found);
    }
    Ok(())
}

/// Takes the sources; `<clear/>` leaves out what other configurations say, the default among them.
fn configuration(document: &Document<'_>, found: &mut Collector) {
    let of_sources = |node: &Node<'_, '_>| {
        node.parent_element().is_some_and(|above| above.tag_name().name() == "packageSources")
    };
    for node in document.descendants().filter(Node::is_element).filter(of_sources) {
        match node.tag_name().name() {
            "clear" => found.mirrored(&[TOOL]),
            "add" => {
                let line = document.text_pos_at(node.range().start).row;
                let value = node.attribute("value").unwrap_or_default();
                // A folder is no source on the network.
                if value.contains("://") {
                    found.reference(line, value, "NuGet source");
                }
            }
            _ => {}
        }
    }
}

/// Takes packages of the framework's own tools too: a build fetches them by the same way.
fn project(document: &Document<'_>, found: &mut Collector) {
    let refers = |node: Node<'_, '_>| {
        matches!(node.tag_name().name(), "PackageReference" | "PackageVersion" | "package")
    };
    if !document.descendants().any(refers) {
        return;
    }
    if found.has_lockfile(&["packages.lock.json", "packages.config"]) {
        found.default_of(TOOL);
    } else {
        found.default_without_lockfile(TOOL);
    }
}

fn lockfile(file: &Tree, found: &mut Collector) {
    let frameworks = file.get("dependencies").map_or(&[] as &[_], Tree::entries).iter();
    let mut packages = frameworks.flat_map(|framework| framework.value.entries());
    if packages.any(|package| package.value.get("type").and_then(Tree::text) != Some("Project")) {
        found.default_of(TOOL);
    }
}
