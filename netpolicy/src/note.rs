//! Notes about a translation between formats: importers, exporters and `suggest` report with them
//! what they could not carry over.
//!
//! ```text
//!  import, export, suggest ──Note (kind, what, place, why)──▶ stderr, `--json`
//! ```

use std::fmt;

use serde::Serialize;

use crate::diagnostic::harmless;

/// Difference between the result and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// The result has no replacement.
    LeftOut,
    /// The replacement permits less.
    Narrower,
    /// The replacement permits more. Only exporters do this, where a format cannot say it more
    /// narrowly.
    Wider,
}

impl NoteKind {
    /// Returns the words for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            NoteKind::LeftOut => "left out",
            NoteKind::Narrower => "narrower",
            NoteKind::Wider => "wider",
        }
    }
}

/// One thing that is not the same on the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Kind of the difference.
    pub kind: NoteKind,
    /// The entry or key, as the source has it.
    pub what: String,
    /// File of the source; empty when the note is about no place in particular.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u32,
    /// Cause of the difference.
    pub why: String,
}

fn is_zero(line: &u32) -> bool {
    *line == 0
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => {}
            (file, 0) => write!(f, "{}: ", shown(file))?,
            (file, line) => write!(f, "{}:{line}: ", shown(file))?,
        }
        write!(f, "{}: {}: {}", self.kind.as_str(), shown(&self.what), shown(&self.why))
    }
}

/// Makes a text of a stranger's file fit for a terminal.
fn shown(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut shown = harmless(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
