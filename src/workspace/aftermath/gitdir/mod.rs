//! Everything below a repository's own folder that is no configuration and no hook: what git runs,
//! follows or trusts without asking.
//!
//! ```text
//!  before: facts (HEAD, refs, index, links, caches, names) ─▶ journal
//!  after:  index ─▶ written anew      links, replaced objects, … ─▶ put aside      caches ─▶ removed      refs, the rest ─▶ told
//! ```
//! The table is in docs/workspace.md. Permitted is what it lists; a file that nobody knows is told,
//! and never moved.

mod ewah;
pub(crate) mod index;
mod judge_index;
mod names;
mod paths;
pub(crate) mod refs;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Stat};
use serde::{Deserialize, Serialize};

pub(crate) use self::index::{Index, LARGEST};
use self::refs::Refs;
pub(crate) use self::settle::{Beforehand, settle};
use super::config::parse;
use super::find::ScanResult;
use super::place;
use super::record::{Bytes, Digest, digest};
use crate::host::walk::{Bounds, Walked, walk};

/// Bounds of the walk through one repository; objects are most of it.
const BOUNDS: Bounds = Bounds { depth: 60, entries: 2_000_000, time: Duration::from_secs(20) };
/// Links in one repository, names beside git's own, and files whose changes a person hides: nobody
/// has more.
const MOST: usize = 50_000;

/// Marks that change when a file is written: only the kernel sets the last of these times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Print {
    inode: u64,
    size: i64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    /// Takes the print of a file.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ between systems")]
    pub(crate) fn of(stat: &Stat) -> Print {
        Print {
            inode: stat.st_ino as u64,
            size: stat.st_size as i64,
            written: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A repository before the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The repository's folder below the root.
    pub(crate) repository: Bytes,
    /// The repository's working tree below the root.
    pub(crate) tree: Option<Bytes>,
    /// Set when objects are named by SHA-256.
    pub(crate) sha256: bool,
    /// HEAD and references.
    pub(crate) refs: Refs,
    /// The index.
    pub(crate) index: Option<Digest>,
    /// Files whose changes the person hides from git: assume-unchanged, or skip-worktree though
    /// they are there.
    pub(crate) hiding: Vec<Hiding>,
    /// Links, sockets and the like, and where links lead.
    pub(crate) links: Vec<(Bytes, Bytes)>,
    /// Files that git makes anew from others.
    pub(crate) caches: Vec<(Bytes, Print)>,
    /// Names in the repository's folder.
    pub(crate) names: Vec<Bytes>,
    /// Content of the file `shallow`.
    pub(crate) shallow: Option<Bytes>,
}

/// A file whose changes a person hides from git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hiding {
    /// Path in the working tree.
    pub(crate) path: Bytes,
    /// Set when the file is hidden by assume-unchanged.
    pub(crate) valid: bool,
    /// Set when the file is hidden by skip-worktree.
    pub(crate) skip: bool,
    /// Print of the index before the run.
    pub(crate) print: Option<Print>,
}

/// A working tree that does not lie below the root, open.
#[derive(Debug)]
pub(crate) struct Apart {
    /// The folder with its index, below the root.
    pub(crate) repository: PathBuf,
    /// The working tree.
    pub(crate) open: OwnedFd,
}

/// Returns the working tree of a repository: the directory that its path counts from, and the path.
fn tree_of<'a>(
    root: BorrowedFd<'a>,
    repository: &Path,
    trees: &'a BTreeMap<PathBuf, PathBuf>,
    apart: &'a [Apart],
) -> (BorrowedFd<'a>, Option<&'a Path>) {
    match apart.iter().find(|tree| tree.repository == repository) {
        Some(tree) => (tree.open.as_fd(), Some(Path::new(""))),
        None => (root, trees.get(repository).map(PathBuf::as_path)),
    }
}

/// Looks at every repository before the run.
pub(crate) fn facts(root: BorrowedFd<'_>, found: &ScanResult, apart: &[Apart]) -> io::Result<Vec<Facts>> {
    let trees = trees(root, found);
    let mut all = Vec::new();
    for repository in &found.repositories {
        match place::open_folder(root, repository) {
            Ok(here) => {
                let tree = tree_of(root, repository, &trees, apart);
                let facts = Facts::of(root, &here, repository, tree)?;
                // Below the root only.
                let tree = trees.get(repository).map(|tree| Bytes::from(tree.as_path()));
                all.push(Facts { tree, ..facts });
            }
            Err(error) if place::is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Branches of all repositories.
pub(crate) fn branches(facts: &[Facts]) -> BTreeSet<String> {
    let names = facts.iter().flat_map(|facts| facts.refs.all.keys());
    names.filter_map(|name| name.strip_prefix("refs/heads/")).map(str::to_owned).collect()
}

/// Returns the working trees of repositories, as far as they lie below the root: around `.git`, or
/// where a file `.git` leads from.
pub(crate) fn trees(root: BorrowedFd<'_>, found: &ScanResult) -> BTreeMap<PathBuf, PathBuf> {
    let mut trees = BTreeMap::new();
    for gitfile in &found.gitfiles {
        let folder = gitfile.parent().unwrap_or(Path::new(""));
        let read =
            place::folder(root, gitfile).and_then(|(here, name)| place::read(here.as_fd(), name, 4096));
        let Ok(Some(text)) = read else { continue };
        let target = text.strip_prefix(b"gitdir: ").map(place::one_path).unwrap_or_default();
        if let Some(repository) = place::below(folder, Path::new(OsStr::from_bytes(target))) {
            trees.insert(repository, folder.to_owned());
        }
    }
    for repository in &found.repositories {
        if repository.file_name().is_some_and(|name| name == ".git") {
            trees.insert(repository.clone(), repository.parent().unwrap_or(Path::new("")).to_owned());
        }
        // What lies elsewhere may name its working tree itself.
        if let Some(named) = value(root, repository, b"core.worktree")
            && let Some(tree) = place::below(repository, Path::new(OsStr::from_bytes(&named)))
        {
            trees.insert(repository.clone(), tree);
        }
    }
    trees
}

/// Returns the last value of a key in a repository's configuration.
fn value(root: BorrowedFd<'_>, repository: &Path, key: &[u8]) -> Option<Vec<u8>> {
    let path = repository.join("config");
    let (here, name) = place::folder(root, &path).ok()?;
    let text = place::read(here.as_fd(), name, super::config::LARGEST).ok()??;
    parse(&text)?.into_iter().rev().find(|entry| entry.name == key)?.value
}

/// Returns the folder that holds the objects of a repository: of a linked working tree, that of its
/// main one.
pub(crate) fn common(root: BorrowedFd<'_>, here: &OwnedFd, repository: &Path) -> PathBuf {
    let text = place::read(here.as_fd(), OsStr::new("commondir"), 4096).ok().flatten();
    let led =
        text.and_then(|text| place::below(repository, Path::new(OsStr::from_bytes(place::one_path(&text)))));
    led.filter(|led| place::open_folder(root, led).is_ok()).unwrap_or_else(|| repository.to_owned())
}

impl Facts {
    /// Gathers the facts about one open repository.
    pub(crate) fn of(
        root: BorrowedFd<'_>,
        here: &OwnedFd,
        repository: &Path,
        tree: (BorrowedFd<'_>, Option<&Path>),
    ) -> io::Result<Facts> {
        let common = common(root, here, repository);
        let sha256 = value(root, &common, b"extensions.objectformat").is_some_and(|form| form == b"sha256");
        let mut facts = Facts {
            repository: repository.into(),
            tree: tree.1.map(Bytes::from),
            sha256,
            refs: refs::read(here)?,
            shallow: place::read(here.as_fd(), OsStr::new("shallow"), 16 << 20).ok().flatten().map(Bytes),
            ..Facts::default()
        };
        if let Ok(Some(bytes)) = place::read(here.as_fd(), OsStr::new("index"), index::LARGEST) {
            facts.index = Some(digest(&bytes));
            let index = whole_index(here, &bytes, sha256);
            facts.hiding = index.map(|index| hiding(tree, &index)).unwrap_or_default();
        }
        let contents = contents(here)?;
        facts.links = contents.links;
        facts.caches = contents.caches;
        facts.names = contents.names;
        Ok(facts)
    }
}

/// Reads the index in a repository's folder, open; nothing where it is none that can be read for
/// certain.
pub(crate) fn read_index(here: &OwnedFd, sha256: bool) -> Option<Index> {
    let bytes = place::read(here.as_fd(), OsStr::new("index"), index::LARGEST).ok()??;
    whole_index(here, &bytes, sha256)
}

/// Reads an index, and what a split one stands on.
fn whole_index(here: &OwnedFd, bytes: &[u8], sha256: bool) -> Option<Index> {
    let split = index::read(bytes, sha256)?;
    let Some(base) = &split.base else { return Some(split) };
    let name = format!("sharedindex.{}", hex::encode(&base.name));
    let shared = place::read(here.as_fd(), OsStr::new(&name), index::LARGEST).ok()??;
    index::joined(split, index::read(&shared, sha256)?)
}

/// Lists files whose changes a person hides from git.
fn hiding((root, tree): (BorrowedFd<'_>, Option<&Path>), index: &Index) -> Vec<Hiding> {
    let marked = index.entries.iter().filter(|entry| entry.valid || entry.skip);
    let hiding = marked.map(|entry| {
        let print = print_of(root, tree, &entry.path);
        Hiding {
            path: Bytes(entry.path.clone()),
            valid: entry.valid,
            // Of a working tree that is not looked at, what is marked stays marked.
            skip: entry.skip && (print.is_some() || tree.is_none()),
            print,
        }
    });
    hiding.filter(|one| one.valid || one.skip).take(MOST).collect()
}

/// Takes the print of a file of a working tree; nothing where there is none.
fn print_of(root: BorrowedFd<'_>, tree: Option<&Path>, path: &[u8]) -> Option<Print> {
    let path = tree?.join(OsStr::from_bytes(path));
    let stat = rustix::fs::statat(root, &path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(Print::of(&stat))
}

/// Contents of a repository's folder that are judged after a run.
#[derive(Debug, Default)]
struct Contents {
    links: Vec<(Bytes, Bytes)>,
    caches: Vec<(Bytes, Print)>,
    names: Vec<Bytes>,
}

fn contents(here: &OwnedFd) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut crowded = false;
    let open = crate::workspace::held::reopen_directory(here)?;
    let walked = walk(
        open,
        BOUNDS,
        |entry| {
            let path = entry.path();
            if path.components().count() == 1 && contents.names.len() < MOST {
                contents.names.push(path.as_path().into());
            }
            match entry.kind() {
                FileType::Directory => {}
                FileType::RegularFile => {
                    if names::is_cache(&path) {
                        match contents.caches.len() < MOST {
                            true => contents.caches.push((path.as_path().into(), Print::of(entry.stat))),
                            false => crowded = true,
                        }
                    }
                }
                kind if contents.links.len() < MOST => {
                    let target = match kind {
                        FileType::Symlink => rustix::fs::readlinkat(entry.here, entry.name, Vec::new())
                            .map(|to| to.into_bytes()),
                        _ => Ok(b"\0".to_vec()),
                    };
                    contents.links.push((path.as_path().into(), Bytes(target.unwrap_or_default())));
                }
                _ => crowded = true,
            }
        },
        |_| {},
    )?;
    // What was not looked at may be a link that git follows.
    match crowded || walked == Walked::CutShort {
        true => Err(io::Error::other("there is more in it than is looked through")),
        false => Ok(contents),
    }
}
