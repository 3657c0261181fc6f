//! Reads the files of each layer, and those that they extend, into drafts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Draft, Placed};
use super::files::{self, Source, preset_reference};
use super::flag::read_flag;
use super::side::Side;
use super::source::{LayerSource, MAX_FILE, Read, SourceFile};
use super::{container, harmless, images, network, rule, services, shape, workspace};
use crate::diagnostic::Diagnostic;
use crate::import::{self, Format, ImportError};
use crate::policy::{Layer, Rule};
use crate::presets;
use crate::yaml::{self, Findings, Node, SourcePlace};

/// Files that one policy may consist of, and how deep they may extend each other.
const MAX_FILES: usize = 64;
const MAX_NESTING: usize = 16;

/// Reads the texts of all layers.
pub(super) struct Loader<'r, 'f> {
    pub(super) read: &'r mut Read<'f>,
    pub(super) files: Vec<SourceFile>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// The reading of one layer.
struct Reading<'l> {
    draft: Draft,
    root: Option<&'l str>,
    /// The files that are being read, outermost first.
    active: Vec<String>,
    loaded: BTreeSet<String>,
}

impl Loader<'_, '_> {
    /// Reads one layer.
    pub(super) fn layer(&mut self, source: &LayerSource) -> Draft {
        let mut reading = Reading {
            draft: Draft::new(source.layer),
            root: source.root.as_deref(),
            active: Vec::new(),
            loaded: BTreeSet::new(),
        };
        for entry in &source.policies {
            let from = match preset_reference(entry) {
                Some(name) => Source::Preset(name.to_owned()),
                None => Source::File(entry.clone()),
            };
            self.source(&mut reading, &from, &SourcePlace::file(entry));
        }
        if let Some(path) = &source.agent_config {
            self.agent_config(&mut reading, path);
        }
        if let Some(url) = &source.gitlab {
            // An URL may hold a password, which no message repeats.
            let place = SourcePlace::flag("--gitlab", url.rsplit('@').next().unwrap_or(url));
            match presets::self_managed(url) {
                Ok(rules) => {
                    let rules = rules.into_iter().map(|rule| (Arc::new(rule), place.clone()));
                    reading.draft.allow.extend(rules);
                }
                Err(error) => {
                    let hint = Some("write `--gitlab https://gitlab.corp.example`".into());
                    self.diagnostics.push(place.error(
                        "instance",
                        format!("the URL names no instance: {error}"),
                        hint,
                    ));
                }
            }
        }
        for (flag, texts) in [("--allow", &source.allow), ("--deny", &source.deny)] {
            for text in texts {
                let mut findings = Findings::default();
                if let Some(rule) = read_flag(flag, text, &mut findings) {
                    let list =
                        if flag == "--deny" { &mut reading.draft.deny } else { &mut reading.draft.allow };
                    list.push((Arc::new(rule), SourcePlace::flag(flag, text)));
                }
                self.diagnostics.extend(findings.finish(flag));
            }
        }
        reading.draft
    }

    /// Reads the part of GitLab's file that is about the network. What of it cannot be carried over
    /// permits less.
    fn agent_config(&mut self, reading: &mut Reading<'_>, path: &str) {
        let place = SourcePlace::file(path);
        let layer = reading.draft.layer;
        let text = match self.text(layer, &Source::File(path.to_owned()), path, &place) {
            Ok(text) => text,
            Err(diagnostic) => return self.diagnostics.push(*diagnostic),
        };
        let imported = match import::import(path, &text, Some(Format::Gitlab), layer) {
            Ok(imported) => imported,
            Err(ImportError::Unreadable(findings)) => return self.diagnostics.extend(findings),
            Err(error) => {
                let hint = Some("its `network_policy` is part of the project's policy: put it right".into());
                return self.diagnostics.push(place.error(
                    "agent-config",
                    format!("`{path}`: {error}"),
                    hint,
                ));
            }
        };
        if imported.allow.is_empty() && imported.deny.is_empty() {
            return;
        }
        let placed = |rules: Vec<Rule>| {
            let at = |rule: Rule| {
                let line = rule.origin.line as usize;
                let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
                let column = source.chars().take_while(|c| c.is_whitespace()).count();
                (Arc::new(rule), SourcePlace::line_of(path, line, column, source))
            };
            rules.into_iter().map(at).collect::<Vec<Placed>>()
        };
        reading.draft.allow.extend(placed(imported.allow));
        reading.draft.deny.extend(placed(imported.deny));
        self.files.push(SourceFile { layer, name: path.to_owned(), text });
    }

    /// Reads one file or preset. `from` is where it is named.
    fn source(&mut self, reading: &mut Reading<'_>, source: &Source, from: &SourcePlace) {
        let (file, identity) = match source {
            Source::File(path) => (path.clone(), files::normal(path)),
            Source::Preset(reference) => match presets::find(reference) {
                Some(preset) => {
                    let name = format!("preset {}@{}", preset.name, preset.version);
                    (name.clone(), name)
                }
                None => return self.diagnostics.push(files::unknown_preset(reference, from)),
            },
        };
        if reading.active.contains(&identity) {
            let chain: Vec<&str> =
                reading.active.iter().map(String::as_str).chain([identity.as_str()]).collect();
            let hint = format!("the circle is {}", chain.join(" → "));
            let message = format!("`{file}` extends itself");
            return self.diagnostics.push(from.error("cycle", message, Some(hint)));
        }
        if reading.loaded.contains(&identity) {
            return;
        }
        if self.files.len() >= MAX_FILES || reading.active.len() >= MAX_NESTING {
            let message = format!(
                "a policy is made of at most {MAX_FILES} files that extend each other at most {MAX_NESTING} deep"
            );
            return self.diagnostics.push(from.error("too-many-files", message, None));
        }
        let text = match self.text(reading.draft.layer, source, &file, from) {
            Ok(text) => text,
            Err(diagnostic) => return self.diagnostics.push(*diagnostic),
        };
        reading.loaded.insert(identity.clone());
        reading.active.push(identity);
        let at = self.files.len();
        self.files.push(SourceFile { layer: reading.draft.layer, name: file.clone(), text: String::new() });
        self.document(reading, source, &file, &text);
        self.files[at].text = text;
        reading.active.pop();
    }

    fn text(
        &mut self,
        layer: Layer,
        source: &Source,
        file: &str,
        from: &SourcePlace,
    ) -> Result<String, Box<Diagnostic>> {
        let bytes = match source {
            Source::Preset(reference) => {
                presets::find(reference).map_or(&[][..], |preset| preset.text.as_bytes()).to_vec()
            }
            Source::File(path) => (self.read)(layer, path).map_err(|why| {
                let hint = files::other_extension(path)
                    .filter(|other| (self.read)(layer, other).is_ok())
                    .map(|other| format!("there is a `{other}`; the extension differs"));
                Box::new(from.error("unreadable", format!("cannot read `{path}`: {why}"), hint))
            })?,
        };
        if bytes.len() > MAX_FILE {
            let message = format!("`{file}` is larger than {} MiB", MAX_FILE / 1024 / 1024);
            return Err(Box::new(from.error("too-large", message, None)));
        }
        let text = String::from_utf8(bytes).map_err(|error| Box::new(files::not_utf8(file, &error)))?;
        Ok(text)
    }

    fn document(&mut self, reading: &mut Reading<'_>, source: &Source, file: &str, text: &str) {
        let mut findings = Findings::default();
        let root = yaml::parse(file, text, &mut findings);
        let pairs = files::top_level(root.as_ref(), file, &mut findings);
        // What is extended comes first, wherever the key stands.
        for (key, value) in pairs {
            if key.as_str() == Some("extends") {
                for (source, place) in files::extended(source, value, reading.root, &mut findings) {
                    self.source(reading, &source, &place);
                }
            }
        }
        let (layer, draft) = (reading.draft.layer, &mut reading.draft);
        for (key, value) in pairs {
            if shape::TOP.refuses(key, layer, &mut findings) {
                continue;
            }
            match key.as_str() {
                Some("version") => files::version(value, &mut findings),
                Some("network") => read_network(value, layer, source, draft, &mut findings),
                Some("container") => container::container(value, layer, draft, &mut findings),
                Some("services") => services::services(value, layer, draft, &mut findings),
                Some("images") => images::images(value, draft, &mut findings),
                Some("engine") => container::engine(value, layer, draft, &mut findings),
                Some("workspace") => workspace::workspace(value, layer, draft, &mut findings),
                Some("credentials") => workspace::credentials(value, layer, draft, &mut findings),
                Some("notice") => workspace::notice(value, draft, &mut findings),
                Some("tests") => container::tests(value, layer, draft, &mut findings),
                _ => {}
            }
        }
        self.diagnostics.extend(findings.finish(file));
    }
}

fn read_network(node: &Node, layer: Layer, source: &Source, draft: &mut Draft, findings: &mut Findings) {
    for (word, key, value) in shape::NETWORK.pairs(node, layer, findings) {
        match word {
            // Those of a preset that a project extends are ringfence's own word.
            "harmless" if layer == Layer::Project && matches!(source, Source::File(_)) => {
                findings.push(shape::not_for_projects(key, word));
            }
            "harmless" => draft.harmless.extend(harmless::harmless(value, layer, findings)),
            "allow" => draft.allow.extend(rules(value, Side::Allow, layer, findings)),
            "deny" => draft.deny.extend(rules(value, Side::Deny, layer, findings)),
            "ceiling" => {
                // Empty, it lets nothing through: it must not look like none.
                let read = rules(value, Side::Ceiling, layer, findings);
                draft.ceiling.get_or_insert_default().extend(read);
            }
            "observe" => network::observe(value, draft, findings),
            "dns" => network::dns(value, layer, draft, findings),
            "proxy" => network::proxy(value, layer, draft, findings),
            "no-proxy" => network::no_proxy(value, draft, findings),
            _ => {}
        }
    }
}

fn rules(node: &Node, side: Side, layer: Layer, findings: &mut Findings) -> Vec<Placed> {
    let expected = match side {
        Side::Allow => "`allow` is a list",
        Side::Deny => "`deny` is a list",
        Side::Ceiling => "`ceiling` is a list",
    };
    let mut read = Vec::new();
    for item in shape::list(node, expected, findings) {
        if let Some(rule) = rule::rule(item, side, layer, findings) {
            read.push((Arc::new(rule), item.place.clone()));
        }
    }
    read
}
