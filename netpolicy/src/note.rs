//! What a translation between formats could not carry over: importers, exporters and `suggest` say it with this.
//!
//! ```text
//!  import, export, suggest ──Note (kind, what, place, why)──▶ stderr, `--json`
//! ```

use std::fmt;

use serde::Serialize;

/// How the result differs from what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Nothing stands for it in the result.
    LeftOut,
    /// What stands for it permits less.
    Narrower,
    /// What stands for it permits more. Only exporters do this, where a format cannot say it more narrowly.
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
            (file, 0) => write!(f, "{}: ", harmless(file))?,
            (file, line) => write!(f, "{}:{line}: ", harmless(file))?,
        }
        write!(f, "{}: {}: {}", self.kind.as_str(), harmless(&self.what), harmless(&self.why))
    }
}

/// Text of a stranger's file, made fit for a terminal.
fn harmless(text: &str) -> String {
    const SHOWN: usize = 160;
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if is_tricky(c) { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and those that turn the direction of text round.
fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}
