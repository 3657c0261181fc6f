//! `key = value` and `key: value`: INI, properties, TOML, YAML, HCL, git's configuration.
//!
//! ```text
//!  line ─▶ in a section or below a key that is secret? ─▶ every value goes
//!       └▶ its own key is secret?                      ─▶ its value goes, and so does what is indented below
//! ```

use std::ops::Range;

use super::manner::{Manner, is_human};
use super::patterns::Patterns;
use super::{Form, each_line};

/// Finds the secrets; `None` when a secret value goes on in a way that is not read for certain.
pub(super) fn find(form: Form, text: &[u8], manner: Manner) -> Option<Vec<Range<usize>>> {
    let patterns = Patterns::get();
    let mut spans = patterns.in_urls(text);
    let mut section = form == Form::Values;
    // The indentation of the secret key that the lines below belong to.
    let mut below: Option<usize> = None;
    let mut named = false;
    for (start, line) in each_line(text) {
        let indent = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let body = &line[indent..];
        if body.is_empty() {
            continue;
        }
        let comment = matches!(body[0], b'#' | b';');
        let manner = if comment { manner.of_comment() } else { manner };
        let mut found = LineScan { patterns, manner, start, line, spans: &mut spans };
        if form != Form::Git && form != Form::Values && body.starts_with(b"[") && body.ends_with(b"]") {
            section = patterns.secret_section.is_match(body);
        }
        if form != Form::Git {
            found.inline()?;
        }
        let is_below = below
            .is_some_and(|of| indent > of || (indent == of && (body.starts_with(b"- ") || body == b"-")));
        if !is_below {
            below = None;
        }
        if (is_below || section) && !comment && !body.starts_with(b"[") {
            found.any(is_below)?;
            named = false;
            continue;
        }
        if let Some((key, value)) = found.secret(form) {
            found.value(value)?;
            if form != Form::Git && !comment {
                // What belongs to it stands further to the right than its first letter.
                below = Some(key);
            }
            named = false;
        } else if form != Form::Git {
            named = found.pair(named)?;
        }
    }
    Some(spans)
}

/// A line, and where what was found goes.
struct LineScan<'a> {
    patterns: &'a Patterns,
    manner: Manner,
    /// Offset of the line in the text.
    start: usize,
    line: &'a [u8],
    spans: &'a mut Vec<Range<usize>>,
}

impl LineScan<'_> {
    /// Returns the place of a secret key, and its value's.
    fn secret(&self, form: Form) -> Option<(usize, Range<usize>)> {
        let captures = self.patterns.line.captures(self.line)?;
        let (key, value) = (captures.name("k")?, captures.name("v")?);
        // git's `user.signingkey` names a key, and its `credential.*` programs and users.
        let of_git = form == Form::Git && key.as_bytes().eq_ignore_ascii_case(b"signingkey");
        let harmless = of_git || self.patterns.is_harmless(key.as_bytes());
        (!harmless).then(|| (key.start(), value.range()))
    }

    /// Takes the value of whatever key, or the whole line where it has none and goes on from the
    /// one before.
    fn any(&mut self, is_below: bool) -> Option<()> {
        let Some(captures) = self.patterns.any_line.captures(self.line) else { return Some(()) };
        let value = captures.name("v").map(|value| value.range())?;
        if self.manner != Manner::Strict
            && let Some(key) = captures.name("k")
            && describes(super::unquoted(key.as_bytes()), super::unquoted(&self.line[value.clone()]))
        {
            return Some(());
        }
        let has_key = captures.name("k").is_some() || captures.name("dash").is_some();
        match has_key || is_below {
            // Closing brackets of HCL and TOML are nobody's secret.
            true if self.line[value.clone()].iter().all(|byte| b"})],".contains(byte)) => Some(()),
            true => self.value(value),
            false => Some(()),
        }
    }

    /// Takes the `value` of a line that follows a telling `name`; whether this line is such a name.
    fn pair(&mut self, named: bool) -> Option<bool> {
        let Some(captures) = self.patterns.any_line.captures(self.line) else { return Some(false) };
        let (Some(key), Some(value)) = (captures.name("k"), captures.name("v")) else { return Some(false) };
        let is = |word: &str| super::unquoted(key.as_bytes()).eq_ignore_ascii_case(word.as_bytes());
        if named && is("value") {
            self.value(value.range())?;
        }
        Some((is("name") || is("key")) && self.patterns.is_secret(value.as_bytes()))
    }

    /// Takes the part of a value that is secret; `None` when the value goes on elsewhere.
    fn value(&mut self, span: Range<usize>) -> Option<()> {
        let value = &self.line[span.clone()];
        if self.manner.is_plain(value) {
            return Some(());
        }
        let (first, last) = (value.first()?, value.last()?);
        let secret = match first {
            quote @ (b'"' | b'\'') => {
                let end = end_of_quoted(value, *quote)?;
                let inner = &value[1..end];
                // `"""` and `'''` open a text of several lines.
                if inner.is_empty() && value.len() > 2 && value[2] == *quote {
                    return None;
                }
                if self.manner.is_plain(inner) {
                    return Some(());
                }
                span.start + 1..span.start + end
            }
            // The lines of the text are judged one by one.
            b'|' | b'>' if self.manner == Manner::Texts => return Some(()),
            b'|' | b'>' | b'{' | b'[' | b'<' => return None,
            _ if *last == b'\\' => return None,
            _ => span,
        };
        self.spans.push(self.start + secret.start..self.start + secret.end);
        Some(())
    }

    /// Takes the values of secret keys within the line: `{ token = "x", url = "y" }`.
    fn inline(&mut self) -> Option<()> {
        for captures in self.patterns.inline.captures_iter(self.line) {
            let (whole, key) = (captures.get(0)?, captures.name("k")?);
            if self.patterns.is_harmless(key.as_bytes()) {
                continue;
            }
            let rest = &self.line[whole.end()..];
            let length = match rest.first()? {
                quote @ (b'"' | b'\'') => end_of_quoted(rest, *quote)? + 1,
                b'{' | b'[' | b'(' | b'|' | b'>' => return None,
                // A plain one must end on this line.
                _ => rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b')'))?,
            };
            let plain = rest[..length].trim_ascii_end().len();
            self.value(whole.end()..whole.end() + plain)?;
        }
        Some(())
    }
}

/// Tells whether a line below a secret key only describes it, as schemas and the descriptions of
/// APIs do.
fn describes(key: &[u8], value: &[u8]) -> bool {
    let is =
        |words: &[&str], text: &[u8]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    match key {
        b"type" | b"format" => is(super::shape::TYPES, value) || is(&["password", "byte", "uuid"], value),
        b"in" => is(&["query", "header", "path", "cookie", "body", "formData"], value),
        b"description" | b"title" | b"summary" | b"label" | b"help" | b"hint" => {
            is_human(value) && value.contains(&b' ')
        }
        _ => false,
    }
}

/// Returns the offset of the quote that ends a quoted value.
fn end_of_quoted(value: &[u8], quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in value.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote == b'"' => escaped = true,
            byte if *byte == quote => return Some(index),
            _ => {}
        }
    }
    None
}
