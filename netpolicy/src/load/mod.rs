//! Policy files of all layers to one policy.
//!
//! ```text
//!  LayerSource (files, flags) ──read (the caller's)──▶ text ──yaml──▶ tree ─┬─ extends, depth first ──▶ (again)
//!                                                                          └─ rule, network, container ──▶ Draft
//!  Drafts, strongest layer first ──merge──▶ Policy ──lint──▶ Loaded | all Diagnostics of all files
//! ```
//! Within a layer lists append and of single values the extending file's wins; a file that is
//! extended twice counts once. Across layers rules append, of limits the smallest counts,
//! requirements add up, and `dns` and `proxy` come from the strongest layer that sets them: a
//! weaker one that sets them too is an error.

mod container;
mod cut_presets;
mod defaults;
mod draft;
mod files;
mod flag;
mod flow;
mod harmless;
mod host;
mod images;
mod lint;
mod loader;
mod merge;
mod network;
mod proxy_names;
mod range;
mod rule;
#[cfg(test)]
pub(crate) mod sample;
mod services;
pub(crate) mod shape;
mod side;
mod source;
mod workspace;

use self::draft::Draft;
use self::loader::Loader;
use self::source::closure_digest;
use crate::diagnostic::{Diagnostic, Severity};
use crate::policy::{Date, Layer, Policy};

pub use self::defaults::{DefaultItem, MAX_DEFAULTS, ProjectDefaults, read_defaults};
pub use self::files::preset_reference;
pub use self::flag::{rule_from_command_line, rule_from_flag};
pub use self::flow::{FlowEnvironment, LeftOut, MAX_FLOW, read_flow};
pub use self::proxy_names::resolve_by_proxy;
pub use self::source::{LayerSource, MAX_FILE, Read, SourceFile};
pub use self::workspace::pattern_fault;

/// A policy that is good to use.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// All files of all layers merged.
    pub policy: Policy,
    /// Warnings and notes about the policy.
    pub warnings: Vec<Diagnostic>,
    /// Every text that it was made of, in the order of reading.
    pub files: Vec<SourceFile>,
}

impl Loaded {
    /// Digests every text that a layer is made of: a person who approves the layer approves these.
    pub fn closure_digest(&self, layer: Layer) -> String {
        closure_digest(&self.files, layer)
    }
}

/// Loads one policy file, or a preset (`gitlab`, `gitlab@1`), with everything it extends, as the
/// only layer.
pub fn load(
    entry: &str,
    layer: Layer,
    today: Date,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let source = LayerSource::files(layer, vec![entry.to_owned()]);
    load_layers(&[source], today, &mut |_, path| read(path).map(String::into_bytes))
}

/// Loads all layers and merges them. `today` (UTC) is for what is said about rules that expire.
pub fn load_layers(
    sources: &[LayerSource],
    today: Date,
    read: &mut Read<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loader = Loader { read, files: Vec::new(), diagnostics: Vec::new() };
    let mut sources: Vec<&LayerSource> = sources.iter().collect();
    sources.sort_by_key(|source| source.layer);
    let drafts: Vec<Draft> = sources.iter().map(|source| loader.layer(source)).collect();
    let Loader { files, mut diagnostics, .. } = loader;
    let mut policy = merge::merge(&drafts, &mut diagnostics);
    diagnostics.extend(proxy_names::apply(&drafts, &mut policy));
    policy.project_trusted = sources.iter().any(|source| {
        let approved = source.approved.as_deref().filter(|_| source.layer == Layer::Project);
        approved.is_some_and(|approved| approved == closure_digest(&files, Layer::Project))
    });
    merge::check_virtual_range(&drafts, &policy, &mut diagnostics);
    services::check(&drafts, &policy, &mut diagnostics);
    if !diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        diagnostics.extend(lint::lint(&drafts, &policy, today));
    }
    in_order(&mut diagnostics);
    if diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(diagnostics);
    }
    Ok(Loaded { policy, warnings: diagnostics, files })
}

/// Sorts findings: files in the order in which they were first met, and the order of each file.
fn in_order(diagnostics: &mut [Diagnostic]) {
    let files: Vec<String> = diagnostics.iter().map(|finding| finding.file.clone()).collect();
    diagnostics.sort_by_cached_key(|finding| {
        (files.iter().position(|file| *file == finding.file), finding.line, finding.column)
    });
}
