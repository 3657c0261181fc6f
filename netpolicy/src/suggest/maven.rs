//! Maven: repositories and mirrors, wrappers.

use std::collections::HashMap;

use roxmltree::{Document, Node};

use super::collector::Collector;
use super::ini;
use super::tree::Unreadable;

const REPOSITORY: &str = "maven repository";

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    if name.ends_with(".properties") {
        wrapper(text, found);
        return Ok(());
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let document = Document::parse(text)
        .map_err(|error| Unreadable { line: error.pos().row, why: format!("no XML: {error}") })?;
    let properties: HashMap<&str, &str> = document
        .descendants()
        .filter(|node| node.parent_element().is_some_and(|parent| parent.has_tag_name_of("properties")))
        .filter_map(|node| Some((node.tag_name().name(), node.text()?.trim())))
        .collect();
    let mut packages = false;
    for node in document.descendants().filter(Node::is_element) {
        match node.tag_name().name() {
            "repository" | "pluginRepository" if !publishes(&node) => {
                place(&document, &node, &properties, found);
                // A repository of this name takes the place of the default.
                if child(&node, "id").and_then(|id| id.text()).map(str::trim) == Some("central") {
                    found.mirrored(&["maven"]);
                }
            }
            "mirror" => {
                let of = child(&node, "mirrorOf").and_then(|of| of.text()).unwrap_or_default();
                let mut words = of.split(',').map(str::trim);
                if words.any(|word| matches!(word, "*" | "external:*" | "central")) {
                    found.mirrored(&["maven"]);
                }
                place(&document, &node, &properties, found);
            }
            "proxy" => {
                let line = document.text_pos_at(node.range().start).row;
                found.leave_out(line, "proxy", "a proxy is set with `network.proxy`");
            }
            "dependencies" | "plugins" | "extension" | "parent" => packages = true,
            _ => {}
        }
    }
    if packages && name != "settings.xml" {
        found.default_of("maven");
    }
    Ok(())
}

/// Names of elements, whatever their namespace.
trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }
}

fn child<'d, 't>(node: &Node<'d, 't>, name: &str) -> Option<Node<'d, 't>> {
    node.children().find(|child| child.has_tag_name_of(name))
}

/// Tells whether a repository is one that artifacts are published to.
fn publishes(node: &Node<'_, '_>) -> bool {
    node.ancestors().any(|above| above.has_tag_name_of("distributionManagement"))
}

fn place(
    document: &Document<'_>,
    node: &Node<'_, '_>,
    properties: &HashMap<&str, &str>,
    found: &mut Collector,
) {
    let Some(url) = child(node, "url") else { return };
    let text: String = url.children().filter_map(|part| part.is_text().then(|| part.text())?).collect();
    let line = document.text_pos_at(url.range().start).row;
    found.reference(line, &filled(text.trim(), properties), REPOSITORY);
}

/// Replaces `${name}` by what the file's properties say.
fn filled(text: &str, properties: &HashMap<&str, &str>) -> String {
    let mut text = text.to_owned();
    // A property may name another; not for ever.
    for _ in 0..8 {
        let Some((before, rest)) = text.split_once("${") else { break };
        let Some((name, after)) = rest.split_once('}') else { break };
        let Some(value) = properties.get(name) else { break };
        text = format!("{before}{value}{after}");
    }
    text
}

/// Reads the settings of Maven's and Gradle's wrappers.
fn wrapper(text: &str, found: &mut Collector) {
    for setting in ini::properties(text) {
        if matches!(setting.key.as_str(), "distributionUrl" | "wrapperUrl") {
            found.reference(setting.line, &setting.value, "build tool wrapper");
        }
    }
}
