//! `ringfence doctor --bundle FILE`: facts for somebody who helps, and no secret among them.
//!
//! ```text
//!  rows, engine, policy, logs, state ─▶ numbers, words of closed lists, versions ─▶ Bundle ─▶ what it holds, told ─▶ FILE
//! ```
//! Nothing is cleaned of secrets afterwards: a fact is in it because its type has no room for one.
//! Names and evidence are texts of others; `--names` adds them, without what is known of this
//! person and machine.

mod engine;
mod runs;
mod scrub;

use std::io::Write;
use std::path::Path;

use netpolicy::load::Loaded;
use serde::Serialize;

use self::engine::EngineFacts;
use self::runs::RunFacts;
use self::scrub::Scrub;
use crate::doctor::row::Row;
use crate::host::clock::unix_seconds;
use crate::host::{open, state};
use crate::supervisor::engine::Engine;
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Folders of the state directory.
const FOLDERS: [&str; 12] = [
    "runs",
    "history",
    "events",
    "output",
    "homes",
    "layers",
    "workspace",
    "aftermath",
    "reviews",
    "told",
    "given",
    "trust",
];

/// Everything that is written.
#[derive(Debug, Serialize)]
pub(super) struct Bundle {
    /// Time of the making, in seconds since 1970.
    made_at: u64,
    ringfence: &'static str,
    system: SystemFacts,
    engine: Option<EngineFacts>,
    doctor: Vec<RowFacts>,
    policy: PolicyFacts,
    runs: Vec<RunFacts>,
    state: Vec<FolderFacts>,
}

/// This machine's system.
#[derive(Debug, Serialize)]
struct SystemFacts {
    os: &'static str,
    architecture: &'static str,
    kernel: String,
}

/// A row of the doctor.
#[derive(Debug, Serialize)]
struct RowFacts {
    risk: &'static str,
    title: &'static str,
    verdict: &'static str,
    /// Only with `--names`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
}

/// The policy of all layers.
#[derive(Debug, Serialize)]
struct PolicyFacts {
    digest: String,
    files: Vec<FileFacts>,
    allow: usize,
    deny: usize,
    ceilings: usize,
    project_trusted: bool,
    /// Only with `--names`.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A text that the policy is made of.
#[derive(Debug, Serialize)]
struct FileFacts {
    layer: String,
    /// The file's own name, without its folders.
    name: String,
    bytes: usize,
}

/// A folder of ringfence's state.
#[derive(Debug, Serialize)]
struct FolderFacts {
    name: &'static str,
    entries: u64,
    bytes: u64,
}

impl Bundle {
    /// Gathers the facts.
    pub(super) fn gather(rows: &[Row], engine: Option<&Engine>, loaded: &Loaded, names: bool) -> Bundle {
        let scrub = Scrub::of_this_machine();
        let row = |row: &Row| RowFacts {
            risk: row.risk,
            title: row.title,
            verdict: row.verdict.as_str(),
            evidence: match names {
                true => row.evidence.iter().map(|text| scrub.text(text)).collect(),
                false => Vec::new(),
            },
        };
        Bundle {
            made_at: unix_seconds(),
            ringfence: env!("CARGO_PKG_VERSION"),
            system: SystemFacts {
                os: std::env::consts::OS,
                architecture: std::env::consts::ARCH,
                kernel: scrub::version(&rustix::system::uname().release().to_string_lossy()),
            },
            engine: engine.map(EngineFacts::of),
            doctor: rows.iter().map(row).collect(),
            policy: PolicyFacts::of(loaded, names.then_some(&scrub)),
            runs: runs::last(),
            state: FOLDERS.iter().map(|name| folder(name)).collect(),
        }
    }

    /// Says what is in it.
    fn contents(&self, names: bool) -> String {
        let engine = if self.engine.is_some() { "engine, " } else { "" };
        let (evidence, hosts) = match names {
            true => ("with their evidence", "its names and rules, "),
            false => ("without their evidence", ""),
        };
        format!(
            "the bundle holds:\n  \
             versions and settings of ringfence, {engine}system and kernel\n  \
             {} rows of the doctor: verdicts {evidence}\n  \
             the policy: digest, {hosts}numbers of rules, {} files by name and size\n  \
             {} runs: times, ends, how often something was permitted or refused and why\n  \
             number and size of files in ringfence's state\n\
             and no variable, token, command, image, path or event. It is sent nowhere: read it before you send it.\n",
            self.doctor.len(),
            self.policy.files.len(),
            self.runs.len(),
        )
    }

    /// Says what is in it, writes it to a new file for its owner alone, and prints the file's path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, file: &Path, names: bool) -> Result<(), Failure> {
        term::essential_lines(self.contents(names));
        let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write {}", file.display()));
        let text = serde_json::to_string_pretty(self).map_err(|error| cannot().caused_by(&error))?;
        let mut created = open::create(file, 0o600).map_err(|refused| refused.explain(cannot()))?;
        let written = created.file.set_len(0).and_then(|()| writeln!(created.file, "{text}"));
        written.map_err(|error| cannot().caused_by(&error))?;
        term::print(&format!("{}\n", file.display()))
    }
}

impl PolicyFacts {
    /// Takes what is no name; with a scrub, the policy's text too.
    fn of(loaded: &Loaded, names: Option<&Scrub>) -> PolicyFacts {
        let policy = &loaded.policy;
        let files = loaded.files.iter().map(|file| FileFacts {
            layer: file.layer.to_string(),
            name: file_name(&file.name),
            bytes: file.text.len(),
        });
        PolicyFacts {
            digest: policy.digest(),
            files: files.collect(),
            allow: policy.allow.len(),
            deny: policy.deny.len(),
            ceilings: policy.ceilings.len(),
            project_trusted: policy.project_trusted,
            text: names.map(|scrub| scrub.text(&policy.canonical())),
        }
    }
}

/// Returns the last part of a path. A preset has no path.
fn file_name(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Counts what is directly in a folder of the state directory.
fn folder(name: &'static str) -> FolderFacts {
    let mut facts = FolderFacts { name, entries: 0, bytes: 0 };
    let entries = state::place().and_then(|place| place.join(name).read_dir().ok());
    for entry in entries.into_iter().flatten().flatten() {
        facts.entries += 1;
        facts.bytes += entry.metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 });
    }
    facts
}
