//! `images`: registries from which a client of the fenced socket may have images pulled.

use super::draft::{Draft, Set};
use super::shape::{list, string};
use crate::yaml::{Findings, Node};

/// The longest name of a registry.
const LONGEST: usize = 255;

/// Reads `images` into the draft. Of several layers with a list, what all list counts; of one
/// layer's files the one that extends the other wins.
pub(super) fn images(node: &Node, draft: &mut Draft, findings: &mut Findings) {
    let items = list(node, "`images` is a list of registries", findings);
    let mut read = Vec::new();
    for item in items {
        let Some(text) = string(item, "a registry such as `registry.example`", findings) else { continue };
        if is_registry(text) {
            let registry = text.to_ascii_lowercase();
            if !read.contains(&registry) {
                read.push(registry);
            }
        } else {
            let hint = Some("write `registry.example`, `registry.example:5000` or `docker.io`".into());
            findings.push(item.place.error("registry", format!("`{text}` is no name of a registry"), hint));
        }
    }
    if !node.is_refused() {
        draft.images = Set::at(read, &node.place);
    }
}

/// Tells whether a text names a registry by its host, with or without a port: no path, no pattern.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "443"));
    let is_port = (1..=5).contains(&port.len()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // Engines take the first part of a name for a registry only where it has a dot or a port.
    let is_named = host.contains('.') || text.contains(':') || host == "localhost";
    text.len() <= LONGEST && is_port && is_named && host.split('.').all(label)
}
