//! Stars without quotes: YAML takes `- *.x` for an alias, a person means a pattern.

use std::collections::HashMap;
use std::sync::Arc;

use super::place::SourcePlace;
use crate::diagnostic::Diagnostic;

/// Stands for a `*` that was reported already, so that the rest of the file can be read too.
pub(super) const MASK: char = '\u{E000}';

/// A `*` at the beginning of a plain scalar.
pub(super) struct Star {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

impl Star {
    pub(super) fn finding(&self, place: &SourcePlace) -> Diagnostic {
        match self.text.as_str() {
            "*" => place.error(
                "any-host",
                "`*` would permit every name",
                Some("list the names that are needed, for example \"*.example.com\"".into()),
            ),
            text if text.contains('.') => place.error(
                "unquoted-star",
                format!("`{text}` needs quotes: a bare `*` begins an alias in YAML"),
                Some(format!("write \"{text}\"")),
            ),
            text => place.error(
                "alias",
                format!("the alias `{text}` is refused"),
                Some("write the value out; a name pattern needs quotes".into()),
            ),
        }
    }
}

/// Finds every `*` that begins a plain scalar.
pub(super) fn bare_stars(lines: &[Arc<str>]) -> Vec<Star> {
    let mut stars = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let mut quote = None;
        let mut before = '\n';
        let mut before_blank = '-';
        for (column, (at, c)) in line.char_indices().enumerate() {
            let begins = matches!(before, '\n' | ' ' | '\t' | '[' | ',' | '{');
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if begins => quote = Some(c),
                (None, '#') if matches!(before, '\n' | ' ' | '\t') => break,
                (None, '*') if begins && matches!(before_blank, '-' | ':' | '[' | ',' | '{') => {
                    let text: String = line[at..]
                        .chars()
                        .take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ']' | '}'))
                        .collect();
                    stars.push(Star { line: index + 1, column, text });
                }
                (None, _) => {}
            }
            before = c;
            if !c.is_whitespace() {
                before_blank = c;
            }
        }
    }
    stars
}

/// Puts [`MASK`] where the stars are.
pub(super) fn mask(text: &str, stars: &[Star]) -> String {
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    for star in stars {
        places.entry(star.line).or_default().push(star.column);
    }
    let mut masked = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match places.get(&(index + 1)) {
            None => masked.push_str(line),
            Some(columns) => masked
                .extend(line.chars().enumerate().map(|(i, c)| if columns.contains(&i) { MASK } else { c })),
        }
    }
    masked
}
