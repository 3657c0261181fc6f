//! Faults of a policy, with their places.
//!
//! ```text
//!  yaml, load ──Diagnostic (file, line, column, source line, hint)──▶ render ──▶ text for a person
//! ```

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
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
        text.push_str(&excerpt(d));
    }
    if let Some(hint) = &d.hint {
        let _ = writeln!(text, "  = hint: {}", harmless(hint));
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

/// Draws the source line with the finding underlined. The line is made harmless before the library
/// sees it, one character for one, so that places stay where they are; tabs it shows as blanks, and
/// it knows how wide each character is.
fn excerpt(d: &Diagnostic) -> String {
    const WIDTH: usize = 160;
    /// Columns of the longest underline: the library would show a longer one whole.
    const UNDERLINED: u32 = 80;
    let shown = |c: char| if c == '\t' || is_harmless(c) { c } else { '\u{B7}' };
    let source: String = d.source_line.chars().map(shown).collect();
    let at = |characters: usize| source.char_indices().nth(characters).map_or(source.len(), |(at, _)| at);
    let first = d.column.saturating_sub(1) as usize;
    let span = at(first)..at(first.saturating_add(d.length.clamp(1, UNDERLINED) as usize));
    let snippet = Snippet::source(&source)
        .line_start(d.line.max(1) as usize)
        .annotation(AnnotationKind::Primary.span(span));
    let group = Group::with_level(Level::ERROR).element(snippet);
    Renderer::plain().term_width(WIDTH).render(&[group]) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, column: u32, length: u32) -> String {
        render(&[Diagnostic {
            severity: Severity::Error,
            code: "code",
            message: "message".to_owned(),
            file: "p.yml".to_owned(),
            line: 7,
            column,
            length,
            source_line: source.to_owned(),
            hint: None,
        }])
    }

    #[test]
    fn the_underline_stands_below_what_is_meant_however_wide() {
        assert!(shown("\ta: b", 2, 1).contains("7 |     a: b\n  |     ^\n"), "{}", shown("\ta: b", 2, 1));
        let wide = shown("日本: x", 5, 1);
        assert!(wide.contains("7 | 日本: x\n  |       ^\n"), "{wide}");
        let end = shown("ab", 3, 4);
        assert!(end.contains("7 | ab\n  |   ^\n"), "{end}");
    }

    #[test]
    fn nothing_of_a_source_line_reaches_the_terminal_as_it_is_unless_it_is_harmless() {
        for hostile in ["\u{1b}[2Ka: b", "a\u{202e}: b", "a\u{200b}: b", "a\r: b", "a\u{7}: b", "a\u{0}: b"] {
            for column in 1..=8 {
                let text = shown(hostile, column, 2);
                assert!(text.chars().all(|c| c == '\n' || is_harmless(c)), "{text:?}");
                assert!(text.contains('\u{B7}'), "{text:?}");
            }
        }
        let long = shown(&format!("{}here{}", "日".repeat(400), "\u{1b}".repeat(400)), 401, 4);
        let all = shown(&"x".repeat(1500), 1, 1500);
        assert!(all.lines().all(|line| line.chars().count() < 200), "{all}");
        assert!(long.contains("here") && long.lines().all(|line| line.chars().count() < 200), "{long}");
    }
}
