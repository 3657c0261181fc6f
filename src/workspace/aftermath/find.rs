//! Looking through a directory that an agent may write, before the run and after it: for repositories, and for files that run code later.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use globset::{GlobSet, GlobSetBuilder};
use rustix::fs::{AtFlags, FileType};

use super::place;
use super::record::{Digest, digest};
use crate::workspace::walk::{Bounds, Entry, Walked, walk};
use crate::workspace::{held, masks};

const TEXT: &str = include_str!("risky.txt");
const BOUNDS: Bounds = Bounds { depth: 200, entries: 3_000_000, time: Duration::from_secs(20) };
/// Files that run code, and repositories, that are remembered.
const MOST: usize = 20_000;
/// Of a larger file, its inode and times stand for its content: nobody but the kernel sets the time of a change.
const LARGEST: u64 = 4 << 20;

/// What there is.
#[derive(Debug, Default)]
pub struct Found {
    /// Folders that git takes for repositories.
    pub repositories: Vec<PathBuf>,
    /// What is called `.git` and is no folder.
    pub gitfiles: Vec<PathBuf>,
    /// Files that run code later, and what is in them.
    pub risky: BTreeMap<PathBuf, Digest>,
    /// Whether a bound ended the look.
    pub cut_short: bool,
}

/// Looks through the directory; `hooks` are folders of hooks besides the repositories' own.
pub fn find(root: BorrowedFd<'_>, hooks: &[PathBuf]) -> std::io::Result<Found> {
    // Anew: a copy of the descriptor would go on where the last look ended.
    let root = held::reopen_directory(root)?;
    let mut found = Found::default();
    let mut hidden = false;
    let walked = walk(root, BOUNDS, |entry| found.take_in(entry, hooks), |_| hidden = true)?;
    found.cut_short |= hidden || walked == Walked::CutShort;
    found.repositories.sort();
    found.repositories.dedup();
    found.gitfiles.sort();
    Ok(found)
}

impl Found {
    fn take_in(&mut self, entry: &Entry<'_>, hooks: &[PathBuf]) {
        let kind = entry.kind();
        let has = |name: &CStr| rustix::fs::statat(entry.here, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        // In any case: whether `head` is HEAD too, the file system says. git asks for no more than that these names exist.
        let is_head = entry.name.to_bytes().eq_ignore_ascii_case(b"head") && has(c"HEAD");
        if kind != FileType::Directory && is_head && ((has(c"objects") && has(c"refs")) || has(c"commondir"))
        {
            let folder = entry.path().parent().map(Path::to_owned).unwrap_or_default();
            self.bounded(|found| found.repositories.push(folder));
            return;
        }
        if entry.name.to_bytes().eq_ignore_ascii_case(b".git") && kind != FileType::Directory {
            self.bounded(|found| found.gitfiles.push(entry.path()));
            return;
        }
        if kind != FileType::RegularFile && kind != FileType::Symlink {
            return;
        }
        let path = entry.path();
        let named = risky_names().is_match(&path) || hooks.iter().any(|hooks| path.starts_with(hooks));
        let attributes = path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".gitattributes"));
        if (named || attributes || is_gits(entry, &path))
            && let Some(print) = print(entry, &path)
        {
            self.bounded(|found| _ = found.risky.insert(path, print));
        }
    }

    fn bounded(&mut self, add: impl FnOnce(&mut Found)) {
        if self.repositories.len() + self.gitfiles.len() + self.risky.len() < MOST {
            add(self);
        } else {
            self.cut_short = true;
        }
    }
}

/// Whether a path is a hook in a repository's own folder, of these.
pub fn is_hook(path: &Path, repositories: &[PathBuf]) -> bool {
    let hooks = path.parent().filter(|folder| folder.ends_with("hooks"));
    hooks.and_then(Path::parent).is_some_and(|folder| repositories.iter().any(|other| other == folder))
}

/// Files in a repository's own folder that git runs, or takes orders from.
fn is_gits(entry: &Entry<'_>, path: &Path) -> bool {
    let (folder, name) = (path.parent().and_then(Path::file_name), entry.name.to_bytes());
    let meant = match folder.map(OsStr::as_bytes) {
        // What was put aside is no hook any more.
        Some(b"hooks") => !name.ends_with(b".sample") && !name.windows(11).any(|part| part == b".put-aside-"),
        Some(b"info") => name == b"attributes",
        Some(b"rebase-merge") => name == b"git-rebase-todo",
        _ => false,
    };
    meant && rustix::fs::statat(entry.here, c"../HEAD", AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What stands for a file's content; nothing when there is nothing in it that runs code.
fn print(entry: &Entry<'_>, path: &Path) -> Option<Digest> {
    let name = OsStr::from_bytes(entry.name.to_bytes());
    if entry.kind() == FileType::Symlink {
        let target = rustix::fs::readlinkat(entry.here, entry.name, Vec::new()).ok()?;
        return Some(digest(&[b"link ", target.as_bytes()].concat()));
    }
    let text = read(entry.here, name, entry.stat);
    let kept: Vec<&[u8]> = match path.file_name().map(OsStr::as_bytes) {
        Some(name) if name.eq_ignore_ascii_case(b".gitattributes") || name == b"attributes" => {
            lines_with(&text, &[b"filter", b"diff=", b"merge="])
        }
        // A rebase that a person continues runs the commands in it.
        Some(b"git-rebase-todo") => lines_with(&text, &[b"exec ", b"x "]),
        _ => return Some(digest(&text)),
    };
    (!kept.is_empty()).then(|| digest(&kept.concat()))
}

fn lines_with<'a>(text: &'a [u8], words: &[&[u8]]) -> Vec<&'a [u8]> {
    let has = |line: &&[u8]| words.iter().any(|word| line.windows(word.len()).any(|part| part == *word));
    text.split_inclusive(|byte| *byte == b'\n').filter(has).collect()
}

/// The content, or what stands for it.
fn read(here: BorrowedFd<'_>, name: &OsStr, stat: &rustix::fs::Stat) -> Vec<u8> {
    match place::read(here.as_fd(), name, LARGEST) {
        Ok(Some(text)) => text,
        _ => {
            format!("{} {} {} {}", stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec).into_bytes()
        }
    }
}

fn risky_names() -> &'static GlobSet {
    static NAMES: OnceLock<GlobSet> = OnceLock::new();
    NAMES.get_or_init(|| names().unwrap_or_else(|error| unreachable!("a test reads the list: {error}")))
}

fn names() -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let pattern = line.split("  ").next().unwrap_or_default().trim();
        set.add(masks::glob(&format!("**/{pattern}"))?);
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(dir: &Path) -> Found {
        let root = fs::File::open(dir).unwrap();
        find(root.as_fd(), &[]).unwrap();
        find(root.as_fd(), &[PathBuf::from("scripts/hooks")]).unwrap()
    }

    fn put(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn every_line_has_a_pattern_and_a_reason() {
        let lines = || TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert!(lines().all(|line| line.split_once("  ").is_some_and(|(_, why)| !why.trim().is_empty())));
        assert_eq!(names().unwrap().len(), lines().count());
    }

    #[test]
    fn repositories_and_files_that_run_code_are_found_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for repository in [".git", "lib/.git", ".git/modules/m", "hidden/bare"] {
            put(root, &format!("{repository}/HEAD"), "ref: refs/heads/main\n");
            fs::create_dir_all(root.join(repository).join("objects")).unwrap();
            fs::create_dir_all(root.join(repository).join("refs")).unwrap();
        }
        // Branches of these names are no repository.
        put(root, ".git/refs/remotes/origin/HEAD", "ref: refs/remotes/origin/main\n");
        put(root, ".git/refs/remotes/origin/objects", "00\n");
        put(root, ".git/worktrees/w/HEAD", "");
        put(root, ".git/worktrees/w/commondir", "../..\n");
        put(root, "sub/.git", "gitdir: ../.git/modules/m\n");
        std::os::unix::fs::symlink(".git", root.join("lib/.GIT")).ok();
        let risky = [
            ".git/hooks/pre-commit",
            ".envrc",
            "a/.vscode/tasks.json",
            ".idea/x/y.xml",
            ".husky/pre-push",
            ".github/workflows/ci.yml",
            "scripts/hooks/pre-commit",
            ".mise.toml",
            "mise.local.toml",
            ".claude/settings.json",
            ".git/rebase-merge/git-rebase-todo",
            ".gitattributes",
            "lefthook.yml",
            ".git/info/attributes",
            ".ringfence.yml",
        ];
        for path in risky {
            put(root, path, "exec evil\n* filter=evil\n");
        }
        for path in [
            ".git/hooks/pre-commit.sample",
            "src/main.rs",
            "Makefile",
            "HEAD",
            "b/.gitattributes",
            "x/hooks/y",
            "x/info/attributes",
        ] {
            put(root, path, "* text=auto\n");
        }
        let found = found(root);
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            found.repositories,
            paths(&[".git", ".git/modules/m", ".git/worktrees/w", "hidden/bare", "lib/.git"])
        );
        assert_eq!(found.gitfiles, paths(&["lib/.GIT", "sub/.git"]));
        let mut wanted = paths(&risky);
        wanted.sort();
        assert_eq!(found.risky.keys().cloned().collect::<Vec<_>>(), wanted);
        assert!(!found.cut_short);
    }
}
