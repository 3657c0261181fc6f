//! Place of a repository in the container: its path relative to the working tree is the same as on
//! this machine.
//!
//! ```text
//!  this machine                        inside
//!  A/main/.git                         /repository/main/.git      mounted
//!  A/tree                              /repository/tree           a link to /workspace
//!  A/tree/.git: gitdir: A/main/.git/…  /workspace/.git            a cover: gitdir: /repository/main/.git/…
//! ```
//! So relative paths that git keeps (`core.worktree`, `commondir`) hold inside without a change,
//! and no path of this machine must be there. Variables such as GIT_DIR would hold for every other
//! repository, too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use super::super::aftermath::place;
use super::super::mounts::Bind;
use super::{inside, path, shown};
use crate::host::walk::{Bounds, Walked, walk};
use crate::term::{COULD_NOT_RUN, Failure};

/// Folder for repositories in the container.
pub(crate) const REPOSITORY: &str = "/repository";
const BOUNDS: Bounds = Bounds { depth: 200, entries: 3_000_000, time: Duration::from_secs(30) };

/// A folder of ringfence's own with the way to the repository, and a link to the working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// The repository below it, a folder to mount at.
    pub(crate) git: PathBuf,
    /// The working tree below it, a link.
    pub(crate) tree: PathBuf,
}

impl Mirror {
    /// Lays out two folders, none of which contains the other.
    pub(super) fn of(root: &Path, git: &Path) -> Result<Mirror, Failure> {
        let common = root.ancestors().find(|folder| git.starts_with(folder)).unwrap_or(Path::new("/"));
        let below = |path: &Path| path.strip_prefix(common).unwrap_or(path).to_owned();
        let mirror = Mirror { git: below(git), tree: below(root) };
        match mirror.git.as_os_str().is_empty() || mirror.tree.as_os_str().is_empty() {
            false => Ok(mirror),
            true => {
                let what = format!("--worktree: {} and {} contain one another", shown(root), shown(git));
                Err(Failure::new(COULD_NOT_RUN, what).hint("work on a clone (`git clone`)"))
            }
        }
    }
}

/// A file that holds a path of this machine, and what it says inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Path on this machine.
    pub(crate) path: PathBuf,
    /// Text of the file in the container.
    pub(crate) text: String,
}

/// Finds the files `.git` in a working tree that lead into the repository: its own, and those of
/// submodules.
pub(super) fn pointers(root: &Bind, git: &Path, mirror: &Mirror) -> Result<Vec<Pointer>, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        let what = format!("--worktree: cannot look through {}", shown(&root.source));
        Failure::new(COULD_NOT_RUN, what).caused_by(error).hint("give a smaller working tree")
    };
    let mut found = Vec::new();
    let open = root.reopen().map_err(|error| cannot(&error))?;
    let walked = walk(
        open,
        BOUNDS,
        |entry| {
            if entry.name.to_bytes() != b".git" || entry.kind() != FileType::RegularFile {
                return;
            }
            let text = place::read(entry.here, OsStr::from_bytes(entry.name.to_bytes()), super::LONGEST);
            if let Ok(Some(text)) = text {
                found.push((entry.path(), text));
            }
        },
        |_| {},
    );
    match walked {
        Ok(Walked::Whole) => {}
        Ok(Walked::CutShort) => return Err(cannot(&std::io::Error::other("it is too large or too deep"))),
        Err(error) => return Err(cannot(&error)),
    }
    let mut pointers = Vec::new();
    for (below, text) in found {
        let at = root.source.join(&below);
        let Some(target) = text.strip_prefix(b"gitdir: ").map(path) else { continue };
        let folder = at.parent().unwrap_or(&root.source);
        let Some(rest) =
            plain(&folder.join(target)).and_then(|to| Some(to.strip_prefix(git).ok()?.to_owned()))
        else {
            continue;
        };
        let below: PathBuf = mirror.git.components().chain(rest.components()).collect();
        let place = inside(REPOSITORY, &below)?;
        pointers.push(Pointer { path: at, text: format!("gitdir: {place}\n") });
    }
    Ok(pointers)
}

/// Returns a path without `.` and `..`, by its words: the folders on the way are no links.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => plain.pop().then_some(())?,
            part => plain.push(part),
        }
    }
    Some(plain)
}

/// Tells whether a place in the container is one of those.
pub(crate) fn is_below_repository(target: &str) -> bool {
    Path::new(target).starts_with(REPOSITORY) || Path::new(REPOSITORY).starts_with(target)
}
