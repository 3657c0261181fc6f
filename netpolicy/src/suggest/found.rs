//! Hosts as the readers find them, gathered by host and port.
//!
//! ```text
//!  reader ──url, urls_in, default_of──▶ Found ──finish──▶ Suggested
//! ```

use std::collections::BTreeMap;

use super::defaults;
use super::{Evidence, Suggested, Suggestion};
use crate::decide::Target;
use crate::host::HostPattern;
use crate::load;
use crate::note::{Note, NoteKind};
use crate::policy::{Layer, Matcher, Origin, Rule};
use crate::target::Endpoint;
use crate::uploads::accepts_uploads;

/// Places that are kept for each host.
const SHOWN: usize = 3;
/// Hosts and notes that are kept: nobody reads more.
const MOST: usize = 2000;

#[derive(Default)]
pub(super) struct Found {
    path: String,
    hosts: BTreeMap<(String, u16), (Vec<Evidence>, usize)>,
    notes: BTreeMap<String, Note>,
    /// Tools whose lockfiles imply their default, with the file.
    defaults: Vec<(&'static str, String)>,
    /// Tools that a configuration sends elsewhere, with the file.
    mirrored: BTreeMap<&'static str, String>,
}

impl Found {
    /// The file that is read from now on.
    pub(super) fn begin(&mut self, path: &str) {
        path.clone_into(&mut self.path);
    }

    /// Every URL in a stretch of a line.
    pub(super) fn urls_in(&mut self, line: u32, text: &str, what: &str) -> usize {
        let mut count = 0;
        for (at, _) in text.match_indices("://") {
            let scheme_from = text[..at]
                .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
                .map_or(0, |before| before + text[before..].chars().next().map_or(1, char::len_utf8));
            let scheme = &text[scheme_from..at];
            // `git+https`, `registry+https`, `sparse+https`: the last word is the transport.
            let scheme = scheme.rsplit('+').next().unwrap_or(scheme);
            let rest = &text[at + 3..];
            let end = rest.find(|c: char| {
                c.is_whitespace()
                    || matches!(
                        c,
                        '/' | '"' | '\'' | ')' | ']' | '}' | '>' | '<' | ',' | ';' | '#' | '?' | '\\' | '`'
                    )
            });
            let authority = &rest[..end.unwrap_or(rest.len())];
            count += 1;
            self.target(line, &format!("{scheme}://{authority}"), what);
        }
        count
    }

    /// One target as `Endpoint` reads it: an URL, or `user@host:path` of git.
    pub(super) fn target(&mut self, line: u32, text: &str, what: &str) {
        if text.starts_with("file://") || text.contains('$') || text.contains('{') {
            return self.leave_out(line, what, "names no host that can be read from it");
        }
        match Endpoint::parse(text) {
            Ok(Endpoint { target: Target::Name(name), port, .. }) => {
                self.host(name.as_str(), port, line, what)
            }
            Ok(_) => {
                self.leave_out(line, what, "an address; a policy permits it with `{cidr: …, ports: […]}`")
            }
            // The text may hold a secret, and is not repeated.
            Err(_) => self.leave_out(line, what, "names no host that can be read from it"),
        }
    }

    /// A lockfile implies that a tool goes to its default.
    pub(super) fn default_of(&mut self, tool: &'static str) {
        if self.defaults.len() < MOST {
            self.defaults.push((tool, self.path.clone()));
        }
    }

    /// A configuration sends these tools elsewhere: their defaults are not needed.
    pub(super) fn mirrored(&mut self, tools: &[&'static str]) {
        for tool in tools {
            self.mirrored.entry(tool).or_insert_with(|| self.path.clone());
        }
    }

    pub(super) fn leave_out(&mut self, line: u32, what: &str, why: &str) {
        if self.notes.len() < MOST {
            let note = Note {
                kind: NoteKind::LeftOut,
                what: what.to_owned(),
                file: self.path.clone(),
                line,
                why: why.to_owned(),
            };
            self.notes.entry(note.to_string()).or_insert(note);
        }
    }

    fn host(&mut self, host: &str, port: u16, line: u32, what: &str) {
        if let Err(finding) = load::rule_from_flag("--allow", host) {
            return self.leave_out(line, what, &finding.message);
        }
        if self.hosts.len() >= MOST && !self.hosts.contains_key(&(host.to_owned(), port)) {
            return self.leave_out(0, "further hosts", "there are more than a person reads");
        }
        let (evidence, more) = self.hosts.entry((host.to_owned(), port)).or_default();
        let place = Evidence { file: self.path.clone(), line, what: what.to_owned() };
        let known = evidence.iter().any(|known| known.file == place.file && known.what == place.what);
        if known || evidence.len() >= SHOWN {
            *more += 1;
        } else {
            evidence.push(place);
        }
    }

    pub(super) fn finish(mut self) -> Suggested {
        for (tool, path) in std::mem::take(&mut self.defaults) {
            self.path = path;
            let what = format!("default of {tool}");
            match self.mirrored.get(tool).cloned() {
                Some(by) => self.leave_out(0, &what, &format!("{by} names another place")),
                None => defaults::of(tool).iter().for_each(|host| self.host(host, 443, 0, &what)),
            }
        }
        let mut suggestions = Vec::new();
        for ((host, port), (evidence, more)) in self.hosts {
            let Ok(pattern) = HostPattern::parse(&host) else { continue };
            let uploads = accepts_uploads(&pattern);
            let matcher = Matcher::Host(pattern);
            let first = evidence.first();
            let origin = Origin {
                layer: Layer::Run,
                file: first.map_or_else(String::new, |place| place.file.clone()),
                line: first.map_or(0, |place| place.line),
                text: Rule::text(&matcher, &[port]),
            };
            suggestions.push(Suggestion {
                rule: Rule::new(matcher, vec![port], origin),
                evidence,
                more,
                uploads,
            });
        }
        Suggested { suggestions, notes: self.notes.into_values().collect() }
    }
}

/// Lines with their numbers, from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.lines().map(str::trim))
}

/// What stands behind `key`, an `=` or `:` between them.
pub(super) fn value_of<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    let rest = line.strip_prefix(key)?.trim_start();
    rest.strip_prefix(['=', ':']).map(str::trim)
}
