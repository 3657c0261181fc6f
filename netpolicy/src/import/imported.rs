//! Formats of an import, and its result.

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::note::Note;
use crate::policy::Rule;

/// The largest file that is read.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Entries that one file may have.
pub(super) const MAX_ENTRIES: usize = 100_000;

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
