//! The texts that a policy is made of, and where they come from.

use crate::policy::Layer;

/// The largest file that is read: 200,000 rules of the longer kind.
pub const MAX_FILE: usize = 16 * 1024 * 1024;

/// Source of one layer.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// The layer.
    pub layer: Layer,
    /// Policy files and presets, in order, as one file that extends them all would.
    pub policies: Vec<String>,
    /// `HOST[:PORT]` of every `--allow`.
    pub allow: Vec<String>,
    /// `HOST` or `CIDR` of every `--deny`.
    pub deny: Vec<String>,
    /// The URL of `--gitlab`: a self-managed instance.
    pub gitlab: Option<String>,
    /// GitLab's `.gitlab/duo/agent-config.yml`, whose `network_policy` is part of the layer.
    pub agent_config: Option<String>,
    /// The folder that files of the layer may not leave: the project's.
    pub root: Option<String>,
    /// The digest of the layer's files that a person has approved.
    pub approved: Option<String>,
}

impl LayerSource {
    /// Makes a layer of these files and presets.
    pub fn files(layer: Layer, policies: Vec<String>) -> LayerSource {
        LayerSource {
            layer,
            policies,
            allow: Vec::new(),
            deny: Vec::new(),
            gitlab: None,
            agent_config: None,
            root: None,
            approved: None,
        }
    }
}

/// A text that a policy was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The layer that it belongs to.
    pub layer: Layer,
    /// Name of the file: the path as the caller sees it, or `preset gitlab@1`.
    pub name: String,
    /// Text of the file.
    pub text: String,
}

/// Reads a file's bytes, given its layer and its path as written, joined to the folder of the file
/// that names it.
pub type Read<'a> = dyn FnMut(Layer, &str) -> Result<Vec<u8>, String> + 'a;

/// Digests every text of a layer.
pub(super) fn closure_digest(files: &[SourceFile], layer: Layer) -> String {
    let of_layer = || files.iter().filter(|file| file.layer == layer);
    // Names are seen from the first file, so that the digest does not depend on where the project
    // lies.
    let folder = of_layer().next().and_then(|file| file.name.rfind('/').map(|slash| &file.name[..=slash]));
    let mut text = String::new();
    for file in of_layer() {
        let name = folder.and_then(|folder| file.name.strip_prefix(folder)).unwrap_or(&file.name);
        text.push_str(&format!("{} {} {name}\n{}", name.len(), file.text.len(), file.text));
    }
    crate::digest::of(&text)
}
