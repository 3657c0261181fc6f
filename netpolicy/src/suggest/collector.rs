//! Hosts as the readers find them, gathered by host and port.
//!
//! ```text
//!  reader ──reference, text, default_of, mirrored──▶ Found ──finish──▶ Suggested
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::reference::{self, ReferenceTarget};
use super::suggestion::{Evidence, Suggested, Suggestion};
use super::tree::Unreadable;
use super::{defaults, test_data};
use crate::host::HostPattern;
use crate::load;
use crate::note::{Note, NoteKind};
use crate::policy::{Layer, Matcher, Origin, Rule};
use crate::target::Target;
use crate::uploads::accepts_uploads;

/// Places that are kept for each host.
const SHOWN: usize = 3;
/// Hosts and notes that are kept: nobody reads more.
const MOST: usize = 2000;

/// Folders that a tool's configuration lies in, below the folder that it is about.
const TOOL_FOLDERS: &[&str] = &[".cargo", ".mvn", ".bundle", ".config", "gradle", "wrapper"];

/// The places that show one host.
#[derive(Default)]
struct Host {
    evidence: Vec<Evidence>,
    more: usize,
    /// Tells whether one of them is no test's.
    outside_tests: bool,
}

#[derive(Default)]
pub(super) struct Collector {
    /// Every file that is read.
    paths: BTreeSet<String>,
    path: String,
    /// Set when the present file has given evidence.
    spoke: bool,
    /// Files that said nothing.
    silent: Vec<String>,
    hosts: BTreeMap<(String, u16), Host>,
    notes: BTreeMap<String, Note>,
    /// Tools whose files imply their default, with the file.
    defaults: Vec<(&'static str, String, String)>,
    /// Tools that a configuration sends elsewhere, with the file.
    mirrored: Vec<(&'static str, String)>,
    /// Values that build files refer to by name, with the folder that they are for.
    variables: Vec<(String, String, String)>,
}

impl Collector {
    /// Begins a project with these files.
    pub(super) fn among<'p>(paths: impl Iterator<Item = &'p str>) -> Collector {
        Collector { paths: paths.map(str::to_owned).collect(), ..Collector::default() }
    }

    /// Tells whether one of these files lies in the folder at hand, or above it.
    pub(super) fn has_lockfile(&self, names: &[&str]) -> bool {
        let here = folder_of(&self.path);
        self.paths.iter().any(|path| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            names.contains(&name) && contains(folder, here)
        })
    }

    /// Begins a file.
    pub(super) fn begin(&mut self, path: &str) {
        path.clone_into(&mut self.path);
        self.spoke = false;
    }

    /// Ends a file: one that said nothing is told with the others at the end.
    pub(super) fn end(&mut self) {
        if !self.spoke {
            self.silent.push(std::mem::take(&mut self.path));
        }
    }

    /// Tells that a file could not be understood.
    pub(super) fn unreadable(&mut self, error: &Unreadable) {
        self.leave_out(error.line, "file", &format!("it could not be understood: {}", error.why));
    }

    /// Takes the host of one reference: a URL, or one of git's short forms.
    pub(super) fn reference(&mut self, line: u32, text: &str, what: &str) {
        match reference::read(text) {
            ReferenceTarget::Local => {}
            ReferenceTarget::Unreadable(why) => self.leave_out(line, what, why),
            ReferenceTarget::Remote(endpoint) => match endpoint.target {
                Target::Name(name) => self.host(name.as_str(), endpoint.port, line, what),
                Target::Address(_) => {
                    self.leave_out(line, what, "an address; a policy permits it with `{cidr: …, ports: […]}`")
                }
            },
        }
    }

    /// Takes every URL of a stretch of text.
    pub(super) fn urls_in(&mut self, line: u32, text: &str, what: &str) -> usize {
        let word = |c: char| {
            !(c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | '<' | '>' | ',' | ';'))
        };
        let words = text.split(|c| !word(c)).filter(|word| word.contains("://"));
        let mut count = 0;
        for url in words {
            let from = url.find("://").unwrap_or(0);
            let scheme = url[..from]
                .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
                .map_or(0, |before| before + url[before..].chars().next().map_or(1, char::len_utf8));
            self.reference(line, url[scheme..].trim_end_matches(['}', ']']), what);
            count += 1;
        }
        count
    }

    /// Notes that a file implies that a tool goes to its default; `why` is said beside it.
    pub(super) fn default_of(&mut self, tool: &'static str) {
        self.default_by(tool, "default of");
    }

    /// Notes the default of a tool for a project without a lockfile.
    pub(super) fn default_without_lockfile(&mut self, tool: &'static str) {
        self.default_by(tool, "no lockfile; default of");
    }

    fn default_by(&mut self, tool: &'static str, words: &str) {
        self.spoke = true;
        if self.defaults.len() < MOST {
            self.defaults.push((tool, self.path.clone(), format!("{words} {tool}")));
        }
    }

    /// Notes that the file at hand sends these tools elsewhere: their defaults are not needed.
    pub(super) fn mirrored(&mut self, tools: &[&'static str]) {
        self.spoke = true;
        if self.mirrored.len() < MOST {
            self.mirrored.extend(tools.iter().map(|tool| (*tool, self.path.clone())));
        }
    }

    /// Keeps a value that build files of this folder, and below it, refer to.
    pub(super) fn variable(&mut self, name: &str, value: &str) {
        self.spoke = true;
        if self.variables.len() < MOST {
            self.variables.push((folder_of(&self.path).to_owned(), name.to_owned(), value.to_owned()));
        }
    }

    /// Looks up a value for the file at hand: the nearest folder's counts.
    pub(super) fn value_of(&self, name: &str) -> Option<&str> {
        let here = folder_of(&self.path);
        self.variables
            .iter()
            .filter(|(folder, known, _)| known == name && contains(folder, here))
            .max_by_key(|(folder, ..)| folder.len())
            .map(|(.., value)| value.as_str())
    }

    pub(super) fn leave_out(&mut self, line: u32, what: &str, why: &str) {
        self.spoke = true;
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

    /// Takes a host by its name.
    pub(super) fn host(&mut self, host: &str, port: u16, line: u32, what: &str) {
        self.spoke = true;
        if let Err(finding) = load::rule_from_flag("--allow", host) {
            return self.leave_out(line, what, &finding.message);
        }
        if self.hosts.len() >= MOST && !self.hosts.contains_key(&(host.to_owned(), port)) {
            return self.leave_out(0, "further hosts", "there are more than a person reads");
        }
        let Host { evidence, more, outside_tests } = self.hosts.entry((host.to_owned(), port)).or_default();
        *outside_tests |= !test_data::is_of_tests(&self.path);
        let place = Evidence { file: self.path.clone(), line, what: what.to_owned() };
        let known = evidence.iter().any(|known| known.file == place.file && known.what == place.what);
        if known || evidence.len() >= SHOWN {
            *more += 1;
        } else {
            evidence.push(place);
        }
    }

    /// Tells which files name no host, in one note.
    fn tell_silent(&mut self) {
        const NAMED: usize = 8;
        let Some(first) = self.silent.first().cloned() else { return };
        let more = self.silent.len().saturating_sub(NAMED);
        let names = self.silent.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let (what, why) = match (self.silent.len(), more) {
            (1, _) => ("file", "no host is named in it".to_owned()),
            (_, 0) => ("files", format!("no host is named in {names}")),
            _ => ("files", format!("no host is named in {names} and {more} more")),
        };
        self.path = if what == "file" { first } else { String::new() };
        self.leave_out(0, what, &why);
    }

    pub(super) fn finish(mut self) -> Suggested {
        for (tool, path, what) in std::mem::take(&mut self.defaults) {
            let folder = folder_of(&path).to_owned();
            let by =
                self.mirrored.iter().find(|(known, by)| *known == tool && contains(folder_of(by), &folder));
            let by = by.map(|(_, by)| by.clone());
            self.path = path;
            match by {
                Some(by) => self.leave_out(0, &what, &format!("{by} names another place")),
                None => defaults::of(tool).iter().for_each(|host| self.host(host, 443, 0, &what)),
            }
        }
        self.tell_silent();
        let mut suggestions = Vec::new();
        for ((host, port), Host { evidence, more, outside_tests }) in self.hosts {
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
                only_in_tests: !outside_tests,
                uploads,
            });
        }
        Suggested { suggestions, notes: self.notes.into_values().collect() }
    }
}

/// Returns the folder that a file is about: for `a/.cargo/config.toml`, `a`.
fn folder_of(path: &str) -> &str {
    let mut folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    while let Some(name) = TOOL_FOLDERS.iter().find(|name| {
        folder == **name || folder.strip_suffix(**name).is_some_and(|before| before.ends_with('/'))
    }) {
        folder = folder[..folder.len() - name.len()].trim_end_matches('/');
    }
    folder
}

/// Tells whether `inner` is the folder `outer` or lies below it.
fn contains(outer: &str, inner: &str) -> bool {
    outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
