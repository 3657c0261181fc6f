//! The folders of a project at one moment, while others may move them.
//!
//! ```text
//!  take: every folder ─▶ a tick ─▶ links resolved, files read ─▶ differences: every folder once more
//!                                                                 none: the tree was so at one moment   some: look again
//! ```
//! A walk sees each folder at another time. What moves meanwhile, from a folder that is still to be
//! listed into one that has been, is in no list; and a second walk can miss it in the same way. So
//! it does not do to compare what two walks have seen. Compared are the times at which the folders
//! were changed.
//!
//! - Every change of a folder's entries (made, removed, renamed, exchanged, linked) sets the
//!   folder's time of change. Nobody can set that time back but who can set the machine's clock,
//!   which is root.
//! - [`Snapshot::take`] asks each folder for it before it lists the folder.
//!   [`Snapshot::differences`] asks again after it has listed the folder and has looked at each
//!   entry. Where both times are the same, the folder had these entries all the time between, but
//!   for a change in the same tick of the file system's clock as the first question.
//!   [`wait_a_tick`] lets that tick pass before anything else is done.
//! - So at the moment after the tick every folder had the entries that `differences` lists. The
//!   project's own folder is held open; each folder below it has the device and inode that the list
//!   of the folder above has for it. The tree at that moment was what was recorded, whole.
//! - A file is read in between, and counts only if it has the device and inode that the list has
//!   for its path.
//!
//! What comes into being afterwards, or is moved into the project, was written during the run. What
//! moves within the project until the agent starts is found by the marks of what is covered: a file
//! without a cover holds nothing, wherever it goes.
//!
//! The price is a second listing. It asks for every entry, and reads no file. Several workers make
//! both listings.

use std::cmp::Ordering as CmpOrdering;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::{Cover, report};
use crate::host::at::open_below;
use crate::host::work_queue::{WorkQueue, workers};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::held;
use crate::workspace::mounts::Identity;

/// Files and folders in a project.
const MOST_ENTRIES: u64 = 3_000_000;
/// Longer than a tick of the clock by which file systems write times.
const TICK: Duration = Duration::from_millis(12);
/// Longer than a tick of file systems that know whole seconds only, the longest of which is two.
const LONG_TICK: Duration = Duration::from_millis(2100);

/// Limits for a tree that changes while it is listed: the longest time, and how often it is listed
/// at least and at most.
const LONGEST: Duration = Duration::from_secs(5);
const LOOKS: (u32, u32) = (3, 60);
/// Between two looks: this, and more with every look.
const PAUSE: Duration = Duration::from_millis(5);

/// The facts that tell a file or folder from others, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Device and inode.
    pub(crate) identity: Identity,
    /// Number of the file's names (hard links).
    pub(crate) names: u64,
    mode: u32,
    changed: (i64, i64),
    written: (i64, i64),
}

impl Mark {
    /// Returns the mark of what was looked at.
    #[allow(clippy::unnecessary_cast, reason = "other systems have other types")]
    pub(crate) fn of(stat: &Stat) -> Mark {
        Mark {
            identity: held::identity(stat),
            names: stat.st_nlink as u64,
            mode: stat.st_mode as u32,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            written: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        }
    }

    /// Tells whether it is a folder.
    pub(crate) fn is_folder(&self) -> bool {
        FileType::from_raw_mode(self.mode as RawMode) == FileType::Directory
    }

    /// Returns those of its rights that let a file be run.
    pub(crate) fn executable(&self) -> u32 {
        self.mode & 0o111
    }

    /// Tells whether `now` is the same folder; or the same file, under the names that it had. A
    /// further name sets the time of change, and not that of writing. Somebody may write the file
    /// meanwhile.
    pub(crate) fn still(&self, now: &Mark) -> bool {
        let names = self.names == now.names && (self.changed == now.changed || self.written != now.written);
        let folder = self.is_folder();
        self.identity == now.identity && folder == now.is_folder() && (folder || names)
    }
}

/// An entry of a folder.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Name of the entry.
    pub(crate) name: OsString,
    /// Kind of the entry.
    pub(crate) kind: FileType,
    /// Mark of the entry when it was listed.
    pub(crate) mark: Mark,
}

/// A folder and what is in it, sorted by name.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The path below the project.
    pub(crate) path: PathBuf,
    /// The entries.
    pub(crate) entries: Vec<Listed>,
    /// The mark before it was listed.
    mark: Mark,
    /// Tells whether nothing changed while it was listed.
    quiet: bool,
}

/// All folders of a project, the outer ones first.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The folders.
    pub(crate) folders: Vec<Folder>,
    /// Paths that were seen to move already.
    moved: BTreeSet<PathBuf>,
}

/// The differences that a second listing shows.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// Paths that have come, gone, or changed their place.
    pub(crate) moved: BTreeSet<PathBuf>,
    /// Files in their place that were changed.
    pub(crate) changed: HashMap<PathBuf, Mark>,
}

impl Snapshot {
    /// Lists every folder below `root`, which lies at `project`, but for those that `skip` names.
    pub(crate) fn take(
        root: BorrowedFd<'_>,
        project: &Path,
        skip: impl Fn(&Path) -> bool + Sync,
    ) -> Result<Snapshot, Failure> {
        let entries = AtomicU64::new(0);
        let queue = WorkQueue::new(workers(), (PathBuf::new(), None));
        let look = |part: &mut Part, (path, expected): (PathBuf, Option<Identity>)| {
            let folder = match part.list(root, project, path, expected) {
                Ok(Some(folder)) => folder,
                Ok(None) => return,
                Err(failure) => {
                    part.failure = Some(failure);
                    return queue.end();
                }
            };
            let more = folder.entries.len() as u64;
            if entries.fetch_add(more, Ordering::Relaxed) + more > MOST_ENTRIES {
                part.failure = Some(too_many(project));
                return queue.end();
            }
            for entry in folder.entries.iter().filter(|entry| entry.kind == FileType::Directory) {
                let below = folder.path.join(&entry.name);
                if !skip(&below) {
                    queue.give((below, Some(entry.mark.identity)));
                }
            }
            part.folders.push(folder);
        };
        let parts = queue.run((0..workers()).map(|_| Part::default()).collect(), look);
        let mut snapshot = Snapshot { folders: Vec::new(), moved: BTreeSet::new() };
        for part in parts {
            if let Some(failure) = part.failure {
                return Err(failure);
            }
            snapshot.folders.extend(part.folders);
            snapshot.moved.extend(part.moved);
        }
        // The outer ones first, whichever worker had them.
        snapshot.folders.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(snapshot)
    }

    /// Lists every folder again, and compares.
    pub(crate) fn differences(&self, root: BorrowedFd<'_>, project: &Path) -> Result<Differences, Failure> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let part = self.folders.len().div_ceil(threads).max(1);
        let compare = |folders: &[Folder]| -> Result<Differences, Failure> {
            let mut found = Differences::default();
            for folder in folders {
                match Folder::list(root, project, &folder.path)? {
                    There::Folder(now) => folder.compare(&now, &mut found),
                    There::Mount | There::Nothing => drop(found.moved.insert(folder.path.clone())),
                }
            }
            Ok(found)
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                self.folders.chunks(part).map(|folders| scope.spawn(|| compare(folders))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut all = Differences { moved: self.moved.clone(), changed: HashMap::new() };
        for part in parts {
            let Differences { moved, changed } = part?;
            all.moved.extend(moved);
            all.changed.extend(changed);
        }
        Ok(all)
    }

    /// Returns the mark of the project's own folder.
    pub(crate) fn root(&self) -> Option<Mark> {
        self.folders.first().map(|folder| folder.mark)
    }

    /// Returns the mark of what was listed at a path.
    pub(crate) fn mark(&self, path: &Path) -> Option<Mark> {
        let (above, name) = (path.parent()?, path.file_name()?);
        let index = self.folders.binary_search_by(|folder| folder.path.as_path().cmp(above)).ok()?;
        let folder = &self.folders[index];
        let index = folder.entries.binary_search_by(|entry| entry.name.as_os_str().cmp(name)).ok()?;
        Some(folder.entries[index].mark)
    }

    /// Returns the marks of all files in folders that are covered.
    pub(super) fn files_below(&self, covers: &[Cover]) -> HashMap<PathBuf, Mark> {
        let covered: Vec<&Path> =
            covers.iter().filter(|cover| cover.mark.is_folder()).map(|cover| cover.path.as_path()).collect();
        let inside = |folder: &&Folder| covered.iter().any(|cover| folder.path.starts_with(cover));
        let mut marks = HashMap::new();
        for folder in self.folders.iter().filter(inside) {
            let files = folder.entries.iter().filter(|entry| entry.kind == FileType::RegularFile);
            marks.extend(files.map(|entry| (folder.path.join(&entry.name), entry.mark)));
        }
        marks
    }

    /// Waits until a change of any folder would show in its time of change.
    pub(super) fn wait_a_tick(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let young = |mark: &Mark| mark.changed.0 >= now.as_secs() as i64 - 4;
        let coarse = self.folders.iter().any(|folder| folder.mark.changed.1 == 0 && young(&folder.mark));
        let before = tick();
        std::thread::sleep(if coarse { LONG_TICK } else { TICK });
        // The clock stands still while the processor that moves it is busy elsewhere.
        for _ in 0..1000 {
            if before.is_none() || tick() != before {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns the time that a local file system would write now.
#[cfg(target_os = "linux")]
fn tick() -> Option<(i64, i64)> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE).ok()?;
    Some((now.tv_sec(), now.tv_nsec()))
}

/// Returns nothing: there is no such clock.
#[cfg(target_os = "macos")]
fn tick() -> Option<(i64, i64)> {
    None
}

/// The folders that one worker has listed.
#[derive(Default)]
struct Part {
    folders: Vec<Folder>,
    /// Paths that were seen to move.
    moved: BTreeSet<PathBuf>,
    failure: Option<Failure>,
}

impl Part {
    /// Lists a folder that was `expected` to be another one's entry; returns nothing where there is
    /// none.
    fn list(
        &mut self,
        root: BorrowedFd<'_>,
        project: &Path,
        path: PathBuf,
        expected: Option<Identity>,
    ) -> Result<Option<Folder>, Failure> {
        let folder = match Folder::list(root, project, &path)? {
            There::Folder(folder) => folder,
            // No agent is given it.
            There::Mount => return Ok(None),
            There::Nothing => {
                self.moved.insert(path);
                return Ok(None);
            }
        };
        if !folder.quiet || expected.is_some_and(|identity| identity != folder.mark.identity) {
            self.moved.insert(path);
        }
        Ok(Some(folder))
    }
}

/// The thing that has the path of a folder.
enum There {
    /// The folder that was listed.
    Folder(Folder),
    /// A mount that lies over the folder.
    Mount,
    /// Nothing, or no folder any more.
    Nothing,
}

impl Folder {
    /// Lists one folder, if it is one.
    fn list(root: BorrowedFd<'_>, project: &Path, path: &Path) -> Result<There, Failure> {
        match Folder::read(root, path) {
            Ok(folder) => Ok(There::Folder(folder)),
            Err(Errno::XDEV) => Ok(There::Mount),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE) => Ok(There::Nothing),
            // What ringfence may not read may still be readable to the agent, which may run as
            // another user.
            Err(error) => {
                let what = format!("cannot look through {}", project.join(path).display());
                Err(Failure::new(COULD_NOT_RUN, what)
                    .caused_by(&error)
                    .hint("make it readable, or --unmask it if it holds no secrets"))
            }
        }
    }

    fn read(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Folder> {
        let opened = open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        let mark = Mark::of(&rustix::fs::fstat(&opened)?);
        let (mut entries, mut quiet) = (Vec::new(), true);
        let mut dir = Dir::new(opened)?;
        while let Some(listed) = dir.next() {
            let (listed, opened) = (listed?, dir.fd()?);
            let name = listed.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match rustix::fs::statat(opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(Listed {
                    name: OsStr::from_bytes(name.to_bytes()).to_owned(),
                    kind: FileType::from_raw_mode(stat.st_mode),
                    mark: Mark::of(&stat),
                }),
                Err(Errno::NOENT) => quiet = false,
                Err(error) => return Err(error),
            }
        }
        entries.sort_unstable_by(|one: &Listed, other| one.name.cmp(&other.name));
        let quiet = quiet && Mark::of(&rustix::fs::fstat(dir.fd()?)?).changed == mark.changed;
        Ok(Folder { path: path.to_owned(), entries, mark, quiet })
    }

    /// Compares with what it is now, entry by entry.
    fn compare(&self, now: &Folder, found: &mut Differences) {
        let same =
            now.quiet && now.mark.identity == self.mark.identity && now.mark.changed == self.mark.changed;
        let mut moved = Vec::new();
        // Both are sorted by name.
        let (mut was, mut is) = (self.entries.as_slice(), now.entries.as_slice());
        loop {
            let order = match (was.first(), is.first()) {
                (None, None) => break,
                (before, entry) => before
                    .is_none()
                    .cmp(&entry.is_none())
                    .then_with(|| before.map(|before| &before.name).cmp(&entry.map(|entry| &entry.name))),
            };
            match order {
                // Gone, or new.
                CmpOrdering::Less => {
                    moved.extend(take_first(&mut was).map(|gone| self.path.join(&gone.name)))
                }
                CmpOrdering::Greater => {
                    moved.extend(take_first(&mut is).map(|new| self.path.join(&new.name)))
                }
                CmpOrdering::Equal => {
                    let (Some(before), Some(entry)) = (take_first(&mut was), take_first(&mut is)) else {
                        break;
                    };
                    if before.mark.identity != entry.mark.identity || before.kind != entry.kind {
                        moved.push(self.path.join(&entry.name));
                    } else if entry.kind == FileType::RegularFile && before.mark != entry.mark {
                        found.changed.insert(self.path.join(&entry.name), entry.mark);
                    }
                }
            }
        }
        if !same && moved.is_empty() {
            moved.push(self.path.clone());
        }
        found.moved.extend(moved);
    }
}

/// Takes the first of some entries from them.
fn take_first<'a>(entries: &mut &'a [Listed]) -> Option<&'a Listed> {
    let (first, rest) = entries.split_first()?;
    *entries = rest;
    Some(first)
}

/// Number and time of looks at a tree that changes.
#[derive(Debug)]
pub(crate) struct Patience {
    longest: Duration,
    began: Instant,
    looks: u32,
}

impl Patience {
    /// Begins with the first look.
    pub(crate) fn new() -> Patience {
        Patience { longest: LONGEST, began: Instant::now(), looks: 1 }
    }

    /// Makes a patience that soon ends.
    #[cfg(test)]
    pub(crate) fn short() -> Patience {
        Patience { longest: Duration::ZERO, ..Patience::new() }
    }

    /// Waits before another look, since something moved in the last one; or says that there will be
    /// none.
    pub(crate) fn again(&mut self, at: &Path, moved: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let (least, most) = LOOKS;
        if self.looks < most && (self.looks < least || self.began.elapsed() < self.longest) {
            std::thread::sleep(PAUSE * self.looks);
            self.looks += 1;
            return Ok(());
        }
        let shown = moved.iter().map(|path| match path.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => report::shown(path),
        });
        let what = format!(
            "{} was looked through {} times, and each time files or folders came, went or changed places meanwhile: {}",
            at.display(),
            self.looks,
            report::few(shown.collect())
        );
        Err(Failure::new(COULD_NOT_RUN, what).hint(
            "wait until other programs and agents at work there have ended, or --unmask the folder that they work in if that holds no secrets",
        ))
    }
}

/// Lists every folder below `root`, which lies at `at`, until all of them were as listed at one
/// moment.
pub(super) fn at_rest(root: BorrowedFd<'_>, at: &Path) -> Result<Snapshot, Failure> {
    let mut patience = Patience::new();
    loop {
        let snapshot = Snapshot::take(root, at, |_| false)?;
        snapshot.wait_a_tick();
        let Differences { moved, .. } = snapshot.differences(root, at)?;
        if moved.is_empty() {
            return Ok(snapshot);
        }
        patience.again(at, &moved)?;
    }
}

fn too_many(project: &Path) -> Failure {
    let what =
        format!("{} holds more than {MOST_ENTRIES} files, too many to look through", project.display());
    Failure::new(COULD_NOT_RUN, what)
        .hint("give a smaller directory, or --unmask a folder that holds no secrets")
}
