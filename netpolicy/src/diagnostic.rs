//! Faults of a policy, with their places.
//!
//! ```text
//!  yaml, load ──Diagnostic (file, line, column, source line, hint)──▶ render ──▶ text for a person
//! ```

use std::fmt::Write;

use serde::Serialize;

/// Severity of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used and perhaps says something else than meant.
    Warning,
    /// The policy is good; this is worth knowing.
    Note,
}

/// One finding in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for the kind of finding, for example `unknown-key`.
    pub code: &'static str,
    /// The fault, in words.
    pub message: String,
    /// The file as it was named, `preset gitlab@1`, or `--allow`/`--deny`.
    pub file: String,
    /// Line, from 1; 0 where the finding has no place in a file.
    pub line: u32,
    /// Column in characters, from 1; 0 where the finding has no place.
    pub column: u32,
    /// Number of characters that are marked.
    pub length: u32,
    /// The whole line, for underlining.
    pub source_line: String,
    /// Advice what to do.
    pub hint: Option<String>,
}

/// Renders all findings as plain text: place, message, the underlined source, the hint.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        render_one(&mut text, diagnostic);
    }
    text
}

fn render_one(text: &mut String, d: &Diagnostic) {
    let severity = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let file = harmless(&d.file);
    let place = if d.line == 0 { file } else { format!("{file}:{}:{}", d.line, d.column) };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{place}: {severity}: {} [{}]", harmless(&d.message), d.code);
    if !d.source_line.is_empty() && d.column > 0 {
        let number = if d.line == 0 { String::new() } else { d.line.to_string() };
        let (source, column, length) = window(d);
        let _ = writeln!(text, "{number:>5} | {source}");
        let underline = "^".repeat(length.max(1));
        let _ = writeln!(text, "      | {:indent$}{underline}", "", indent = column);
    }
    if let Some(hint) = &d.hint {
        let _ = writeln!(text, "      = hint: {}", harmless(hint));
    }
}

/// Tells whether a character shows as itself: no control character, and none that hides, joins or
/// turns others, so that a person sees the text as it is.
pub fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(
            c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        )
        || ('\u{180B}'..='\u{180F}').contains(&c)
        || ('\u{200B}'..='\u{200F}').contains(&c)
        || ('\u{2028}'..='\u{202E}').contains(&c)
        || ('\u{2060}'..='\u{206F}').contains(&c)
        || matches!(c, '\u{3164}' | '\u{FEFF}' | '\u{FFA0}')
        || ('\u{FE00}'..='\u{FE0F}').contains(&c)
        || ('\u{FFF0}'..='\u{FFFB}').contains(&c)
        || ('\u{1D173}'..='\u{1D17A}').contains(&c)
        || ('\u{E0000}'..='\u{E0FFF}').contains(&c))
}

/// Makes a text fit for a terminal: characters that are not harmless are written out.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// Returns the part of the source line to show, with control characters made harmless: at most 160
/// characters around the finding. Returns it with the 0-based column and the length in it.
fn window(d: &Diagnostic) -> (String, usize, usize) {
    const WIDTH: usize = 160;
    let column = d.column.saturating_sub(1) as usize;
    let characters: Vec<char> =
        d.source_line.chars().map(|c| if is_harmless(c) { c } else { '\u{B7}' }).collect();
    let column = column.min(characters.len());
    let from = if characters.len() <= WIDTH { 0 } else { column.saturating_sub(40) };
    let shown: String = characters.iter().skip(from).take(WIDTH).collect();
    let left = shown.chars().count().saturating_sub(column - from);
    (shown, column - from, (d.length as usize).min(left))
}
