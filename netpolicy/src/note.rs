//! What a translation between formats could not carry over: importers, exporters and `suggest` say
//! it with this.
//!
//! ```text
//!  import, export, suggest ──Note (kind, what, place, why)──▶ stderr, `--json`
//! ```

use std::fmt;

use serde::Serialize;

use crate::diagnostic::harmless;

/// How the result differs from what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Nothing stands for it in the result.
    LeftOut,
    /// What stands for it permits less.
    Narrower,
    /// What stands for it permits more. Only exporters do this, where a format cannot say it more
    /// narrowly.
    Wider,
}

impl NoteKind {
    /// The words for a person.
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
    /// How it differs.
    pub kind: NoteKind,
    /// The entry or key, as the source has it.
    pub what: String,
    /// Where it stands; empty when nowhere in particular.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u32,
    /// Why.
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

/// Text of a stranger's file, made fit for a terminal.
fn shown(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut shown = harmless(&text.chars().take(LONGEST).collect::<String>());
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
