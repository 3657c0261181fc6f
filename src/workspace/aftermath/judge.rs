//! Judgement of a git configuration after a run: which of the agent's changes stay.
//!
//! ```text
//!  text before ──────────────────────────────┐
//!  text after ─▶ entries ─▶ what may stay? ──┴─▶ text before, with those changes written into it
//! ```
//! It is built on the text from before: what an agent wrote comes in as single entries of permitted
//! names, written anew. So a text that git reads otherwise than we do changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::config::{self, Entry, Name, parse};
use super::keys::{KeyContext, by_name, may_stay};
use super::record::{Digest, digest};

/// Entries that an agent may add; nobody has more by hand.
const MOST_ADDED: usize = 4_000;

/// A configuration before the run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before<'a> {
    /// Text of the configuration; secrets that the agent could not read are masked in it.
    pub(crate) text: &'a [u8],
    /// Entries of the text from before whose values are secrets, with the digests of these values.
    pub(crate) hidden: &'a [(usize, Digest)],
}

/// A configuration as it is to be after the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The text.
    pub(crate) text: Vec<u8>,
    /// Names whose values were put back.
    pub(crate) put_back: Vec<String>,
    /// Remotes with an address that had none before, in a file that was there.
    pub(crate) remotes: Vec<String>,
    /// Names whose values were secrets that nobody kept.
    pub(crate) lost: Vec<String>,
}

/// Judges the text after the run; nothing when either text cannot be read.
pub(crate) fn judge(before: Before<'_>, after: &[u8], place: KeyContext<'_>) -> Option<Judged> {
    let mut was = parse(before.text)?;
    let now = parse(after)?;
    if now.len() > was.len() + MOST_ADDED {
        return None;
    }
    let mut edits = Edits::default();
    let lost = uncover(&mut was, before.hidden, &now, &mut edits);
    let (old, new) = (by_name(&was), by_name(&now));
    let index = Index::of(&was, &now);
    let (mut put_back, mut remotes) = (Vec::new(), Vec::new());
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
        remotes.extend(address(name, &values).filter(|_| !place.new));
        edits.set(name, &values, &index);
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
        remotes,
    })
}

/// Returns a remote's name and address, for an entry that sets one.
fn address(name: &[u8], values: &[Option<&[u8]>]) -> Option<String> {
    let parts = Name::of(name);
    let which = parts
        .subsection
        .filter(|_| parts.section == b"remote" && matches!(parts.key, b"url" | b"pushurl"))?;
    let value = values.iter().flatten().next()?;
    Some(format!("{} ({})", shown(which), shown(value)))
}

/// Puts the secrets back into the entries of the text before, as far as the text after still has
/// them; the names of the others.
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
                edits.within.insert((entry.span.start, entry.span.end), text[1..].to_vec());
            }
            None => lost.push(shown(&entry.name)),
        }
    }
    lost
}

/// Returns a name for people.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Positions of the entries of each name, and of each section.
struct Index<'a> {
    spans: BTreeMap<&'a [u8], Vec<Range<usize>>>,
    ends: BTreeMap<(&'a [u8], Option<&'a [u8]>), usize>,
    spelled: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Index<'a> {
    fn of(was: &'a [Entry], now: &'a [Entry]) -> Index<'a> {
        let mut index = Index { spans: BTreeMap::new(), ends: BTreeMap::new(), spelled: BTreeMap::new() };
        for entry in was {
            let name = Name::of(&entry.name);
            index.spans.entry(&entry.name).or_default().push(entry.span.clone());
            index.ends.insert((name.section, name.subsection), entry.span.end);
        }
        for entry in now {
            index.spelled.entry(&entry.name).or_insert(&entry.key);
        }
        index
    }
}

/// Other texts in the place of some parts of a text, by where these begin and end, and new sections
/// behind it.
#[derive(Debug, Default)]
struct Edits {
    within: BTreeMap<(usize, usize), Vec<u8>>,
    behind: Vec<Vec<u8>>,
    /// Positions of the sections' heads, by section.
    heads: BTreeMap<Vec<u8>, usize>,
}

impl Edits {
    /// Gives a name other values: behind the last entry of its section, else in a new section at
    /// the end.
    fn set(&mut self, name: &[u8], values: &[Option<&[u8]>], index: &Index<'_>) {
        let parts = Name::of(name);
        let spelled = index.spelled.get(name).copied().unwrap_or(parts.key);
        for span in index.spans.get(name).into_iter().flatten() {
            // What stands behind a section's head on its line keeps that line's end.
            self.within.insert((span.start, span.end), b"\n".to_vec());
        }
        if values.is_empty() {
            return;
        }
        let lines = values.iter().flat_map(|value| config::line(spelled, *value));
        if let Some(end) = index.ends.get(&(parts.section, parts.subsection)) {
            self.within.entry((*end, *end)).or_default().extend(lines);
            return;
        }
        let head = config::head(&parts);
        let at = *self.heads.entry(head.clone()).or_insert_with(|| {
            self.behind.push(head);
            self.behind.len() - 1
        });
        self.behind[at].extend(lines);
    }

    fn apply(self, text: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
        let behind = self.behind.into_iter().map(|with| ((text.len(), text.len()), with));
        for ((start, end), with) in self.within.into_iter().chain(behind) {
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
