//! Places in a file, and the findings about them.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};

/// Lines longer than this are not shown under a finding.
pub(super) const MAX_SHOWN_LINE: usize = 2000;
/// Findings of one file that are kept.
const MAX_FINDINGS: usize = 100;

/// A stretch of a file, able to become a diagnostic after the file's text is gone.
#[derive(Clone, Debug)]
pub struct SourcePlace {
    pub(super) file: Arc<str>,
    pub(super) source_line: Arc<str>,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) length: u32,
    /// Columns between the beginning of the place and its text: 1 for a quote; none when they
    /// differ.
    pub(super) inset: Option<u32>,
}

impl SourcePlace {
    /// Makes a place of the text of a command line option.
    pub fn flag(flag: &str, text: &str) -> SourcePlace {
        SourcePlace {
            file: flag.into(),
            source_line: text.into(),
            line: 0,
            column: 1,
            length: count(text),
            inset: Some(0),
        }
    }

    /// Makes a place of a whole file, or of one that cannot be read.
    pub fn file(file: &str) -> SourcePlace {
        SourcePlace { file: file.into(), source_line: "".into(), line: 0, column: 0, length: 0, inset: None }
    }

    /// Makes a place of one character of a line of a file that is no YAML: `line` from 1, `column`
    /// from 0.
    pub(crate) fn line_of(file: &str, line: usize, column: usize, text: &str) -> SourcePlace {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let shown = if text.len() > MAX_SHOWN_LINE { "" } else { text };
        SourcePlace {
            file: file.into(),
            source_line: shown.into(),
            line: number(line),
            column: number(column.saturating_add(1)),
            length: 1,
            inset: None,
        }
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file
    }

    /// Returns the line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the characters `from..from + length` of the place's text.
    pub(crate) fn part(&self, from: usize, length: usize) -> SourcePlace {
        let mut part = self.clone();
        if let (Some(inset), Ok(from), Ok(length)) = (self.inset, u32::try_from(from), u32::try_from(length))
        {
            part.column = self.column.saturating_add(inset).saturating_add(from);
            part.length = length;
        }
        part
    }

    /// Returns an error in this place.
    pub fn error(&self, code: &'static str, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, code, message.into(), hint)
    }

    /// Returns a warning in this place.
    pub fn warning(
        &self,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Diagnostic {
        self.diagnostic(Severity::Warning, code, message.into(), hint)
    }

    pub(crate) fn note(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Note, code, message.into(), None)
    }

    fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity,
            code,
            message,
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            length: self.length,
            source_line: self.source_line.to_string(),
            hint,
        }
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// Findings of one file; beyond a limit they are only counted.
#[derive(Debug, Default)]
pub struct Findings {
    pub(super) list: Vec<Diagnostic>,
    left_out: usize,
}

impl Findings {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        // A warning never takes the place of an error.
        if self.list.len() < MAX_FINDINGS || (diagnostic.severity == Severity::Error && !self.has_errors()) {
            self.list.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Tells whether a finding is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns the findings in the order of the file.
    pub fn finish(mut self, file: &str) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| (finding.line, finding.column));
        if self.left_out > 0 {
            let message = format!("{} more findings in this file are not shown", self.left_out);
            self.list.push(SourcePlace::file(file).warning("too-many", message, None));
        }
        self.list
    }
}
