//! Files that git itself makes in a repository's own folder: which need no look at their content,
//! and which nothing can be laid over.
//!
//! An agent can make a folder look like a repository, move another into it and leave a link in its
//! place, all for the next run. So no folder is passed over whole: what counts is the name of each
//! file, which a move leaves as it was, and what is written in it.

use std::ffi::OsStr;
use std::path::Path;

/// Names in a repository's own folder, besides those that end in `.lock` or `HEAD`.
const OWN: &[&str] = &[
    "branches",
    "COMMIT_EDITMSG",
    "config",
    "config.worktree",
    "description",
    "gc.log",
    "gc.pid",
    "hooks",
    "index",
    "info",
    "lfs",
    "logs",
    "modules",
    "objects",
    "packed-refs",
    "refs",
    "shallow",
    "worktrees",
];
/// Messages that git keeps while somebody writes them. Any text may be in them.
const MESSAGES: &[&str] = &["COMMIT_EDITMSG", "MERGE_MSG", "SQUASH_MSG", "TAG_EDITMSG", "NOTES_EDITMSG"];
/// Digits of a SHA-1 or a SHA-256.
const DIGITS: [usize; 2] = [40, 64];

/// Folders in which a repository keeps files under names made of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// `objects`.
    Objects,
    /// `lfs`.
    Lfs,
}

impl Store {
    /// Returns the store that this folder of a repository is.
    pub(crate) fn named(name: &Path) -> Option<Store> {
        match name.to_str()? {
            "objects" => Some(Store::Objects),
            "lfs" => Some(Store::Lfs),
            _ => None,
        }
    }

    /// Tells whether a file of this store, by its path in the store, has a name that only its
    /// content gives. Most such files are compressed; no secret in them can be hidden by itself.
    pub(crate) fn holds(self, below: &Path) -> bool {
        let Some(parts) = parts(below) else { return false };
        match (self, parts.as_slice()) {
            (Store::Objects, [folder, file]) if is_hex(folder, &[2]) => is_hex(file, &[38, 62]),
            (Store::Objects, ["pack", file]) => is_of_pack(file),
            (Store::Objects, ["info", "commit-graph"]) => true,
            (Store::Objects, ["info", "commit-graphs", file]) => {
                *file == "commit-graph-chain" || is_between(file, "graph-", &[".graph"])
            }
            (Store::Lfs, ["objects", first, second, file]) => {
                is_hex(first, &[2]) && is_hex(file, &[64]) && file.starts_with(&format!("{first}{second}"))
            }
            _ => false,
        }
    }
}

/// Tells whether a folder with these entries can be a repository's own.
pub(super) fn is_repository(has: impl Fn(&str) -> bool) -> bool {
    ["HEAD", "objects", "refs"].into_iter().all(has)
}

/// Tells whether all of these names belong to a repository's own folder. One other name makes the
/// folder a project with a repository's names laid into it.
pub(super) fn is_nothing_else<'a>(mut names: impl Iterator<Item = &'a Path>) -> bool {
    names.all(|name| {
        let name = name.to_str().unwrap_or_default();
        OWN.contains(&name)
            || MESSAGES.contains(&name)
            || name.ends_with("HEAD")
            || name.strip_suffix(".lock").is_some_and(|rest| OWN.contains(&rest))
    })
}

/// Tells whether git writes a file by renaming a new one to its place, which fails where something
/// is laid over it. `below` is the path in the repository's own folder.
pub(crate) fn writes(below: &Path, text: &[u8]) -> bool {
    let Some(parts) = parts(below) else { return false };
    let parts = match parts.as_slice() {
        // A linked working tree has some of these for itself.
        ["worktrees", _, rest @ ..] => rest,
        all => all,
    };
    match parts {
        ["index"] => text.starts_with(b"DIRC"),
        [file] if MESSAGES.contains(file) => true,
        ["packed-refs" | "shallow" | "FETCH_HEAD"] => every_line(text, is_listed),
        ["refs", _, ..] => every_line(text, is_reference),
        [file] if file.ends_with("HEAD") => every_line(text, is_reference),
        ["logs", _, ..] => every_line(text, is_of_log),
        _ => false,
    }
}

fn every_line(text: &[u8], fits: fn(&[u8]) -> bool) -> bool {
    text.split(|byte| *byte == b'\n').all(|line| line.is_empty() || fits(line))
}

/// Tells whether a line is the name of an object, or of another reference.
fn is_reference(line: &[u8]) -> bool {
    after_name(line).is_some_and(<[u8]>::is_empty) || line.starts_with(b"ref: refs/")
}

/// Tells whether a line begins with the name of an object, or is the heading of `packed-refs`.
fn is_listed(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"^").unwrap_or(line);
    after_name(line).is_some() || line.starts_with(b"# pack-refs with:")
}

/// Tells whether a line begins with the names of two objects.
fn is_of_log(line: &[u8]) -> bool {
    let second = after_name(line).and_then(|rest| rest.strip_prefix(b" "));
    second.and_then(after_name).is_some_and(|rest| rest.starts_with(b" "))
}

/// Returns the rest of a line behind the name of an object.
fn after_name(line: &[u8]) -> Option<&[u8]> {
    let digits = line.iter().take_while(|byte| is_digit(**byte)).count();
    DIGITS.contains(&digits).then(|| &line[digits..])
}

fn is_of_pack(file: &str) -> bool {
    const ENDS: &[&str] = &[".pack", ".idx", ".rev", ".mtimes", ".bitmap", ".keep", ".promisor"];
    file == "multi-pack-index"
        || is_between(file, "pack-", ENDS)
        || is_between(file, "multi-pack-index-", &[".bitmap", ".rev"])
}

/// Tells whether a file's name is that of an object between these.
fn is_between(file: &str, start: &str, ends: &[&str]) -> bool {
    let Some(rest) = file.strip_prefix(start) else { return false };
    ends.iter().filter_map(|end| rest.strip_suffix(*end)).any(|middle| is_hex(middle, &DIGITS))
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(is_digit)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn parts(path: &Path) -> Option<Vec<&str>> {
    path.iter().map(OsStr::to_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_content_gives_are_of_a_store() {
        let (short, long) = ("0123456789abcdef0123456789abcdef01234567", "0".repeat(64));
        for path in [
            format!("ab/{}", &short[..38]),
            format!("ab/{}", &long[..62]),
            format!("pack/pack-{short}.pack"),
            format!("pack/pack-{long}.promisor"),
            "pack/multi-pack-index".to_owned(),
            format!("pack/multi-pack-index-{short}.bitmap"),
            "info/commit-graph".to_owned(),
            format!("info/commit-graphs/graph-{short}.graph"),
        ] {
            assert!(Store::Objects.holds(Path::new(&path)), "{path}");
            assert!(!Store::Lfs.holds(Path::new(&path)), "{path}");
        }
        for path in [
            ".env".to_owned(),
            "src/main.py".to_owned(),
            "ab/main.py".to_owned(),
            format!("AB/{}", &short[..38]),
            format!("ab/{short}"),
            format!("ab/cd/{}", &short[..38]),
            format!("pack/pack-{short}.py"),
            "pack/pack-main.pack".to_owned(),
            "pack/.env".to_owned(),
            format!("pack-{short}.pack"),
            "info/alternates".to_owned(),
            "info/secret".to_owned(),
        ] {
            assert!(!Store::Objects.holds(Path::new(&path)), "{path}");
        }
        assert!(Store::Lfs.holds(Path::new(&format!("objects/00/00/{long}"))));
        for path in [format!("objects/00/01/{long}"), format!("00/00/{long}"), "objects/00/00/a".to_owned()] {
            assert!(!Store::Lfs.holds(Path::new(&path)), "{path}");
        }
    }

    #[test]
    fn what_git_writes_has_its_name_and_its_form() {
        let name = "0123456789abcdef0123456789abcdef01234567";
        let log = format!("{name} {name} A <a@b.example> 1 +0000\tclone: from https://b.example\n");
        for (path, text) in [
            ("logs/HEAD", log.clone()),
            ("worktrees/w/logs/HEAD", log.clone()),
            ("logs/refs/heads/main", String::new()),
            ("FETCH_HEAD", format!("{name}\t\tbranch 'main' of https://b.example\n")),
            ("HEAD", "ref: refs/heads/main\n".to_owned()),
            ("packed-refs", format!("# pack-refs with: peeled\n{name} refs/tags/v1\n^{name}\n")),
            ("refs/heads/main", format!("{name}\n")),
            ("COMMIT_EDITMSG", "anything\n".to_owned()),
            ("index", "DIRC\0\0".to_owned()),
        ] {
            assert!(writes(Path::new(path), text.as_bytes()), "{path}");
        }
        for (path, text) in [
            ("logs/app/main.py", "KEY = 1\n".to_owned()),
            ("logs/HEAD", format!("{log}KEY = 1\n")),
            ("refs/app/main.py", "KEY = 1\n".to_owned()),
            ("refs/app/main.py", format!("{name}\nKEY = 1\n")),
            ("index", "KEY = 1\n".to_owned()),
            ("app/COMMIT_EDITMSG", "anything\n".to_owned()),
            ("app/logs/HEAD", log),
            ("hooks/pre-commit", "#!/bin/sh\n".to_owned()),
            ("main.py", "KEY = 1\n".to_owned()),
        ] {
            assert!(!writes(Path::new(path), text.as_bytes()), "{path}");
        }
    }
}
