//! Intake of the importers' entries: what can be a rule becomes one, everything else a note.
//!
//! ```text
//!  importer ──allow, deny, deny_everything, leave_out──▶ Intake ──finish──▶ Imported
//! ```

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::imported::{Format, ImportError, Imported, MAX_ENTRIES};
use super::json;
use crate::host::HostPattern;
use crate::load;
use crate::note::{Note, NoteKind};
use crate::policy::{Layer, Origin, Rule};
use crate::ruleset::RESERVED_PORTS;
use crate::yaml::{self, Findings, Node, Value};

/// Rules and notes of one file, as they come.
pub(super) struct Intake {
    file: String,
    layer: Layer,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    notes: Vec<Note>,
    seen: HashSet<(bool, String)>,
    entries: usize,
    /// Ports that are refused for every name, and where.
    closed: Vec<(u16, u32)>,
    /// The entry that refuses everything, and its line.
    nothing: Option<(String, u32)>,
}

impl Intake {
    pub(super) fn new(file: &str, layer: Layer) -> Intake {
        Intake {
            file: file.to_owned(),
            layer,
            allow: Vec::new(),
            deny: Vec::new(),
            notes: Vec::new(),
            seen: HashSet::new(),
            entries: 0,
            closed: Vec::new(),
            nothing: None,
        }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn allows_anything(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Permits `pattern`, in ringfence's notation. `written` is the entry as the source has it.
    pub(super) fn allow(&mut self, line: u32, written: &str, pattern: &str, ports: &[u16]) {
        if is_address(pattern) {
            let why = "an address, not a name; a policy permits it with `{cidr: …, ports: […]}`";
            return self.leave_out(line, written, why);
        }
        if pattern.ends_with('.') {
            return self.leave_out(
                line,
                written,
                "a dot at the end, which programs compare in different ways",
            );
        }
        if !pattern.is_ascii() {
            return self.leave_out(line, written, "an international name; programs ask for its `xn--` form");
        }
        match load::rule_from_flag("--allow", pattern) {
            Ok(rule) if !pattern.contains(':') => self.keep(true, rule, ports, line),
            Ok(_) => self.leave_out(line, written, "a port where a name is expected"),
            Err(finding) => self.leave_out(line, written, &finding.message),
        }
    }

    /// Refuses `pattern`; no ports are all of them. What has no exact form is refused more widely.
    pub(super) fn deny(&mut self, line: u32, written: &str, pattern: &str, ports: &[u16]) {
        if pattern.chars().all(|c| matches!(c, '*' | '.')) && pattern.contains('*') {
            if ports.is_empty() {
                return self.deny_everything(line, written);
            }
            self.closed.extend(ports.iter().map(|port| (*port, line)));
            return;
        }
        if pattern.contains('*') && HostPattern::parse(pattern).is_err() {
            // `api-*.example.com`: everything below what follows the last label with a star.
            let after = pattern.rsplit_once('*').map_or("", |(_, after)| after);
            let suffix = after.split_once('.').map_or("", |(_, suffix)| suffix);
            let wider = format!(".{suffix}");
            if suffix.is_empty() || HostPattern::parse(&wider).is_err() {
                return self.deny_everything(line, written);
            }
            self.note(
                NoteKind::Narrower,
                line,
                written,
                &format!("a `*` within a label has no exact form; `{wider}` is refused instead"),
            );
            return self.deny(line, written, &wider, ports);
        }
        let text = if is_address(pattern) {
            pattern.trim_matches(['[', ']']).to_owned()
        } else {
            pattern.to_owned()
        };
        match load::rule_from_flag("--deny", &text) {
            Ok(rule) => self.keep(false, rule, ports, line),
            // No valid name can equal it, so nothing is opened by leaving it out.
            Err(finding) => self.leave_out(line, written, &format!("no name: {}", finding.message)),
        }
    }

    /// Permits nothing of the file, because of this entry.
    pub(super) fn deny_everything(&mut self, line: u32, written: &str) {
        self.nothing.get_or_insert((written.to_owned(), line));
    }

    pub(super) fn leave_out(&mut self, line: u32, what: &str, why: &str) {
        self.note(NoteKind::LeftOut, line, what, why);
    }

    pub(super) fn narrower(&mut self, line: u32, what: &str, why: &str) {
        self.note(NoteKind::Narrower, line, what, why);
    }

    fn note(&mut self, kind: NoteKind, line: u32, what: &str, why: &str) {
        self.entries += 1;
        if self.entries <= MAX_ENTRIES {
            self.notes.push(Note {
                kind,
                what: what.to_owned(),
                file: self.file.clone(),
                line,
                why: why.to_owned(),
            });
        }
    }

    fn keep(&mut self, allow: bool, rule: Rule, ports: &[u16], line: u32) {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return;
        }
        let (reserved, ports): (Vec<u16>, Vec<u16>) =
            ports.iter().partition(|port| allow && RESERVED_PORTS.contains(port));
        if let Some(port) = reserved.first() {
            let why = format!("the fence keeps port {port} for itself");
            let what = Rule::text(&rule.matcher, &reserved);
            self.leave_out(line, &what, &why);
            if ports.is_empty() {
                return;
            }
        }
        let origin = Origin { layer: self.layer, file: self.file.clone(), line, text: String::new() };
        let mut rule = Rule::new(rule.matcher, ports, origin);
        rule.ports.sort_unstable();
        rule.ports.dedup();
        rule.origin.text = Rule::text(&rule.matcher, &rule.ports);
        if self.seen.insert((allow, rule.origin.text.clone())) {
            if allow { self.allow.push(rule) } else { self.deny.push(rule) }
        }
    }

    pub(super) fn finish(mut self, format: Format) -> Result<Imported, ImportError> {
        if self.entries > MAX_ENTRIES {
            return Err(ImportError::TooMany);
        }
        for mut rule in std::mem::take(&mut self.allow) {
            let refused = |port: &u16| self.closed.iter().find(|(closed, _)| closed == port).copied();
            let first = rule.ports.iter().find_map(refused);
            rule.ports.retain(|port| refused(port).is_none());
            if let Some((port, line)) = first {
                let why = format!("line {line} refuses port {port} for every name");
                self.note(NoteKind::Narrower, rule.origin.line, &rule.origin.text.clone(), &why);
                rule.origin.text = Rule::text(&rule.matcher, &rule.ports);
            }
            if !rule.ports.is_empty() {
                self.allow.push(rule);
            }
        }
        if let Some((written, line)) = self.nothing.take() {
            for rule in std::mem::take(&mut self.allow) {
                let why = format!("`{written}` in line {line} refuses every name");
                self.note(NoteKind::LeftOut, rule.origin.line, &rule.origin.text, &why);
            }
        }
        self.notes.sort_by_key(|note| note.line);
        Ok(Imported { format, allow: self.allow, deny: self.deny, notes: self.notes })
    }
}

fn is_address(text: &str) -> bool {
    let bare = text.trim_matches(['[', ']']);
    bare.parse::<IpAddr>().is_ok() || bare.parse::<IpNet>().is_ok()
}

/// Splits a pattern from the port behind it: `x.example:8443`.
pub(super) fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, digits)) if !host.contains(':') || host.ends_with(']') => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
            _ => (text, None),
        },
        _ => (text, None),
    }
}

/// Reads an entry as srt does: a name with a dot, or `*.` before one, and perhaps a port. `None`
/// for a text that srt takes for no entry.
pub(super) fn srt_entry(text: &str) -> Option<(&str, Option<u16>)> {
    let (pattern, port) = split_port(text);
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let good = name.contains('.') && !name.starts_with('.') && !name.ends_with('.');
    (good || name == "localhost" || is_address(name)).then_some((pattern, port))
}

/// Returns the lines with their numbers, without comments and blank ones.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let line = line.trim();
        let comment = line.starts_with('#') || line.is_empty();
        (!comment).then_some((number, line))
    })
}

/// Returns the root of a YAML or JSON file, which must be a mapping. JSON may hold comments and
/// trailing commas.
pub(super) fn root(file: &str, text: &str) -> Result<Vec<(Node, Node)>, ImportError> {
    let root = if is_json(text) {
        Some(json::parse(file, text)?)
    } else {
        let mut findings = Findings::default();
        let root = yaml::parse(file, text, &mut findings);
        if findings.has_errors() {
            return Err(ImportError::Unreadable(findings.finish(file)));
        }
        root
    };
    match root.map(|root| root.value) {
        Some(Value::Map(pairs)) => Ok(pairs),
        None => Ok(Vec::new()),
        Some(Value::Scalar { text, .. }) if text.is_empty() => Ok(Vec::new()),
        Some(_) => Err(ImportError::Shape { line: 1, message: "the file is no mapping".to_owned() }),
    }
}

/// Tells JSON by its first sign: no YAML mapping begins with one of these, but for JSON's own form.
pub(super) fn is_json(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with('{') || text.starts_with("//") || text.starts_with("/*")
}

/// Returns the pairs of a mapping; `null` has none.
pub(super) fn pairs<'n>(key: &str, node: &'n Node) -> Result<&'n [(Node, Node)], ImportError> {
    match &node.value {
        Value::Map(pairs) => Ok(pairs),
        _ if node.kind() == "nothing" => Ok(&[]),
        _ => Err(shape(node, &format!("`{key}` is a mapping"))),
    }
}

/// Returns the entries of a list of strings, each with its line.
pub(super) fn strings<'n>(key: &str, node: &'n Node) -> Result<Vec<(u32, &'n str)>, ImportError> {
    match &node.value {
        Value::List(items) => items
            .iter()
            .map(|item| {
                let text =
                    item.as_str().ok_or_else(|| shape(item, &format!("`{key}` is a list of strings")))?;
                Ok((item.place.line(), text))
            })
            .collect(),
        _ if node.kind() == "nothing" => Ok(Vec::new()),
        _ => Err(shape(node, &format!("`{key}` is a list of strings"))),
    }
}

fn shape(node: &Node, expected: &str) -> ImportError {
    ImportError::Shape { line: node.place.line(), message: format!("{expected}, this is {}", node.kind()) }
}

/// Tells whether a value says true.
pub(super) fn is_true(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if text.eq_ignore_ascii_case("true"))
}
