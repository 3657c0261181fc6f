//! Other programs' allowlists as rules.
//!
//! ```text
//!  text ──detect or --from──▶ gitlab | srt | gh-aw | httpjail | squid ──▶ Intake ──▶ Imported (rules, notes)
//! ```
//! An import never permits a name that its source does not: what cannot be said exactly is
//! permitted more narrowly or left out, and denied more widely. Whatever differs is in the notes.

mod gh_aw;
pub mod gitlab;
mod httpjail;
mod intake;
mod json;
mod squid;
mod srt;

use serde::Serialize;

use self::intake::Intake;
use crate::diagnostic::Diagnostic;
use crate::note::Note;
use crate::policy::{Layer, Rule};
use crate::yaml::Node;

/// The largest file that is read.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Entries that one file may have.
const MAX_ENTRIES: usize = 100_000;

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `network_policy` in GitLab's `.gitlab/duo/agent-config.yml`.
    Gitlab,
    /// Settings of Anthropic's sandbox runtime, alone or under `sandbox` in an agent's settings.
    Srt,
    /// Configuration or domain list of GitHub's agentic workflow firewall.
    GhAw,
    /// Rules of httpjail and its relatives: `allow: REGEX`, `deny: REGEX`, a line each.
    Httpjail,
    /// A domain list or a configuration of Squid.
    Squid,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 5] = [Format::Gitlab, Format::Srt, Format::GhAw, Format::Httpjail, Format::Squid];

    /// Returns the word that `--from` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Gitlab => "gitlab",
            Format::Srt => "srt",
            Format::GhAw => "gh-aw",
            Format::Httpjail => "httpjail",
            Format::Squid => "squid",
        }
    }
}

/// Result of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The format that was read.
    pub format: Format,
    /// Permissions, in the order of the source.
    pub allow: Vec<Rule>,
    /// Denials.
    pub deny: Vec<Rule>,
    /// Differences from the source.
    pub notes: Vec<Note>,
}

/// Reason for which nothing could be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The text is larger than [`MAX_TEXT`].
    #[error("it is larger than {} MiB", MAX_TEXT / 1024 / 1024)]
    TooLarge,
    /// The text has more entries than are read.
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooMany,
    /// YAML or JSON that is broken, or has what a policy may not have.
    #[error("it cannot be read")]
    Unreadable(Vec<Diagnostic>),
    /// The file is not shaped as its format says.
    #[error("line {line}: {message}")]
    Shape {
        /// Line of the fault.
        line: u32,
        /// Expected and found text.
        message: String,
    },
    /// No format has been recognised.
    #[error("its format is not recognised")]
    Unknown,
    /// A plain list of names means different things to different programs.
    #[error(
        "a list of names means different things to gh-aw (`x.example` with everything below it) and to squid (that name alone)"
    )]
    Ambiguous,
    /// Rules that are a program.
    #[error("its rules are a program, which is not run and cannot be translated")]
    Program,
}

/// Reads `text`, in `format` or in the one that it looks like.
pub fn import(file: &str, text: &str, format: Option<Format>, layer: Layer) -> Result<Imported, ImportError> {
    if text.len() > MAX_TEXT {
        return Err(ImportError::TooLarge);
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let format = match format {
        Some(format) => format,
        None => detect(file, text)?,
    };
    let mut intake = Intake::new(file, layer);
    match format {
        Format::Gitlab => gitlab::read(text, &mut intake)?,
        Format::Srt => srt::read(text, &mut intake)?,
        Format::GhAw => gh_aw::read(text, &mut intake)?,
        Format::Httpjail => httpjail::read(text, &mut intake)?,
        Format::Squid => squid::read(text, &mut intake)?,
    }
    intake.finish(format)
}

/// Tells the format, by the structure of a file: its keys, or what its lines are. Words in comments
/// and values say nothing.
fn detect(file: &str, text: &str) -> Result<Format, ImportError> {
    if file.ends_with(".js") || file.ends_with(".mjs") {
        return Err(ImportError::Program);
    }
    match intake::root(file, text) {
        Ok(root) => {
            if let Some(format) = by_keys(&root) {
                return Ok(format);
            }
        }
        // Nothing else looks like JSON.
        Err(error) if intake::is_json(text) => return Err(error),
        Err(_) => {}
    }
    if file.ends_with("agent-config.yml") {
        return Ok(Format::Gitlab);
    }
    let lines: Vec<&str> = intake::lines(text).map(|(_, line)| line).collect();
    if lines.first().is_some_and(|line| httpjail::is_rule(line)) {
        return Ok(Format::Httpjail);
    }
    if lines.iter().any(|line| line.starts_with("acl ") || line.starts_with("http_access ")) {
        return Ok(Format::Squid);
    }
    let names = |line: &&str| !line.contains([':', '{', '=', '"']) || line.contains("://");
    if lines.is_empty() || !lines.iter().all(names) {
        return Err(ImportError::Unknown);
    }
    // Guessing wrong would widen: a name is read with everything below it only where nobody else
    // writes so.
    let awf = lines.iter().any(|line| line.contains("://") || line.contains(','));
    let squid = lines.iter().any(|line| line.starts_with('.'));
    match (awf, squid) {
        (true, false) => Ok(Format::GhAw),
        (false, true) if !lines.iter().any(|line| line.contains('*')) => Ok(Format::Squid),
        _ => Err(ImportError::Ambiguous),
    }
}

/// Tells the format of a mapping by its keys.
fn by_keys(root: &[(Node, Node)]) -> Option<Format> {
    let get = |pairs: &[(Node, Node)], wanted: &str| {
        let found = pairs.iter().find(|(key, _)| key.as_str() == Some(wanted));
        found.map(|(_, value)| intake::pairs(wanted, value).map(<[_]>::to_vec).unwrap_or_default())
    };
    let has = |pairs: &[(Node, Node)], words: &[&str]| words.iter().any(|word| get(pairs, word).is_some());
    if has(root, &["network_policy"]) {
        return Some(Format::Gitlab);
    }
    let sandbox = get(root, "sandbox").and_then(|sandbox| get(&sandbox, "network"));
    let network = get(root, "network").or(sandbox)?;
    if has(&network, &["allowedDomains", "deniedDomains"]) {
        Some(Format::Srt)
    } else if has(&network, &["allowDomains", "blockDomains"]) {
        Some(Format::GhAw)
    } else {
        None
    }
}
