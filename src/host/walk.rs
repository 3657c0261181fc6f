//! Walking a directory that an agent may write, and may change meanwhile.
//!
//! ```text
//!  worker: folder ─▶ each entry ─▶ visitor     folders below ─┬─ few are waiting ─▶ queue ─▶ another worker
//!                                                             └─ else ─▶ looked into at once
//! ```
//! By descriptors, so that no link is followed whatever is swapped; on one file system; bounded in
//! depth, number and time. Each folder is opened once, and each entry looked at once.

use std::ffi::{CStr, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::host::at::open_in;
use crate::host::work_queue::WorkQueue;

/// Open folders that wait for a worker: enough that none is idle while another lists a long folder.
const WAITING: usize = 32;

/// Bounds of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Directories below each other; each keeps a descriptor.
    pub(crate) depth: usize,
    /// Entries.
    pub(crate) entries: u64,
    /// Time.
    pub(crate) time: Duration,
}

/// One entry.
pub(crate) struct Entry<'a> {
    /// The directory that it is in.
    pub(crate) here: BorrowedFd<'a>,
    /// Path of that directory below the root.
    pub(crate) folder: &'a Path,
    /// Name in the folder.
    pub(crate) name: &'a CStr,
    /// Stat data of the entry.
    pub(crate) stat: &'a Stat,
}

impl Entry<'_> {
    /// Returns the kind of the file.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns the entry's path below the root.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(OsStr::from_bytes(self.name.to_bytes()))
    }
}

/// Outcome of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Everything was seen, but for what was reported as hidden.
    Whole,
    /// A bound ended it, or a part of it.
    CutShort,
}

/// The part of a walk's outcome that one worker gathers.
pub(crate) trait Visitor {
    /// Takes in an entry. A directory is opened after this.
    fn visit(&mut self, entry: &Entry<'_>);
    /// Takes in a directory that cannot be looked into, after it was visited.
    fn hidden(&mut self, directory: &Entry<'_>);
}

/// A visitor of two functions.
struct Functions<V, H>(V, H);

impl<V: FnMut(&Entry<'_>), H: FnMut(&Stat)> Visitor for Functions<V, H> {
    fn visit(&mut self, entry: &Entry<'_>) {
        (self.0)(entry);
    }

    fn hidden(&mut self, directory: &Entry<'_>) {
        (self.1)(directory.stat);
    }
}

/// Shows every entry below `root` to `visit`; directories that cannot be looked into also to
/// `hidden`.
pub(crate) fn walk(
    root: OwnedFd,
    bounds: Bounds,
    visit: impl FnMut(&Entry<'_>),
    hidden: impl FnMut(&Stat),
) -> rustix::io::Result<Walked> {
    let shared = Shared::new(root, bounds, 1)?;
    let mut visitor = Functions(visit, hidden);
    shared.queue.work(|folder| shared.look_into(folder, &mut visitor));
    Ok(shared.walked())
}

/// Shows every entry below `root` to one of the visitors, which work side by side; returns the
/// visitors. A directory and what is in it may be seen by different ones, the directory first.
pub(crate) fn walk_side_by_side<V: Visitor + Send>(
    root: OwnedFd,
    bounds: Bounds,
    visitors: Vec<V>,
) -> rustix::io::Result<(Walked, Vec<V>)> {
    let shared = Shared::new(root, bounds, visitors.len())?;
    let visitors = shared.queue.run(visitors, |visitor, folder| shared.look_into(folder, visitor));
    Ok((shared.walked(), visitors))
}

/// A folder that is open, and not listed yet.
struct Folder {
    dir: Dir,
    path: PathBuf,
    /// Number of open folders from the root to this one.
    depth: usize,
}

/// The state that the workers of one walk share.
struct Shared {
    bounds: Bounds,
    until: Instant,
    device: u64,
    is_alone: bool,
    entries: AtomicU64,
    cut_short: AtomicBool,
    queue: WorkQueue<Folder>,
}

impl Shared {
    #[allow(clippy::unnecessary_cast, reason = "other systems have other types")]
    fn new(root: OwnedFd, bounds: Bounds, workers: usize) -> rustix::io::Result<Shared> {
        let device = rustix::fs::fstat(&root)?.st_dev as u64;
        let first = Folder { dir: Dir::new(root)?, path: PathBuf::new(), depth: 1 };
        Ok(Shared {
            bounds,
            until: Instant::now() + bounds.time,
            device,
            is_alone: workers == 1,
            entries: AtomicU64::new(0),
            cut_short: AtomicBool::new(false),
            queue: WorkQueue::new(workers, first),
        })
    }

    fn walked(&self) -> Walked {
        if self.cut_short.load(Ordering::Relaxed) { Walked::CutShort } else { Walked::Whole }
    }

    /// Counts an entry; tells whether it is beyond a bound.
    fn is_beyond(&self) -> bool {
        let count = self.entries.fetch_add(1, Ordering::Relaxed) + 1;
        count > self.bounds.entries || (count.is_multiple_of(512) && Instant::now() > self.until)
    }

    /// Looks into a folder, and into those below it that are given to nobody else.
    fn look_into(&self, folder: Folder, visitor: &mut impl Visitor) {
        let Folder { dir, mut path, depth: first } = folder;
        let mut open = vec![dir];
        loop {
            let depth = first + open.len() - 1;
            let Some(dir) = open.last_mut() else { return };
            let Some(listed) = dir.next() else {
                open.pop();
                path.pop();
                continue;
            };
            // One that vanished while it was listed is gone.
            let Ok(listed) = listed else { continue };
            let name = listed.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.queue.is_over() {
                return;
            }
            if self.is_beyond() {
                self.cut_short.store(true, Ordering::Relaxed);
                return self.queue.end();
            }
            let Ok(here) = dir.fd() else { continue };
            let Ok(stat) = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let entry = Entry { here, folder: &path, name, stat: &stat };
            visitor.visit(&entry);
            let Some(below) = self.open(&entry, depth, visitor) else { continue };
            let name = OsStr::from_bytes(name.to_bytes());
            if !self.is_alone && self.queue.length() < WAITING {
                self.queue.give(Folder { dir: below, path: path.join(name), depth: depth + 1 });
            } else {
                path.push(name);
                open.push(below);
            }
        }
    }

    /// Opens an entry that is a directory to be looked into; `depth` is that of its folder.
    #[allow(clippy::unnecessary_cast, reason = "other systems have other types")]
    fn open(&self, entry: &Entry<'_>, depth: usize, visitor: &mut impl Visitor) -> Option<Dir> {
        if entry.kind() != FileType::Directory || entry.stat.st_dev as u64 != self.device {
            return None;
        }
        if depth >= self.bounds.depth {
            self.cut_short.store(true, Ordering::Relaxed);
            return None;
        }
        match open_in(entry.here, entry.name, OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new) {
            Ok(below) => Some(below),
            // What is mounted there is not the directory's, also where it is of the same file
            // system.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => None,
            Err(_) => {
                visitor.hidden(entry);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
