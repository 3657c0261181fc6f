//! Policy files to one policy.
//!
//! ```text
//!  entry ──read (the caller's)──▶ text ──yaml──▶ tree ──┬─ extends, depth first ──▶ (again)
//!                                                       └─ rules, dns ──▶ Draft ──finish──▶ Loaded | all Diagnostics
//! ```
//! Lists append, scalars of the extending file win. A file that is extended twice counts once.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::diagnostic::{Diagnostic, Severity};
use crate::floor;
use crate::host::{HostError, HostPattern};
use crate::policy::{Layer, Matcher, Origin, Policy, Protocol, ResolvedBy, Rule};
use crate::presets;
use crate::settings::{Dns, Upstream};
use crate::virtual_names;
use crate::yaml::{self, Findings, Node, Place, Value};

/// The largest file that is read.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// Files that one policy may consist of, and how deep they may extend each other.
const MAX_FILES: usize = 64;
const MAX_NESTING: usize = 16;

const TOP_KEYS: &[&str] = &["version", "extends", "network"];
const TOP_LATER: &[&str] = &["container", "engine", "tests"];
const NETWORK_KEYS: &[&str] = &["allow", "deny", "dns"];
const NETWORK_LATER: &[&str] = &["ceiling", "proxy", "no-proxy"];
const DNS_KEYS: &[&str] = &["upstreams", "names-per-wildcard", "virtual-range"];
const DNS_LATER: &[&str] = &["domains", "upstream-fake-range"];
const ALLOW_KEYS: &[&str] = &["host", "cidr", "ports", "protocol", "private", "reason"];
const DENY_KEYS: &[&str] = &["host", "cidr", "ports", "reason"];
const RULE_LATER: &[&str] = &["expires", "resolved-by", "host-access"];
const PROTOCOLS: &[&str] = &["tls", "http", "tcp", "auto"];

/// A policy that is good to use.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// All files merged.
    pub policy: Policy,
    /// What is suspicious in it.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a file's text, given its path as written, joined to the folder of the file that names it.
pub type Read<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// Loads a policy file, or a preset (`gitlab`, `gitlab@1`), with everything it extends.
pub fn load(entry: &str, layer: Layer, read: &mut Read<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    load_all(&[entry.to_owned()], layer, read)
}

/// Loads several, in order, as one file that extends them all would.
pub fn load_all(entries: &[String], layer: Layer, read: &mut Read<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loader = Loader {
        layer,
        read,
        active: Vec::new(),
        loaded: BTreeSet::new(),
        draft: Draft::default(),
        diagnostics: Vec::new(),
    };
    for entry in entries {
        let source = match preset_reference(entry) {
            Some(name) => Source::Preset(name.to_owned()),
            None => Source::File(entry.clone()),
        };
        loader.source(&source, &Place::file(entry));
    }
    loader.finish()
}

/// The name of a preset when that is what a text is: no path and no extension.
pub fn preset_reference(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains(['/', '\\', '.'])).then_some(text)
}

/// The rule of one `--allow HOST[:PORT]` or `--deny HOST|CIDR`.
pub fn rule_from_flag(flag: &str, text: &str) -> Result<Rule, Box<Diagnostic>> {
    let mut findings = Findings::default();
    let rule = read_flag(flag, text, &mut findings);
    let error = findings.finish(flag).into_iter().find(|finding| finding.severity == Severity::Error);
    match (rule, error) {
        (Some(rule), None) => Ok(rule),
        (_, Some(error)) => Err(Box::new(error)),
        (None, None) => {
            Err(Box::new(Place::flag(flag, text).error("host", format!("`{text}` is no host"), None)))
        }
    }
}

/// What is suspicious about a rule given on the command line.
pub fn flag_warnings(flag: &str, text: &str) -> Vec<Diagnostic> {
    let mut findings = Findings::default();
    let _ = read_flag(flag, text, &mut findings);
    let mut list = findings.finish(flag);
    list.retain(|finding| finding.severity == Severity::Warning);
    list
}

fn read_flag(flag: &str, text: &str, findings: &mut Findings) -> Option<Rule> {
    let side = if flag == "--deny" { Side::Deny } else { Side::Allow };
    let place = Place::flag(flag, text);
    let looks_like_range = text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    let (matcher, ports) = if side == Side::Deny && looks_like_range {
        let text = match text.parse::<IpAddr>() {
            Ok(addr) => IpNet::from(addr).to_string(),
            Err(_) => text.to_owned(),
        };
        (Matcher::Cidr(range(&text, side, &place, findings)?), Vec::new())
    } else {
        let (pattern, port) = host_and_port(text, side, &place, findings)?;
        (Matcher::Host(pattern), side.default_ports(port))
    };
    let parts = RuleParts { matcher, ports, protocol: None, private: Vec::new(), reason: None };
    Some(parts.rule(Layer::Run, &place))
}

/// Where a text comes from.
#[derive(Clone, Debug)]
enum Source {
    File(String),
    Preset(String),
}

/// `allow` or `deny`: they read the same and are held to different rules, since a wide denial opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Allow,
    Deny,
}

impl Side {
    fn default_ports(self, port: Option<u16>) -> Vec<u16> {
        match (self, port) {
            (_, Some(port)) => vec![port],
            (Side::Allow, None) => vec![443],
            (Side::Deny, None) => Vec::new(),
        }
    }
}

/// What the files have said so far.
#[derive(Default)]
struct Draft {
    allow: Vec<(Rule, Place)>,
    deny: Vec<Rule>,
    upstreams: Option<Vec<Upstream>>,
    names_per_wildcard: Option<u32>,
    virtual_range: Option<Ipv4Net>,
    virtual_range_place: Option<Place>,
}

struct Loader<'r, 'f> {
    layer: Layer,
    read: &'r mut Read<'f>,
    /// The files that are being read, outermost first.
    active: Vec<String>,
    loaded: BTreeSet<String>,
    draft: Draft,
    diagnostics: Vec<Diagnostic>,
}

impl Loader<'_, '_> {
    fn finish(mut self) -> Result<Loaded, Vec<Diagnostic>> {
        self.check_virtual_range();
        let draft = self.draft;
        let defaults = Dns::default();
        let policy = Policy {
            allow: draft.allow.into_iter().map(|(rule, _)| rule.into()).collect(),
            deny: draft.deny.into_iter().map(Into::into).collect(),
            dns: Dns {
                upstreams: draft.upstreams.unwrap_or(defaults.upstreams),
                names_per_wildcard: draft.names_per_wildcard.unwrap_or(defaults.names_per_wildcard),
                virtual_range: draft.virtual_range.unwrap_or(defaults.virtual_range),
                ..defaults
            },
            ..Policy::nothing()
        };
        let files: Vec<String> = self.diagnostics.iter().map(|finding| finding.file.clone()).collect();
        let order = |finding: &Diagnostic| {
            (files.iter().position(|file| *file == finding.file), finding.line, finding.column)
        };
        self.diagnostics.sort_by_cached_key(order);
        if self.diagnostics.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(self.diagnostics);
        }
        Ok(Loaded { policy, warnings: self.diagnostics })
    }

    /// Reads one file or preset. `from` is where it is named.
    fn source(&mut self, source: &Source, from: &Place) {
        let (file, identity) = match source {
            Source::File(path) => (path.clone(), normal(path)),
            Source::Preset(reference) => match presets::find(reference) {
                Some(preset) => {
                    let name = format!("preset {}@{}", preset.name, preset.version);
                    (name.clone(), name)
                }
                None => return self.diagnostics.push(unknown_preset(reference, from)),
            },
        };
        if self.active.contains(&identity) {
            let chain: Vec<&str> =
                self.active.iter().map(String::as_str).chain([identity.as_str()]).collect();
            let hint = format!("the circle is {}", chain.join(" → "));
            return self.diagnostics.push(from.error(
                "cycle",
                format!("`{file}` extends itself"),
                Some(hint),
            ));
        }
        if self.loaded.contains(&identity) {
            return;
        }
        if self.loaded.len() >= MAX_FILES || self.active.len() >= MAX_NESTING {
            let message = format!(
                "a policy is made of at most {MAX_FILES} files that extend each other at most {MAX_NESTING} deep"
            );
            return self.diagnostics.push(from.error("too-many-files", message, None));
        }
        let text = match self.text(source, &file, from) {
            Ok(text) => text,
            Err(diagnostic) => return self.diagnostics.push(*diagnostic),
        };
        self.loaded.insert(identity.clone());
        self.active.push(identity);
        self.document(source, &file, &text);
        self.active.pop();
    }

    fn text(&mut self, source: &Source, file: &str, from: &Place) -> Result<String, Box<Diagnostic>> {
        let text = match source {
            Source::Preset(reference) => presets::find(reference).map_or("", |preset| preset.text).to_owned(),
            Source::File(path) => (self.read)(path).map_err(|why| {
                let hint = other_extension(path)
                    .filter(|other| (self.read)(other).is_ok())
                    .map(|other| format!("there is a `{other}`; the extension differs"));
                Box::new(from.error("unreadable", format!("cannot read `{path}`: {why}"), hint))
            })?,
        };
        if text.len() > MAX_FILE {
            let message = format!("`{file}` is larger than {} MiB", MAX_FILE / 1024 / 1024);
            return Err(Box::new(from.error("too-large", message, None)));
        }
        Ok(text)
    }

    fn document(&mut self, source: &Source, file: &str, text: &str) {
        let mut findings = Findings::default();
        let root = yaml::parse(file, text, &mut findings);
        let pairs = match root.as_ref().map(|root| &root.value) {
            Some(Value::Map(pairs)) => pairs.as_slice(),
            Some(Value::Refused) => &[],
            None if findings.has_errors() => &[],
            None => {
                findings.push(missing_version(&Place::file(file)));
                &[]
            }
            Some(_) => {
                if let Some(root) = &root {
                    let nothing = root.kind() == "nothing";
                    findings.push(if nothing {
                        missing_version(&Place::file(file))
                    } else {
                        wrong_type(root, "a policy is a mapping", Some("begin with `version: 1`".into()))
                    });
                }
                &[]
            }
        };
        let versioned = pairs.iter().any(|(key, _)| key.as_str() == Some("version"));
        if let (Some(root), false, false) = (&root, versioned, pairs.is_empty()) {
            findings.push(missing_version(&root.place));
        }
        // What is extended comes first, wherever the key stands.
        for (key, value) in pairs {
            if key.as_str() == Some("extends") {
                for (source, place) in extended(source, value, &mut findings) {
                    self.source(&source, &place);
                }
            }
        }
        for (key, value) in pairs {
            match key.as_str() {
                Some("version") => version(value, &mut findings),
                Some("extends") => {}
                Some("network") => self.network(value, &mut findings),
                _ => unknown_key(key, "", TOP_KEYS, TOP_LATER, &mut findings),
            }
        }
        self.diagnostics.extend(findings.finish(file));
    }

    fn network(&mut self, node: &Node, findings: &mut Findings) {
        for (key, value) in map(node, "`network` is a mapping", findings) {
            match key.as_str() {
                Some("allow") => {
                    for item in list(value, "`allow` is a list", findings) {
                        if let Some(rule) = rule(item, Side::Allow, self.layer, findings) {
                            self.draft.allow.push((rule, item.place.clone()));
                        }
                    }
                }
                Some("deny") => {
                    for item in list(value, "`deny` is a list", findings) {
                        self.draft.deny.extend(rule(item, Side::Deny, self.layer, findings));
                    }
                }
                Some("dns") => self.dns(value, findings),
                _ => unknown_key(key, "network", NETWORK_KEYS, NETWORK_LATER, findings),
            }
        }
    }

    fn dns(&mut self, node: &Node, findings: &mut Findings) {
        for (key, value) in map(node, "`dns` is a mapping", findings) {
            match key.as_str() {
                Some("upstreams") => {
                    let items = list(value, "`upstreams` is a list", findings);
                    if items.is_empty() && matches!(value.value, Value::List(_)) {
                        let hint = Some("write `upstreams: [system]`, or leave the key out".into());
                        findings.push(value.place.error("upstream", "`upstreams` names no resolver", hint));
                    }
                    let upstreams = items.iter().filter_map(|item| upstream(item, findings)).collect();
                    self.draft.upstreams = Some(upstreams);
                }
                Some("names-per-wildcard") => {
                    self.draft.names_per_wildcard =
                        whole_number(value, 1, 65_536, "names-per-wildcard", findings)
                            .or(self.draft.names_per_wildcard);
                }
                Some("virtual-range") => {
                    if let Some(range) = virtual_range(value, findings) {
                        self.draft.virtual_range = Some(range);
                        self.draft.virtual_range_place = Some(value.place.clone());
                    }
                }
                _ => unknown_key(key, "network.dns", DNS_KEYS, DNS_LATER, findings),
            }
        }
    }

    /// Permitted ranges must not lie over the virtual range, and every name must find an address in it.
    fn check_virtual_range(&mut self) {
        let virtual_range = self.draft.virtual_range.unwrap_or(crate::settings::DEFAULT_VIRTUAL_RANGE);
        for (rule, place) in &self.draft.allow {
            let Matcher::Cidr(IpNet::V4(range)) = &rule.matcher else { continue };
            if range.contains(&virtual_range) || virtual_range.contains(range) {
                self.diagnostics.push(place.error(
                    "virtual-range",
                    format!(
                        "{range} overlaps {virtual_range}, whose addresses stand for names inside the fence"
                    ),
                    Some("set `network.dns.virtual-range` to a range that is not needed".into()),
                ));
            }
        }
        let policy = Policy {
            allow: self.draft.allow.iter().map(|(rule, _)| rule.clone().into()).collect(),
            ..Policy::nothing()
        };
        let names = virtual_names::exact_names(&policy).len();
        let room = virtual_range.hosts().count();
        if names > room {
            let place = self.draft.virtual_range_place.clone().unwrap_or_else(|| Place::file("policy"));
            self.diagnostics.push(place.error(
                "virtual-range",
                format!("{names} permitted names do not fit into {virtual_range} ({room} addresses)"),
                Some("set `network.dns.virtual-range` to a wider range".into()),
            ));
        }
    }
}

// ---- files ----

fn extended(from: &Source, node: &Node, findings: &mut Findings) -> Vec<(Source, Place)> {
    let mut sources = Vec::new();
    for item in list(node, "`extends` is a list", findings) {
        let Some(text) = string(item, "a preset such as `gitlab@1`, or a path", findings) else { continue };
        let preset = text.contains('@') && !text.contains('/');
        if !preset && preset_reference(text).is_some() {
            let hint = match presets::find(text) {
                Some(newest) => {
                    format!("write `{}@{}`, or `./{text}` for a file", newest.name, newest.version)
                }
                None => format!("write `./{text}` for a file, or `NAME@VERSION` for a preset"),
            };
            let message = format!("`{text}` is neither a preset with its version nor a path");
            findings.push(item.place.error("extends", message, Some(hint)));
            continue;
        }
        let source = match (from, preset) {
            (_, true) => Source::Preset(text.to_owned()),
            (Source::File(path), false) => Source::File(joined(path, text)),
            (Source::Preset(_), false) => {
                findings.push(item.place.error("extends", "a preset extends presets only", None));
                continue;
            }
        };
        sources.push((source, item.place.clone()));
    }
    sources
}

/// A path as written in `file`, seen from where `file` is seen from.
fn joined(file: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match file.rfind('/') {
        Some(slash) if !path.starts_with('/') => format!("{}/{path}", &file[..slash]),
        _ => path.to_owned(),
    }
}

/// The same path without `.` and `..`, to tell whether two are the same.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn other_extension(path: &str) -> Option<String> {
    path.strip_suffix(".yaml")
        .map(|stem| format!("{stem}.yml"))
        .or_else(|| path.strip_suffix(".yml").map(|stem| format!("{stem}.yaml")))
}

fn unknown_preset(reference: &str, from: &Place) -> Diagnostic {
    let known: Vec<String> =
        presets::PRESETS.iter().map(|preset| format!("{}@{}", preset.name, preset.version)).collect();
    let near = nearest(reference, &known.iter().map(String::as_str).collect::<Vec<_>>());
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            format!("there is {}; a file is named by a path such as `./policy.yml`", known.join(", "))
        }
    };
    from.error("unknown-preset", format!("there is no preset `{reference}`"), Some(hint))
}

// ---- scalars and shapes ----

fn missing_version(place: &Place) -> Diagnostic {
    place.error("version", "`version` is missing", Some("begin the file with `version: 1`".into()))
}

fn version(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Scalar { text, plain: true } if text == "1" => {}
        Value::Refused => {}
        Value::Scalar { text, plain: false } if text == "1" => {
            findings.push(wrong_type(node, "`version` is a number", Some("write `version: 1`".into())));
        }
        Value::Scalar { text, plain: true } if node.kind() == "a number" => findings.push(node.place.error(
            "version",
            format!("version {text} is not supported by this version of ringfence"),
            Some("write `version: 1`".into()),
        )),
        _ => findings.push(wrong_type(node, "`version` is a number", Some("write `version: 1`".into()))),
    }
}

fn wrong_type(node: &Node, expected: &str, hint: Option<String>) -> Diagnostic {
    node.place.error("wrong-type", format!("{expected}, this is {}", node.kind()), hint)
}

fn map<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [(Node, Node)] {
    match &node.value {
        Value::Map(pairs) => pairs,
        Value::Refused => &[],
        _ => {
            findings.push(wrong_type(node, expected, None));
            &[]
        }
    }
}

fn list<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Refused => &[],
        Value::Scalar { .. } if node.kind() == "nothing" => {
            findings.push(wrong_type(node, expected, Some("write `[]` for an empty list".into())));
            &[]
        }
        Value::Scalar { text, .. } => {
            findings.push(wrong_type(node, expected, Some(format!("write `[{text}]`"))));
            &[]
        }
        Value::Map(_) => {
            findings.push(wrong_type(node, expected, Some("begin every entry with `- `".into())));
            &[]
        }
    }
}

fn string<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> Option<&'n str> {
    let found = node.as_str();
    if found.is_none() && !node.is_refused() {
        let hint = match &node.value {
            Value::Scalar { text, .. } if !text.is_empty() => {
                Some(format!("write \"{text}\" if it is meant as text"))
            }
            _ => None,
        };
        findings.push(wrong_type(node, &format!("expected {expected}"), hint));
    }
    found
}

fn whole_number(node: &Node, least: u32, most: u32, what: &str, findings: &mut Findings) -> Option<u32> {
    let expected = format!("`{what}` is a whole number from {least} to {most}");
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a number" => {
            let number = text.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
            if number.is_none() {
                findings.push(node.place.error("number", format!("{expected}, this is {text}"), None));
            }
            number
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, &expected, None));
            None
        }
    }
}

fn unknown_key(key: &Node, within: &str, known: &[&str], later: &[&str], findings: &mut Findings) {
    let Value::Scalar { text, .. } = &key.value else { return };
    let place = match within {
        "" => "a policy".to_owned(),
        "a rule" | "a denial" => within.to_owned(),
        key => format!("`{key}`"),
    };
    if later.contains(&text.as_str()) {
        findings.push(key.place.error(
            "not-supported",
            format!("`{text}` in {place} is not supported by this version"),
            Some("leave it out: nothing of a policy is ever ignored silently".into()),
        ));
        return;
    }
    let elsewhere = [
        ("network", NETWORK_KEYS),
        ("network", NETWORK_LATER),
        ("network.dns", DNS_KEYS),
        ("network.dns", DNS_LATER),
        ("a rule of `network.allow`", ALLOW_KEYS),
    ];
    let hint = if let Some(near) = nearest(text, &[known, later].concat()) {
        format!("did you mean `{near}`?")
    } else if let Some((home, _)) = elsewhere.iter().find(|(_, keys)| keys.contains(&text.as_str())) {
        format!("`{text}` belongs into {home}")
    } else {
        format!("{place} knows {}", known.join(", "))
    };
    findings.push(key.place.error("unknown-key", format!("`{text}` is no key of {place}"), Some(hint)));
}

/// The known word within two edits, swaps of neighbours included.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 40 {
        return None;
    }
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .iter()
        .map(|other| (edits(word, other), *other))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

// ---- rules ----

struct RuleParts {
    matcher: Matcher,
    ports: Vec<u16>,
    protocol: Option<Protocol>,
    private: Vec<IpNet>,
    reason: Option<String>,
}

impl RuleParts {
    fn rule(mut self, layer: Layer, place: &Place) -> Rule {
        self.ports.sort_unstable();
        self.ports.dedup();
        let subject = match &self.matcher {
            Matcher::Host(pattern) => pattern.to_string(),
            Matcher::Cidr(IpNet::V6(net)) if !self.ports.is_empty() => format!("[{net}]"),
            Matcher::Cidr(net) => net.to_string(),
        };
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let text = if ports.is_empty() { subject } else { format!("{subject}:{}", ports.join(",")) };
        Rule {
            matcher: self.matcher,
            ports: self.ports,
            protocol: self.protocol,
            private: self.private,
            expires: None,
            resolved_by: ResolvedBy::Guard,
            host_access: false,
            reason: self.reason,
            origin: Origin { layer, file: place.file_name().to_owned(), line: place.line(), text },
        }
    }
}

fn rule(node: &Node, side: Side, layer: Layer, findings: &mut Findings) -> Option<Rule> {
    match &node.value {
        Value::Refused => None,
        Value::Map(pairs) => rule_from_map(node, pairs, side, layer, findings),
        _ => {
            let expected = "a host such as `gitlab.com` or `gitlab.com:8443`";
            if node.kind() == "a number" {
                let hint =
                    Some("a port follows its host: `gitlab.com:8443`; an address is `{cidr: …}`".into());
                findings.push(wrong_type(node, &format!("expected {expected}"), hint));
                return None;
            }
            let text = string(node, expected, findings)?;
            let (pattern, port) = host_and_port(text, side, &node.place, findings)?;
            let parts = RuleParts {
                matcher: Matcher::Host(pattern),
                ports: side.default_ports(port),
                protocol: None,
                private: Vec::new(),
                reason: None,
            };
            Some(parts.rule(layer, &node.place))
        }
    }
}

fn rule_from_map(
    node: &Node,
    pairs: &[(Node, Node)],
    side: Side,
    layer: Layer,
    findings: &mut Findings,
) -> Option<Rule> {
    if let Some(trap) = host_read_as_key(pairs) {
        findings.push(trap);
        return None;
    }
    let mut matchers = Vec::new();
    let mut broken = false;
    let mut ports: Option<Vec<u16>> = None;
    let (mut protocol, mut private, mut reason) = (None, Vec::new(), None);
    for (key, value) in pairs {
        let good = match (key.as_str(), side) {
            (Some("host"), _) => {
                let pattern = host_of_map(value, side, findings);
                let good = pattern.is_some();
                matchers.push((key, pattern.map(Matcher::Host)));
                good
            }
            (Some("cidr"), _) => {
                let text = string(value, "a range such as `198.51.100.0/24`", findings);
                let net = text.and_then(|text| range(text, side, &value.place, findings));
                let good = net.is_some();
                matchers.push((key, net.map(Matcher::Cidr)));
                good
            }
            (Some("ports"), _) => {
                ports = port_list(value, findings);
                ports.is_some()
            }
            (Some("protocol"), Side::Allow) => {
                protocol = protocol_of(value, findings);
                protocol.is_some()
            }
            (Some("private"), Side::Allow) => {
                let items = list(value, "`private` is a list of ranges", findings);
                private = items.iter().filter_map(|item| private_range(item, findings)).collect();
                private.len() == items.len()
            }
            (Some("reason"), _) => {
                reason = reason_of(value, findings);
                reason.is_some()
            }
            (Some(word @ ("protocol" | "private")), Side::Deny) => {
                let hint = Some("a denial speaks about every protocol and every address".into());
                findings.push(key.place.error(
                    "unknown-key",
                    format!("`{word}` is no key of a denial"),
                    hint,
                ));
                false
            }
            (_, Side::Allow) => {
                unknown_key(key, "a rule", ALLOW_KEYS, RULE_LATER, findings);
                false
            }
            (_, Side::Deny) => {
                unknown_key(key, "a denial", DENY_KEYS, RULE_LATER, findings);
                false
            }
        };
        broken |= !good;
    }
    if let [_, (second, _), ..] = matchers.as_slice() {
        let hint = Some("write two rules".into());
        findings.push(second.place.error("host-and-cidr", "a rule has either `host` or `cidr`", hint));
        return None;
    }
    let Some((_, matcher)) = matchers.pop() else {
        if !broken {
            findings.push(node.place.error("no-target", "a rule needs `host` or `cidr`", None));
        }
        return None;
    };
    let matcher = matcher?;
    if let (Matcher::Cidr(net), Side::Allow) = (&matcher, side) {
        if !pairs.iter().any(|(key, _)| key.as_str() == Some("ports")) {
            let hint = Some(format!("write `{{cidr: {net}, ports: [443]}}`"));
            findings.push(node.place.error("ports", "a permitted range needs `ports`", hint));
            return None;
        }
        if let Some(explicit) = protocol.filter(|protocol| *protocol != Protocol::Tcp) {
            let message = format!("`protocol: {}` needs a name to check", word_of(explicit));
            let hint = Some("leave `protocol` out: a range is plain TCP".into());
            findings.push(node.place.error("protocol", message, hint));
            return None;
        }
        warn_of_floor(*net, &private, node, findings);
    }
    if broken {
        return None;
    }
    let ports = ports.unwrap_or_else(|| side.default_ports(None));
    Some(RuleParts { matcher, ports, protocol, private, reason }.rule(layer, &node.place))
}

/// `- api.example.com: 8443` is a mapping to YAML.
fn host_read_as_key(pairs: &[(Node, Node)]) -> Option<Diagnostic> {
    let [(key, value)] = pairs else { return None };
    let name = key.as_str().filter(|name| name.contains('.') || *name == "localhost")?;
    let port = match &value.value {
        Value::Scalar { text, .. } if text.parse::<u16>().is_ok() => text.as_str(),
        _ => "PORT",
    };
    let message = format!("`{name}: …` is a mapping, not a host with a port");
    Some(key.place.error(
        "space-after-colon",
        message,
        Some(format!("write `{name}:{port}` without the space")),
    ))
}

fn host_of_map(node: &Node, side: Side, findings: &mut Findings) -> Option<HostPattern> {
    let text = string(node, "a host such as `gitlab.com`", findings)?;
    let (pattern, port) = host_and_port(text, side, &node.place, findings)?;
    if let Some(port) = port {
        let hint = Some(format!("write `host: {pattern}` and `ports: [{port}]`"));
        findings.push(node.place.error("port-in-host", "`host` holds a name only", hint));
        return None;
    }
    Some(pattern)
}

fn host_and_port(
    text: &str,
    side: Side,
    place: &Place,
    findings: &mut Findings,
) -> Option<(HostPattern, Option<u16>)> {
    if let Some(finding) = not_a_host(text, side, place) {
        findings.push(finding);
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, None),
        Some((host, port_text)) => {
            let from = host.chars().count() + 1;
            let part = place.part(from, port_text.chars().count().max(1));
            (host, Some(port_from_text(port_text, &part, findings)?))
        }
    };
    let part = place.part(0, host.chars().count());
    let pattern =
        HostPattern::parse(host).map_err(|error| findings.push(host_finding(&error, side, &part))).ok()?;
    check_pattern(&pattern, side, &part, findings).then_some((pattern, port))
}

/// What people write instead of a host.
fn not_a_host(text: &str, side: Side, place: &Place) -> Option<Diagnostic> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let port = if scheme == "http" && !host.contains(':') { ":80" } else { "" };
        let hint = (!host.is_empty()).then(|| format!("write `{host}{port}`"));
        return Some(place.error("url", format!("`{text}` is a URL; a rule names a host"), hint));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    if let Some(addr) =
        bracketed.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
    {
        let hint = cidr_form(IpNet::from(addr), side, place);
        return Some(place.error(
            "ip-literal",
            format!("`{text}` is an address; a host is a name"),
            Some(hint),
        ));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        let hint = cidr_form(net.trunc(), side, place);
        return Some(place.error(
            "range-as-host",
            format!("`{text}` is a range of addresses; a host is a name"),
            Some(hint),
        ));
    }
    if text.ends_with("/udp") {
        return Some(udp(place));
    }
    if let Some(bare) = text.strip_suffix("/tcp") {
        let hint = Some(format!("write `{bare}`: every rule is about TCP"));
        return Some(place.error("protocol", "a transport is not part of a host", hint));
    }
    if let Some((host, _)) = text.split_once('/') {
        let hint = (!host.is_empty())
            .then(|| format!("write `{host}`: what is under a host cannot be told apart in TLS"));
        return Some(place.error("path", format!("`{text}` has a path; a rule names a host"), hint));
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        let hint = (!host.is_empty()).then(|| format!("write `{host}`"));
        return Some(place.error(
            "user-in-host",
            format!("`{text}` names a user; a rule names a host"),
            hint,
        ));
    }
    if text.matches(':').count() > 1 {
        let hint = Some("write `HOST:PORT`, or several ports as `{host: HOST, ports: [PORT, PORT]}`".into());
        return Some(place.error("host", format!("`{text}` has more than one colon"), hint));
    }
    None
}

fn cidr_form(net: IpNet, side: Side, place: &Place) -> String {
    let form = match side {
        Side::Allow => format!("`{{cidr: {net}, ports: [PORT]}}`"),
        Side::Deny => format!("`{{cidr: {net}}}`"),
    };
    // A flag has no place for ports of a range.
    if place.line() == 0 { format!("permit it in a policy file, as {form}") } else { format!("write {form}") }
}

fn udp(place: &Place) -> Diagnostic {
    let hint = Some("remove it: DNS works without a rule, and HTTP/3 clients fall back to TCP".into());
    place.error("udp", "UDP is refused inside the fence, but for DNS; no rule can permit it", hint)
}

fn port_from_text(text: &str, place: &Place, findings: &mut Findings) -> Option<u16> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && text.chars().all(|c| c.is_ascii_digit()));
    if port.is_none() {
        let hint = if text == "*" || text.contains('-') {
            Some("list the ports that are needed: `ports: [8000, 8001]`".into())
        } else if text.is_empty() {
            Some("leave the colon out for port 443".into())
        } else {
            None
        };
        findings.push(place.error("port", format!("`{text}` is no port: ports are 1 to 65535"), hint));
    }
    port
}

fn host_finding(error: &HostError, side: Side, place: &Place) -> Diagnostic {
    if (error, side) == (&HostError::Everything, Side::Deny) {
        let hint = Some("leave `allow` empty, or run with the network denied".into());
        return place.error("any-host", "`*` would refuse every name", hint);
    }
    let code = match error {
        HostError::Everything => "any-host",
        HostError::Wildcard => "wildcard",
        HostError::Address(_) => "ip-literal",
        _ => "host",
    };
    place.error(code, error.to_string(), error.hint().map(str::to_owned))
}

/// What a permitted pattern must not be. `false` when it is an error.
fn check_pattern(pattern: &HostPattern, side: Side, place: &Place, findings: &mut Findings) -> bool {
    if side == Side::Deny {
        return true;
    }
    let name = pattern.name();
    if let Some(reason) = floor::refused_name(name) {
        let (meaning, hint) = match reason {
            crate::decide::Reason::MetadataAddress => ("a cloud's metadata service", None),
            _ => {
                ("the machine itself", Some("access to the host is not supported by this version".to_owned()))
            }
        };
        let message = format!("`{name}` stands for {meaning} and is always refused");
        findings.push(place.error("host-alias", message, hint));
        return false;
    }
    if !pattern.is_wildcard() {
        return true;
    }
    match public_suffix(name.as_str()) {
        Some(Some(psl::Type::Icann)) => {
            let message = format!("`{pattern}` would permit every domain under the public suffix `{name}`");
            let hint = Some(format!("name the domain, as in \"*.example.{name}\""));
            findings.push(place.error("public-suffix", message, hint));
            false
        }
        Some(Some(psl::Type::Private)) => {
            let message = format!("anyone can get a name below `{name}`: `{pattern}` permits theirs too");
            let hint = Some("name the host that is meant".into());
            findings.push(place.warning("private-suffix", message, hint));
            true
        }
        Some(None) => {
            let message = format!("`{pattern}` permits a whole top-level domain");
            let hint = Some("name the domain that is meant".into());
            findings.push(place.warning("top-level", message, hint));
            true
        }
        None => true,
    }
}

/// Whether a name is itself a public suffix, and of which part of the list; `Some(None)` for a
/// top-level domain that the list does not know.
fn public_suffix(name: &str) -> Option<Option<psl::Type>> {
    // The list may hold an internationalised suffix in either form.
    let unicode = idna::domain_to_unicode(name).0;
    let typ = |text: &str| {
        let suffix = psl::suffix(text.as_bytes())?;
        if suffix.as_bytes() == text.as_bytes() { suffix.typ() } else { None }
    };
    typ(name).or_else(|| typ(&unicode)).map(Some).or_else(|| (!name.contains('.')).then_some(None))
}

fn range(text: &str, side: Side, place: &Place, findings: &mut Findings) -> Option<IpNet> {
    let net = range_from_text(text, place, findings)?;
    if side == Side::Deny {
        return Some(net);
    }
    match net {
        IpNet::V6(_) => {
            let hint = Some("permit names, or IPv4 ranges".into());
            findings.push(place.error(
                "cidr",
                "an IPv6 range cannot be permitted: the fence has no IPv6",
                hint,
            ));
            None
        }
        IpNet::V4(net) if net.prefix_len() < 8 => {
            let hint = Some("permit the ranges that are needed".into());
            findings.push(place.error("cidr", format!("{net} is wider than /8"), hint));
            None
        }
        net => Some(net),
    }
}

/// A range whose address has no bits beyond its length.
fn range_from_text(text: &str, place: &Place, findings: &mut Findings) -> Option<IpNet> {
    let finding = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) if net.trunc() != net => {
            let hint = format!(
                "write `{}` for the range, or `{}` for the address",
                net.trunc(),
                IpNet::from(net.addr())
            );
            place.error("host-bits", format!("`{text}` has bits beyond its length"), Some(hint))
        }
        (Ok(IpNet::V6(net)), _)
            if !floor::embedded_v4(IpAddr::V6(net.network())).is_empty() && net.prefix_len() >= 80 =>
        {
            place.error(
                "cidr",
                format!("`{text}` is IPv4 in the clothes of IPv6"),
                Some("write the IPv4 range".into()),
            )
        }
        (Ok(net), _) => return Some(net),
        (Err(_), Ok(addr)) => {
            let hint = Some(format!("write `{}`", IpNet::from(addr)));
            place.error("cidr", format!("`{text}` is an address without a length"), hint)
        }
        (Err(_), Err(_)) => {
            let hint = Some("write a range as `198.51.100.0/24`".into());
            place.error("cidr", format!("`{text}` is no range of addresses"), hint)
        }
    };
    findings.push(finding);
    None
}

fn private_range(node: &Node, findings: &mut Findings) -> Option<IpNet> {
    let text = string(node, "a range such as `10.20.0.0/16`", findings)?;
    let net = range_from_text(text, &node.place, findings)?;
    if floor::PRIVATE_RANGES.iter().any(|pool| pool.contains(&net)) {
        return Some(net);
    }
    let pools: Vec<String> = floor::PRIVATE_RANGES.iter().map(ToString::to_string).collect();
    findings.push(node.place.error(
        "private",
        format!("`private` cannot hold {net}"),
        Some(format!("it may hold parts of {}; public addresses need no exemption", pools.join(", "))),
    ));
    None
}

/// A permitted range that the floor refuses whole is surely a mistake.
fn warn_of_floor(net: IpNet, private: &[IpNet], node: &Node, findings: &mut Findings) {
    let nowhere = floor::Surroundings::default();
    let ends = [net.network(), net.broadcast()];
    let reasons: Vec<_> =
        ends.iter().filter_map(|addr| floor::refusal(*addr, private, &[], &nowhere)).collect();
    if let ([first, _], false) = (reasons.as_slice(), net.contains(&IpNet::V4(nowhere.virtual_range))) {
        let hint = match first {
            crate::decide::Reason::PrivateAddress => Some(format!("add `private: [{net}]` if that is meant")),
            _ => None,
        };
        let message = format!("{net} is refused all the same, whatever a policy says ({first})");
        findings.push(node.place.warning("floor", message, hint));
    }
}

fn port_list(node: &Node, findings: &mut Findings) -> Option<Vec<u16>> {
    let items = list(node, "`ports` is a list", findings);
    if !matches!(node.value, Value::List(_)) {
        return None;
    }
    if items.is_empty() {
        let hint = Some("list the ports, or leave the key out".into());
        findings.push(node.place.error("ports", "`ports` is empty", hint));
        return None;
    }
    let ports: Vec<u16> = items.iter().filter_map(|item| port_of(item, findings)).collect();
    (ports.len() == items.len()).then_some(ports)
}

fn port_of(node: &Node, findings: &mut Findings) -> Option<u16> {
    match &node.value {
        Value::Refused => None,
        Value::Scalar { text, plain: true } => port_from_text(text, &node.place, findings),
        Value::Scalar { text, .. } if text.parse::<u16>().is_ok() => {
            findings.push(wrong_type(
                node,
                "a port is a number",
                Some(format!("write {text} without quotes")),
            ));
            None
        }
        _ => {
            findings.push(wrong_type(node, "a port is a number", None));
            None
        }
    }
}

fn protocol_of(node: &Node, findings: &mut Findings) -> Option<Protocol> {
    let text = string(node, "`tls`, `http`, `tcp` or `auto`", findings)?;
    match text {
        "tls" => Some(Protocol::Tls),
        "http" => Some(Protocol::Http),
        "tcp" => Some(Protocol::Tcp),
        "auto" => Some(Protocol::Auto),
        "udp" | "quic" | "http3" | "h3" => {
            findings.push(udp(&node.place));
            None
        }
        other => {
            let hint = match (nearest(other, PROTOCOLS), other) {
                (_, "https" | "ssl") => "write `tls`".to_owned(),
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, _) => format!("it is one of {}", PROTOCOLS.join(", ")),
            };
            findings.push(node.place.error(
                "protocol",
                format!("`{other}` is no protocol of a rule"),
                Some(hint),
            ));
            None
        }
    }
}

fn word_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tls => "tls",
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Auto => "auto",
    }
}

fn reason_of(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = string(node, "a text", findings)?;
    let text = text.trim();
    if text.chars().any(|c| c.is_control() && c != '\n') || text.chars().count() > 500 {
        let message = "`reason` is at most 500 characters and has no control characters";
        findings.push(node.place.error("reason", message, None));
        return None;
    }
    Some(text.replace('\n', " "))
}

// ---- dns ----

fn upstream(node: &Node, findings: &mut Findings) -> Option<Upstream> {
    let text = string(node, "`system`, IP or IP:port", findings)?;
    if text == "system" {
        return Some(Upstream::System);
    }
    let address = text
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|addr| SocketAddr::new(addr, 53)))
        .filter(|socket| socket.port() > 0 && !socket.ip().is_unspecified() && !socket.ip().is_multicast());
    if let Some(address) = address {
        return Some(Upstream::Plain(address));
    }
    let finding = match text.split_once("://") {
        Some(("tls" | "https" | "quic" | "h3", _)) => node.place.error(
            "not-supported",
            format!("the encrypted upstream `{text}` is not supported by this version"),
            Some("write `system`, IP or IP:port".into()),
        ),
        _ => node.place.error(
            "upstream",
            format!("`{text}` is no resolver"),
            Some("write `system`, IP or IP:port, for example 10.0.0.53".into()),
        ),
    };
    findings.push(finding);
    None
}

fn virtual_range(node: &Node, findings: &mut Findings) -> Option<Ipv4Net> {
    let text = string(node, "a range such as `25.0.0.0/16`", findings)?;
    let net = range_from_text(text, &node.place, findings)?;
    let IpNet::V4(net) = net else {
        findings.push(node.place.error("virtual-range", "the virtual range is IPv4", None));
        return None;
    };
    let hint = || Some("the default, 25.0.0.0/16, suits nearly everybody".to_owned());
    if !(8..=24).contains(&net.prefix_len()) {
        let message = format!("{net} is not between /8 and /24");
        findings.push(node.place.error("virtual-range", message, hint()));
        return None;
    }
    let unusable = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    let clash = unusable
        .iter()
        .map(|(addr, length)| Ipv4Net::new_assert(*addr, *length))
        .find(|bad| bad.contains(&net) || net.contains(bad));
    if let Some(clash) = clash {
        let message = format!("programs do not connect to addresses in {clash}");
        findings.push(node.place.error("virtual-range", message, hint()));
        return None;
    }
    Some(net)
}
