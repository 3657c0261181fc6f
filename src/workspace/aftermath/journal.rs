//! The record of a run on this machine, `$XDG_STATE_HOME/ringfence/aftermath/ID.json`: written before the agent starts, gone when everything is put back.
//!
//! Its supervisor holds a lock on it, which ends with the process, however that ends. What is unlocked is anybody's to settle.

use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::find::find;
use super::pin::pins;
use super::record::{Bytes, Journal, Pinned, Root};
use super::settle::settle;
use super::told::Told;
use crate::clock::unix_seconds;
use crate::error::{COULD_NOT_RUN, Failure};
use crate::supervisor::state;
use crate::workspace::held;
use crate::workspace::masks::Plan;
use crate::workspace::mounts::{Bind, Identity};

/// A journal that was being written when its writer was killed is removed after this time.
const OLD: Duration = Duration::from_secs(3600);
const ENDING: &str = "json";
const UNFINISHED: &str = "part";

/// What a run may not leave behind, held while it goes on.
pub struct Aftermath {
    id: String,
    path: PathBuf,
    journal: Journal,
    roots: Vec<OwnedFd>,
    /// Locked.
    _lock: fs::File,
}

impl Aftermath {
    /// Looks at what the agent will be able to write, and writes down what is put back. The agent must not run yet.
    pub fn begin(
        binds: &[Bind],
        masks: Option<&Plan>,
        id: &str,
        engine: &str,
    ) -> Result<Option<Aftermath>, Failure> {
        let writable: Vec<&Bind> = binds.iter().filter(|bind| bind.writable && bind.directory).collect();
        if writable.is_empty() {
            return Ok(None);
        }
        let folder = state::folder("aftermath")?;
        let own = folder.canonicalize().map_err(|error| unusable(&folder, &error))?;
        if let Some(bind) = writable.iter().find(|bind| own.starts_with(&bind.source)) {
            let what = format!(
                "ringfence's own state lies in {}, where the agent could write it",
                bind.source.display()
            );
            return Err(Failure::new(COULD_NOT_RUN, what).hint("set XDG_STATE_HOME to a place outside of it"));
        }
        let others = others(&folder);
        let (mut roots, mut opened) = (Vec::new(), Vec::new());
        for bind in writable {
            let cannot = |error: io::Error| {
                Failure::new(COULD_NOT_RUN, format!("cannot look through {}", bind.source.display()))
                    .caused_by(&error)
            };
            let open = bind.reopen().map_err(cannot)?;
            let covers =
                masks.filter(|plan| plan.project == bind.source).map_or(&[][..], |plan| &plan.covers);
            let found = find(open.as_fd(), &[]).map_err(cannot)?;
            let pins = pins(open.as_fd(), &bind.source, &found, covers)?;
            // Once more, with the folders of hooks that the configurations name.
            let hooks: Vec<PathBuf> = pins.hooks.into_iter().collect();
            let found = match hooks.is_empty() {
                true => found,
                false => find(open.as_fd(), &hooks).map_err(cannot)?,
            };
            let mut root = Root {
                path: bind.source.as_path().into(),
                device: bind.identity.device,
                inode: bind.identity.inode,
                pinned: pins.all.into_values().collect(),
                risky: found.risky.iter().map(|(path, print)| (path.as_path().into(), *print)).collect(),
                hooks: hooks.iter().map(|path| path.as_path().into()).collect(),
                cut_short: found.cut_short,
            };
            inherit(&mut root, &others);
            roots.push(root);
            opened.push(open);
        }
        let journal = Journal { engine: engine.to_owned(), began: unix_seconds(), roots };
        let path = folder.join(format!("{id}.{ENDING}"));
        let lock = write(&folder, &path, &journal).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(&error)
        })?;
        Ok(Some(Aftermath { id: id.to_owned(), path, journal, roots: opened, _lock: lock }))
    }

    /// Puts back. The agent must have ended.
    pub fn settle(self) -> Told {
        let mut told = Told::default();
        for (root, open) in self.journal.roots.iter().zip(&self.roots) {
            told.add(settle(root, open, &self.id));
        }
        finish(&self.path, &mut told);
        told
    }
}

/// Puts back after workflow `id`, whose agent has ended, unless its supervisor lives and does it itself.
pub fn settle_abandoned(id: &str) -> Result<Option<Told>, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    settle_file(&path, id, |_| true)
}

/// Puts back after workflows of this engine that are not on it any more.
pub fn sweep(engine: &str, living: &[String]) -> Result<Vec<Told>, Failure> {
    let folder = state::folder("aftermath")?;
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| unusable(&folder, &error))?.flatten() {
        let path = entry.path();
        let Some(id) = path.file_stem().and_then(|id| id.to_str()) else { continue };
        match path.extension().and_then(|end| end.to_str()) {
            Some(ENDING) if !living.iter().any(|other| other == id) => {
                all.extend(settle_file(&path, id, |journal| journal.engine == engine)?);
            }
            Some(UNFINISHED) => {
                let age = entry
                    .metadata()
                    .and_then(|meta| meta.modified())
                    .ok()
                    .and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age > OLD) {
                    // Another sweep may be faster.
                    let _ = fs::remove_file(&path);
                }
            }
            _ => {}
        }
    }
    Ok(all)
}

fn settle_file(path: &Path, id: &str, ours: impl Fn(&Journal) -> bool) -> Result<Option<Told>, Failure> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, &error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        // Its supervisor lives, or somebody else settles it just now.
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(unusable(path, &error)),
    }
    let is_gone = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink == 0);
    if is_gone {
        return Ok(None);
    }
    let journal: Journal =
        serde_json::from_reader(io::BufReader::new(&file)).map_err(|error| unusable(path, &error))?;
    if !ours(&journal) {
        return Ok(None);
    }
    let mut told = Told::default();
    for root in &journal.roots {
        match open(root) {
            Ok(open) => told.add(settle(root, &open, id)),
            Err(error) => told.failures.push(format!(
                "git's configuration in {} could NOT be put back: {error}",
                netpolicy::diagnostic::harmless(&root.path.path().to_string_lossy())
            )),
        }
    }
    finish(path, &mut told);
    Ok(Some(told))
}

/// The directory, if it is still the one that was given to the agent.
fn open(root: &Root) -> io::Result<OwnedFd> {
    let held = held::open(&root.path.path())?;
    let Identity { device, inode } = held::identity(&rustix::fs::fstat(&held)?);
    if (device, inode) != (root.device, root.inode) {
        return Err(io::Error::other("another directory is there now"));
    }
    held::reopen_directory(&held)
}

/// The journal goes when everything is put back; else it stays for another try.
fn finish(path: &Path, told: &mut Told) {
    if !told.failures.is_empty() {
        told.failures.push(format!(
            "it is tried again at the next run and by `ringfence gc`, until then it stands in {}",
            path.display()
        ));
        return;
    }
    if let Err(error) = fs::remove_file(path) {
        told.failures.push(format!("{} could not be removed: {error}", path.display()));
    }
}

/// Writes the journal so that it is whole, on disk and locked from the first moment that anybody can see it.
fn write(folder: &Path, path: &Path, journal: &Journal) -> io::Result<fs::File> {
    let mut file = tempfile::Builder::new().suffix(&format!(".{UNFINISHED}")).tempfile_in(folder)?;
    file.as_file().lock()?;
    file.write_all(&serde_json::to_vec(journal)?)?;
    file.as_file().sync_all()?;
    let file = file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Journals that are there already.
fn others(folder: &Path) -> Vec<Journal> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut journals: Vec<Journal> = files
        .filter(|path| path.extension().is_some_and(|end| end == ENDING))
        .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
        .collect();
    journals.sort_by_key(|journal| journal.began);
    journals
}

/// Another run on the same directory may have changed it already: what counts is how it was before the first of them.
fn inherit(root: &mut Root, others: &[Journal]) {
    let same = |other: &&Root| (other.device, other.inode) == (root.device, root.inode);
    let Some(first) = others.iter().flat_map(|journal| &journal.roots).find(same) else { return };
    let known: std::collections::BTreeSet<&Bytes> = first.pinned.iter().map(|pinned| &pinned.path).collect();
    let later = root.pinned.iter().filter(|pinned| !known.contains(&pinned.path));
    // Repositories that were made meanwhile were nobody's before.
    let was = |pinned: &Pinned| Pinned { was: super::record::Was::Absent, ..pinned.clone() };
    root.pinned = first.pinned.iter().cloned().chain(later.filter(|pinned| pinned.config).map(was)).collect();
    root.risky = first.risky.clone();
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display())).caused_by(error)
}
