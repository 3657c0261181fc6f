//! Files that a run touched, by what the kernel says of each, and by their content where git had
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::git::Git;
use super::{Tracked, blob};
use crate::workspace::aftermath::listing::{Listing, list};

/// A file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct File {
    /// Path below the directory.
    pub(crate) path: String,
    /// Change of the file.
    pub(crate) change: Change,
    /// Set when git had the file as the run began.
    pub(crate) tracked: bool,
    /// The file and the pattern that keep `git status` from showing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ignored_by: Option<String>,
    /// Set when that pattern stands in a file that the run added or changed.
    pub(crate) newly_ignored: bool,
}

/// Kinds of change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// The file was not there.
    Added,
    /// The file was written, renamed or given other permissions, and differs from git's version.
    Changed,
    /// The file is gone.
    Deleted,
}

/// Working trees by their folder: the git directory of ours, and what git had in it.
pub(crate) type Heads = BTreeMap<PathBuf, (Option<Git>, Tracked)>;

/// Compares the files of a directory with what they were.
pub(crate) fn compare(
    at: &Path,
    open: &OwnedFd,
    before: &Listing,
    heads: &Heads,
    doubts: &mut Vec<String>,
) -> io::Result<Vec<File>> {
    let now = list(open.as_fd())?;
    if !before.whole {
        doubts.push("there were more files before the run than are remembered: some that are shown as added may be older, some that were deleted are missing".to_owned());
    }
    if !now.whole {
        doubts.push("there are more files than are looked at: not all changes are shown".to_owned());
    }
    let mut all = Vec::new();
    let paths: BTreeSet<&PathBuf> = before.files.keys().chain(now.files.keys()).collect();
    for path in paths {
        let change = match (before.files.get(path), now.files.get(path)) {
            (None, _) => Change::Added,
            // What was not looked at may still be there.
            (Some(_), None) if now.whole => Change::Deleted,
            (Some(was), Some(is)) if was != is => Change::Changed,
            _ => continue,
        };
        let had = tracked(heads, path);
        if let (Change::Changed, Some((mode, object))) = (change, had)
            && blob::is(open.as_fd(), path, mode, object).unwrap_or(false)
        {
            continue;
        }
        all.push((path.clone(), change, had.is_some()));
    }
    let mut ignored = BTreeMap::new();
    for (tree, (git, _)) in heads {
        if let Some(git) = git
            && let Err(error) = ask(git, at, tree, heads, &all, &mut ignored)
        {
            doubts.push(format!("which files are ignored cannot be said: {error}"));
        }
    }
    let touched: BTreeSet<&PathBuf> = all.iter().map(|(path, ..)| path).collect();
    let files = all.iter().map(|(path, change, tracked)| {
        let by = ignored.get(path);
        File {
            path: blob::text(path),
            change: *change,
            tracked: *tracked,
            newly_ignored: by.is_some_and(|(source, _)| touched.contains(source)),
            ignored_by: by.map(|(source, pattern)| format!("{}: {pattern}", blob::text(source))),
        }
    });
    Ok(files.collect())
}

/// Returns the mode and object that git had at a path, in the innermost working tree around it.
fn tracked<'a>(heads: &'a Heads, path: &Path) -> Option<&'a (String, String)> {
    let (tree, (_, tracked)) = innermost(heads, path)?;
    tracked.get(path.strip_prefix(tree).ok()?)
}

fn innermost<'a>(heads: &'a Heads, path: &Path) -> Option<(&'a PathBuf, &'a (Option<Git>, Tracked))> {
    path.ancestors().skip(1).find_map(|folder| heads.get_key_value(folder))
}

/// Asks git which of the files that it did not have it would not show, and why: the patterns' files
/// are read, nothing else is.
fn ask(
    git: &Git,
    at: &Path,
    tree: &Path,
    heads: &Heads,
    all: &[(PathBuf, Change, bool)],
    ignored: &mut BTreeMap<PathBuf, (PathBuf, String)>,
) -> io::Result<()> {
    let mine = all.iter().filter(|(path, change, tracked)| {
        !tracked
            && *change != Change::Deleted
            && innermost(heads, path).is_some_and(|(other, _)| other == tree)
    });
    let mut input = Vec::new();
    for (path, ..) in mine {
        input.extend_from_slice(path.strip_prefix(tree).unwrap_or(path).as_os_str().as_bytes());
        input.push(0);
    }
    if input.is_empty() {
        return Ok(());
    }
    let answer = git.ignored(&at.join(tree), &input)?;
    let mut fields = answer.split(|byte| *byte == 0);
    while let (Some(source), Some(_line), Some(pattern), Some(path)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    {
        // A pattern that begins with `!` shows what another one hides.
        if pattern.starts_with(b"!") {
            continue;
        }
        let source = Path::new(OsStr::from_bytes(source));
        let source = if source.is_absolute() { Path::new(".git/info/exclude") } else { source };
        let path = Path::new(OsStr::from_bytes(path));
        let pattern = String::from_utf8_lossy(pattern).into_owned();
        ignored.insert(tree.join(path), (tree.join(source), pattern));
    }
    Ok(())
}
