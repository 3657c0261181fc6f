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
mod files;
mod host;
mod lint;
mod merge;
mod network;
mod range;
mod rule;
pub(crate) mod shape;
mod workspace;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::diagnostic::{Diagnostic, Severity};
use crate::import::{self, ImportError};
use crate::policy::{Date, Expectation, Layer, Matcher, Policy, Rule};
use crate::presets;
use crate::settings::{Ca, Capabilities, Direct, Domain, Requirement, Server, Upstream};
use crate::yaml::{self, Findings, Node, SourcePlace};

use self::files::Source;
pub use self::files::preset_reference;
use self::rule::Side;
pub use self::workspace::pattern_fault;

/// The largest file that is read: 200,000 rules of the longer kind.
pub const MAX_FILE: usize = 16 * 1024 * 1024;
/// Files that one policy may consist of, and how deep they may extend each other.
const MAX_FILES: usize = 64;
const MAX_NESTING: usize = 16;

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

/// Reads a file's bytes, given its layer and its path as written, joined to the folder of the file
/// that names it.
pub type Read<'a> = dyn FnMut(Layer, &str) -> Result<Vec<u8>, String> + 'a;

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
    policy.project_trusted = sources.iter().any(|source| {
        let approved = source.approved.as_deref().filter(|_| source.layer == Layer::Project);
        approved.is_some_and(|approved| approved == closure_digest(&files, Layer::Project))
    });
    merge::check_virtual_range(&drafts, &policy, &mut diagnostics);
    if !diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        diagnostics.extend(lint::lint(&drafts, &policy, today));
    }
    in_order(&mut diagnostics);
    if diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(diagnostics);
    }
    Ok(Loaded { policy, warnings: diagnostics, files })
}

fn closure_digest(files: &[SourceFile], layer: Layer) -> String {
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

/// Sorts findings: files in the order in which they were first met, and the order of each file.
fn in_order(diagnostics: &mut [Diagnostic]) {
    let files: Vec<String> = diagnostics.iter().map(|finding| finding.file.clone()).collect();
    diagnostics.sort_by_cached_key(|finding| {
        (files.iter().position(|file| *file == finding.file), finding.line, finding.column)
    });
}

/// Reads the rule of one `--allow HOST[:PORT]` or `--deny HOST|CIDR`.
pub fn rule_from_flag(flag: &str, text: &str) -> Result<Rule, Box<Diagnostic>> {
    let mut findings = Findings::default();
    let rule = read_flag(flag, text, &mut findings);
    let error = findings.finish(flag).into_iter().find(|finding| finding.severity == Severity::Error);
    match (rule, error) {
        (Some(rule), None) => Ok(rule),
        (_, Some(error)) => Err(Box::new(error)),
        (None, None) => {
            Err(Box::new(SourcePlace::flag(flag, text).error("host", format!("`{text}` is no host"), None)))
        }
    }
}

fn read_flag(flag: &str, text: &str, findings: &mut Findings) -> Option<Rule> {
    let side = if flag == "--deny" { Side::Deny } else { Side::Allow };
    let place = SourcePlace::flag(flag, text);
    let looks_like_range = text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    let (matcher, ports) = if side == Side::Deny && looks_like_range {
        let text = match text.parse::<IpAddr>() {
            Ok(addr) => IpNet::from(addr).to_string(),
            Err(_) => text.to_owned(),
        };
        (Matcher::Cidr(range::range(&text, side, &place, findings)?), Vec::new())
    } else {
        let (pattern, port) = host::host_and_port(text, side, &place, findings)?;
        (Matcher::Host(pattern), side.default_ports(port))
    };
    let rule = rule::plain(matcher, ports, Layer::Run, &place);
    rule::check(&rule, side, &place, findings).then_some(rule)
}

/// A single value and where it was set.
#[derive(Debug)]
struct Set<T>(Option<(T, SourcePlace)>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set(None)
    }
}

impl<T: Clone> Set<T> {
    fn at(value: T, place: &SourcePlace) -> Self {
        Set(Some((value, place.clone())))
    }

    fn value(&self) -> Option<T> {
        self.0.as_ref().map(|(value, _)| value.clone())
    }

    fn place(&self) -> Option<&SourcePlace> {
        self.0.as_ref().map(|(_, place)| place)
    }
}

/// A rule and where it stands.
type Placed = (Arc<Rule>, SourcePlace);

/// Settings of one layer's files so far.
#[derive(Debug)]
struct Draft {
    layer: Layer,
    allow: Vec<Placed>,
    deny: Vec<Placed>,
    ceiling: Option<Vec<Placed>>,
    /// Place where `dns` was first set.
    dns_place: Option<SourcePlace>,
    upstreams: Set<Vec<Upstream>>,
    domains: Set<Vec<Domain>>,
    names_per_wildcard: Set<u32>,
    virtual_range: Set<Ipv4Net>,
    fake_range: Set<Vec<IpNet>>,
    /// Place where `proxy` was first set.
    proxy_place: Option<SourcePlace>,
    proxy: Set<(Server, u16, Option<String>)>,
    no_proxy: Set<Vec<Direct>>,
    milli_cpus: Set<u64>,
    memory: Set<u64>,
    pids: Set<u64>,
    open_files: Set<u64>,
    disk: Set<u64>,
    seconds: Set<u64>,
    capabilities: Set<Capabilities>,
    runtime: Set<String>,
    ca: Set<Ca>,
    require: Vec<Requirement>,
    mask: Vec<String>,
    unmask: Vec<String>,
    hide_committed: bool,
    scopes: Set<Vec<String>>,
    max_lifetime: Set<u64>,
    tests: Vec<Expectation>,
}

impl Draft {
    fn new(layer: Layer) -> Draft {
        Draft {
            layer,
            allow: Vec::new(),
            deny: Vec::new(),
            ceiling: None,
            dns_place: None,
            upstreams: Set::default(),
            domains: Set::default(),
            names_per_wildcard: Set::default(),
            virtual_range: Set::default(),
            fake_range: Set::default(),
            proxy_place: None,
            proxy: Set::default(),
            no_proxy: Set::default(),
            milli_cpus: Set::default(),
            memory: Set::default(),
            pids: Set::default(),
            open_files: Set::default(),
            disk: Set::default(),
            seconds: Set::default(),
            capabilities: Set::default(),
            runtime: Set::default(),
            ca: Set::default(),
            require: Vec::new(),
            mask: Vec::new(),
            unmask: Vec::new(),
            hide_committed: false,
            scopes: Set::default(),
            max_lifetime: Set::default(),
            tests: Vec::new(),
        }
    }
}

struct Loader<'r, 'f> {
    read: &'r mut Read<'f>,
    files: Vec<SourceFile>,
    diagnostics: Vec<Diagnostic>,
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
    fn layer(&mut self, source: &LayerSource) -> Draft {
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
        let imported = match import::gitlab::network_policy(path, &text, layer) {
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
                Some("network") => read_network(value, layer, draft, &mut findings),
                Some("container") => container::container(value, layer, draft, &mut findings),
                Some("engine") => container::engine(value, layer, draft, &mut findings),
                Some("workspace") => workspace::workspace(value, layer, draft, &mut findings),
                Some("credentials") => workspace::credentials(value, layer, draft, &mut findings),
                Some("tests") => container::tests(value, layer, draft, &mut findings),
                _ => {}
            }
        }
        self.diagnostics.extend(findings.finish(file));
    }
}

fn read_network(node: &Node, layer: Layer, draft: &mut Draft, findings: &mut Findings) {
    for (word, _, value) in shape::NETWORK.pairs(node, layer, findings) {
        match word {
            "allow" => draft.allow.extend(rules(value, Side::Allow, layer, findings)),
            "deny" => draft.deny.extend(rules(value, Side::Deny, layer, findings)),
            "ceiling" => {
                // Empty, it lets nothing through: it must not look like none.
                let read = rules(value, Side::Ceiling, layer, findings);
                draft.ceiling.get_or_insert_default().extend(read);
            }
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
