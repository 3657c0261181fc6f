//! What a configuration of git is to be after a run.
//!
//! ```text
//!  text before ──────────────────────────────┐
//!  text after ─▶ entries ─▶ what may stay? ──┴─▶ text before, with those changes written into it
//! ```
//! It is built on the text from before: what an agent wrote comes in as single entries of permitted names, written anew. So a text that
//! git reads otherwise than we do changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::config::{self, Entry, Name, parse};
use super::keys::{Place, by_name, may_stay};
use super::record::{Digest, digest};

/// A configuration before the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// Its text; secrets that the agent could not read are masked in it.
    pub text: &'a [u8],
    /// Which entries those are, and their values' digests.
    pub hidden: &'a [(usize, Digest)],
}

/// What it is to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    /// The text.
    pub text: Vec<u8>,
    /// Names whose values were put back.
    pub put_back: Vec<String>,
    /// Names whose values were secrets that nobody kept.
    pub lost: Vec<String>,
}

/// Judges the text after the run; nothing when either text cannot be read.
pub fn judge(before: Before<'_>, after: &[u8], place: Place<'_>) -> Option<Judged> {
    let mut was = parse(before.text)?;
    let now = parse(after)?;
    let mut edits = Edits::default();
    let lost = uncover(&mut was, before.hidden, &now, &mut edits);
    let (old, new) = (by_name(&was), by_name(&now));
    let mut put_back = Vec::new();
    let mut expected: BTreeMap<&[u8], _> = old.clone();
    let mut names: Vec<&[u8]> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| old.get(name) != new.get(name)) {
        if !may_stay(name, &old, &new, place) {
            put_back.push(shown(name));
            continue;
        }
        let values = new.get(name).cloned().unwrap_or_default();
        edits.set(name, &values, &was, &now);
        match values.is_empty() {
            true => expected.remove(name),
            false => expected.insert(name, values),
        };
    }
    let text = edits.apply(before.text);
    // Nothing is written that would not be read as it is meant.
    let read = parse(&text)?;
    (by_name(&read) == expected).then(|| Judged {
        lost: put_back.iter().filter(|name| lost.contains(name)).cloned().collect(),
        text,
        put_back,
    })
}

/// Puts the secrets back into the entries of the text before, as far as the text after still has them; the names of the others.
fn uncover(was: &mut [Entry], hidden: &[(usize, Digest)], now: &[Entry], edits: &mut Edits) -> Vec<String> {
    let mut lost = Vec::new();
    for (index, wanted) in hidden {
        let Some(entry) = was.get_mut(*index) else { continue };
        let same = |other: &&Entry| {
            other.name == entry.name && other.value.as_deref().is_some_and(|value| digest(value) == *wanted)
        };
        match now.iter().find(same) {
            Some(other) => {
                entry.value = other.value.clone();
                // Its indentation stands before it.
                let text = config::line(&entry.key, entry.value.as_deref());
                edits.0.push((entry.span.clone(), text[1..].to_vec()));
            }
            None => lost.push(shown(&entry.name)),
        }
    }
    lost
}

/// A name for people.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Other texts in the place of some parts of a text.
#[derive(Debug, Default)]
struct Edits(Vec<(Range<usize>, Vec<u8>)>);

impl Edits {
    /// Gives a name other values: behind the last entry of its section, else in a new section at the end.
    fn set(&mut self, name: &[u8], values: &[Option<&[u8]>], was: &[Entry], now: &[Entry]) {
        let parts = Name::of(name);
        let spelled = now.iter().find(|entry| entry.name == name).map_or(parts.key, |entry| &entry.key);
        let of_section = |entry: &&Entry| {
            let other = Name::of(&entry.name);
            (other.section, other.subsection) == (parts.section, parts.subsection)
        };
        for entry in was.iter().filter(|entry| entry.name == name) {
            // What stands behind a section's head on its line keeps that line's end.
            self.0.retain(|(span, _)| *span != entry.span);
            self.0.push((entry.span.clone(), b"\n".to_vec()));
        }
        if values.is_empty() {
            return;
        }
        let lines = values.iter().flat_map(|value| config::line(spelled, *value));
        match was.iter().rfind(of_section) {
            Some(last) => self.0.push((last.span.end..last.span.end, lines.collect())),
            None => {
                let head = config::head(&parts);
                let end = usize::MAX..usize::MAX;
                match self.0.iter_mut().find(|(span, text)| *span == end && text.starts_with(&head)) {
                    Some((_, text)) => text.extend(lines),
                    None => self.0.push((end, head.into_iter().chain(lines).collect())),
                }
            }
        }
    }

    fn apply(mut self, text: &[u8]) -> Vec<u8> {
        self.0.sort_by_key(|(span, _)| (span.start, span.end));
        let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
        for (span, with) in self.0 {
            let (start, end) = (span.start.min(text.len()), span.end.min(text.len()));
            out.extend_from_slice(&text[at..start]);
            // The last line may have no end.
            if !out.is_empty()
                && !out.ends_with(b"\n")
                && with.first().is_some_and(|byte| matches!(byte, b'\t' | b'['))
                && start == text.len()
            {
                out.push(b'\n');
            }
            // An entry that is gone leaves no empty line.
            let alone = with == b"\n"
                && (out.is_empty() || text[..start].rsplit(|byte| *byte == b'\n').next().is_some_and(blank));
            if alone {
                while out.last().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                    out.pop();
                }
            } else {
                out.extend_from_slice(&with);
            }
            at = end;
        }
        out.extend_from_slice(&text[at..]);
        out
    }
}

fn blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
