//! Configuration without its secret values, the rest intact.
//!
//! An emptied configuration would do harm: a registry mapping that is gone sends package managers
//! to the public registry. What is written in a way that this module does not read for certain is
//! hidden whole.

mod json;
mod lines;
mod manner;
mod patterns;
mod php;
mod shape;
#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;
use std::path::Path;

use manner::Manner;
use patterns::Patterns;

/// Text that stands in the place of a secret.
pub(crate) const MASK: &str = "masked-by-ringfence";

/// Syntax of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `key = value` or `key: value`, one a line: INI, properties, TOML, YAML, HCL.
    Lines,
    /// Lines of which every value is a secret.
    Values,
    /// git's own INI.
    Git,
    /// `key value`, one a line: yarn 1, Redis.
    Words,
    /// curl's options, one a line.
    Curl,
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// PHP: literal texts that a telling name is given.
    Php,
}

/// Outcome for a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scrubbed {
    /// The configuration holds no secret: it stays as it is, and the agent may change it.
    Clean,
    /// The configuration without its secrets.
    Masked(Vec<u8>),
    /// The configuration cannot be read for certain.
    Unclear,
}

/// Takes the secret values out of a credential store.
pub(crate) fn scrub(form: Form, text: &[u8]) -> Scrubbed {
    scrub_as(Manner::Strict, form, text)
}

/// Takes the secret values out of a file whose name other files have too, by what it shows itself
/// to be.
pub(crate) fn judge(form: Form, path: &Path, text: &[u8]) -> Scrubbed {
    scrub_as(shape::manner(form, path, text), form, text)
}

fn scrub_as(manner: Manner, form: Form, text: &[u8]) -> Scrubbed {
    if form == Form::Json {
        return json::scrub(text, manner);
    }
    if std::str::from_utf8(text).is_err() || text.contains(&0) {
        return Scrubbed::Unclear;
    }
    let spans = match form {
        Form::Xml => Some(Patterns::get().in_xml(text, manner)),
        Form::Php => Some(php::find(text, manner)),
        Form::Words => Some(words::find(text, manner)),
        Form::Curl => Some(words::find_curl(text, manner)),
        Form::Lines | Form::Values | Form::Git | Form::Json => lines::find(form, text, manner),
    };
    match spans {
        None => Scrubbed::Unclear,
        Some(spans) if spans.is_empty() => Scrubbed::Clean,
        Some(spans) => Scrubbed::Masked(replace(text, spans, |_| MASK.into())),
    }
}

/// Returns a text with other words in the place of some spans, which may overlap.
pub(crate) fn replace(text: &[u8], mut spans: Vec<Range<usize>>, with: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    spans.sort_by_key(|span| (span.start, span.end));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for span in spans {
        if span.start < at {
            // What overlaps is one secret, and has its words already.
            at = at.max(span.end);
            continue;
        }
        out.extend_from_slice(&text[at..span.start]);
        out.extend_from_slice(&with(span.len()));
        at = span.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// Returns the lines of a text without their ends, each with its place in the text.
fn each_line(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    text.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line.strip_suffix(b"\n").unwrap_or(line).trim_ascii_end())
    })
}

/// Returns a word without the quotes around it.
fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [first @ (b'"' | b'\''), inner @ .., last] if first == last => inner,
        [inner @ .., b'"' | b'\''] => inner,
        [b'"' | b'\'', inner @ ..] => inner,
        all => all,
    }
}
