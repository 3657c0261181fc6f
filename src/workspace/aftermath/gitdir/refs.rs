//! References of a repository: what its files say, without asking git.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::super::place;
use crate::host::walk::{Bounds, Walked, walk};

const BOUNDS: Bounds = Bounds { depth: 40, entries: 300_000, time: Duration::from_secs(10) };
/// A reference is one line.
pub(crate) const LONGEST: u64 = 4096;
/// `packed-refs` of the largest projects is smaller.
pub(crate) const LARGEST: u64 = 64 << 20;

/// The references of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refs {
    /// Content of HEAD: an object's name, or `ref: ` and a reference.
    pub(crate) head: Option<String>,
    /// Content of each reference, by its whole name.
    pub(crate) all: BTreeMap<String, String>,
    /// Set when there may be more references: too many, or in a form that is not read (reftable).
    pub(crate) more: bool,
}

/// Reads the references of a repository, open.
pub(crate) fn read(here: &OwnedFd) -> io::Result<Refs> {
    let mut refs = Refs { head: line(here, "HEAD"), ..Refs::default() };
    let packed = place::read(here.as_fd(), OsStr::new("packed-refs"), LARGEST);
    match packed {
        Ok(Some(text)) => refs.all.extend(lines(&text)),
        Ok(None) => refs.more = true,
        Err(error) if place::is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    refs.more |= place::open_in(here.as_fd(), OsStr::new("reftable")).is_ok();
    let folder = match place::open_in(here.as_fd(), OsStr::new("refs")) {
        Ok(folder) => folder,
        Err(error) if place::is_absent(&error) => return Ok(refs),
        Err(error) => return Err(error),
    };
    let mut loose = Vec::new();
    let walked = walk(
        folder,
        BOUNDS,
        |entry| {
            if entry.kind() == FileType::RegularFile {
                let name = format!("refs/{}", entry.path().to_string_lossy());
                let text = place::read(entry.here, OsStr::from_bytes(entry.name.to_bytes()), LONGEST);
                if let Some(value) = text.ok().flatten().and_then(|text| value(&text)) {
                    loose.push((name, value));
                }
            }
        },
        |_| {},
    )?;
    refs.more |= walked == Walked::CutShort;
    refs.all.extend(loose);
    Ok(refs)
}

use std::os::unix::ffi::OsStrExt;

fn line(here: &OwnedFd, name: &str) -> Option<String> {
    let text = place::read(here.as_fd(), OsStr::new(name), LONGEST).ok()??;
    value(&text)
}

/// Reads the content of a reference's file. Returns nothing when a reference cannot have that
/// content.
pub(crate) fn value(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.trim_end_matches(['\n', '\r', ' ', '\t']);
    match text.strip_prefix("ref:") {
        Some(target) => {
            let target = target.trim_start();
            is_name(target).then(|| format!("ref: {target}"))
        }
        None => is_object(text).then(|| text.to_owned()),
    }
}

/// Tells whether a text is the name of an object.
pub(crate) fn is_object(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Tells whether a text is the whole name of a reference. Stricter than git itself.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with("refs/")
        && !text.contains("..")
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
        && text.chars().all(|c| !c.is_control() && !" ~^:?*[\\".contains(c))
}

/// Reads the references of a `packed-refs`.
fn lines(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (object, name) = line.split_once(' ')?;
        (is_object(object) && is_name(name)).then(|| (name.to_owned(), object.to_owned()))
    })
}

/// Tells whether a reference of this name makes git show another object in the place of one.
pub(super) fn replaces(name: &str) -> bool {
    name.starts_with(REPLACING)
}

const REPLACING: &str = "refs/replace/";

/// Returns `packed-refs` without references that replace objects and were not there; nothing where
/// there are none. A line that only may be one goes too: git takes any white space for a space, and
/// names of objects in capital letters.
pub(super) fn packed_without_replacing(text: &[u8], was: &Refs) -> Option<Vec<u8>> {
    let (mut out, mut taken, mut found) = (Vec::with_capacity(text.len()), false, false);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        // What an annotated tag leads to stands behind it.
        if !line.starts_with(b"^") {
            let may = line.windows(REPLACING.len()).any(|part| part == REPLACING.as_bytes());
            taken = may && !lines(line).any(|(name, value)| was.all.get(&name) == Some(&value));
            found |= taken;
        }
        if !taken {
            out.extend_from_slice(line);
        }
    }
    found.then_some(out)
}

impl Refs {
    /// Joins the references of a linked working tree with those of its repository.
    pub(crate) fn with_common(mut self, common: &Refs) -> Refs {
        let own = std::mem::replace(&mut self.all, common.all.clone());
        self.all.extend(own);
        self.more |= common.more;
        self
    }

    /// Returns all objects that are named.
    pub(crate) fn objects(&self) -> BTreeSet<String> {
        let values = self.all.values().chain(&self.head);
        values.filter(|value| is_object(value)).cloned().collect()
    }

    /// Returns the object that HEAD leads to.
    pub(crate) fn head_object(&self) -> Option<&str> {
        let mut value = self.head.as_ref()?;
        // A reference may name another; git follows five.
        for _ in 0..5 {
            match value.strip_prefix("ref: ") {
                Some(target) => value = self.all.get(target)?,
                None => return Some(value),
            }
        }
        None
    }
}

/// Lists the references that moved, with their old and new values.
pub(crate) fn changes<'a>(
    before: &'a Refs,
    after: &'a Refs,
) -> impl Iterator<Item = (String, Option<String>, Option<String>)> {
    let head =
        (before.head != after.head).then(|| ("HEAD".to_owned(), before.head.clone(), after.head.clone()));
    let mut names: Vec<&String> = before.all.keys().chain(after.all.keys()).collect();
    names.sort_by_key(|name| (rank(name), name.as_str()));
    names.dedup();
    let moved = names.into_iter().filter_map(|name| {
        let (was, now) = (before.all.get(name), after.all.get(name));
        (was != now).then(|| (name.clone(), was.cloned(), now.cloned()))
    });
    head.into_iter().chain(moved)
}

/// Lists the references that moved, in words: name, old and new value.
pub(crate) fn moves(before: &Refs, after: &Refs) -> Vec<(String, String, String)> {
    let shown = |value: Option<String>| value.map_or("none".to_owned(), |value| short(&value));
    changes(before, after).map(|(name, was, now)| (name, shown(was), shown(now))).collect()
}

/// Ranks references, the person's own first.
fn rank(name: &str) -> u8 {
    match name.split('/').nth(1) {
        Some("heads") => 0,
        Some("tags" | "stash") => 1,
        Some("remotes") => 3,
        _ => 2,
    }
}

fn short(value: &str) -> String {
    match value.strip_prefix("ref: ") {
        Some(target) => target.to_owned(),
        None => value.chars().take(12).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_an_object_or_a_reference_and_nothing_else() {
        let object = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(value(format!("{object}\n").as_bytes()).as_deref(), Some(object));
        assert_eq!(value(b"ref: refs/heads/main\n").as_deref(), Some("ref: refs/heads/main"));
        for bad in ["", "ref: ../../x", "ref: refs/../x", "ref: refs/heads/.x", "ref: config", "0123", "x"] {
            assert_eq!(value(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn packed_references_go_with_what_they_lead_to() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let text = format!(
            "# pack-refs with: peeled\n{one} refs/heads/a\n{one} refs/replace/{two}\n^{two}\n{two} refs/tags/t\n^{one}\n"
        );
        let refs =
            |name: &str| Refs { all: BTreeMap::from([(name.to_owned(), one.clone())]), ..Refs::default() };
        let left = packed_without_replacing(text.as_bytes(), &Refs::default()).unwrap();
        assert_eq!(
            String::from_utf8(left.clone()).unwrap(),
            format!("# pack-refs with: peeled\n{one} refs/heads/a\n{two} refs/tags/t\n^{one}\n")
        );
        let own = refs(&format!("refs/replace/{two}"));
        assert_eq!(packed_without_replacing(text.as_bytes(), &own), None);
        assert_eq!(packed_without_replacing(left.as_slice(), &Refs::default()), None);
    }

    #[test]
    fn moves_are_old_and_new_a_persons_branches_first() {
        let refs = |head: &str, all: &[(&str, &str)]| Refs {
            head: Some(head.to_owned()),
            all: all.iter().map(|(name, value)| ((*name).to_owned(), value.repeat(40))).collect(),
            more: false,
        };
        let before = refs(
            "ref: refs/heads/a",
            &[("refs/heads/a", "1"), ("refs/remotes/o/a", "1"), ("refs/tags/t", "1")],
        );
        let after = refs(
            "ref: refs/heads/b",
            &[("refs/heads/a", "2"), ("refs/remotes/o/a", "2"), ("refs/heads/b", "3")],
        );
        let shown: Vec<String> =
            moves(&before, &after).iter().map(|(name, was, now)| format!("{name}: {was} → {now}")).collect();
        assert_eq!(
            shown,
            [
                "HEAD: refs/heads/a → refs/heads/b",
                "refs/heads/a: 111111111111 → 222222222222",
                "refs/heads/b: none → 333333333333",
                "refs/tags/t: 111111111111 → none",
                "refs/remotes/o/a: 111111111111 → 222222222222",
            ]
        );
    }
}
