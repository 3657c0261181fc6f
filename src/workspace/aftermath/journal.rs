//! The record of a run on this machine, `$XDG_STATE_HOME/ringfence/aftermath/ID.json`: written before the agent starts, gone when everything is put back.
//!
//! Its supervisor holds a lock on it, which ends with the process, however that ends. What is unlocked is anybody's to settle.

use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::find::{Found, Look, find};
use super::pin::pins;
use super::record::{Bytes, Journal, Pinned, Root};
use super::settle::settle;
use super::told::Told;
use crate::clock::unix_seconds;
use crate::error::{COULD_NOT_RUN, Failure};
use crate::supervisor::state;
use crate::wire::WorkflowId;
use crate::workspace::held;
use crate::workspace::masks::Plan;
use crate::workspace::mounts::{Bind, Identity};

/// A journal that was being written when its writer was killed is removed after this time.
const OLD: Duration = Duration::from_secs(3600);
const ENDING: &str = "json";
const UNFINISHED: &str = "part";

/// What a run may not leave behind, held while it goes on.
pub struct Aftermath {
    id: WorkflowId,
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
        id: WorkflowId,
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
        let mut others = others(&folder);
        let (mut roots, mut opened) = (Vec::new(), Vec::new());
        for bind in writable {
            let cannot = |error: io::Error| {
                Failure::new(COULD_NOT_RUN, format!("cannot look through {}", bind.source.display()))
                    .caused_by(&error)
            };
            let open = bind.reopen().map_err(cannot)?;
            let covers =
                masks.filter(|plan| plan.project == bind.source).map_or(&[][..], |plan| &plan.covers);
            let found = find(open.as_fd(), Look::default()).map_err(cannot)?;
            whole(&found, &bind.source)?;
            let pins = pins(open.as_fd(), &bind.source, &found, covers)?;
            // Once more, with the folders of hooks that the configurations name.
            let hooks: Vec<PathBuf> = pins.hooks.into_iter().collect();
            let found = match hooks.is_empty() {
                true => found,
                false => find(open.as_fd(), Look { hooks: &hooks, ..Look::default() }).map_err(cannot)?,
            };
            let root = Root {
                path: bind.source.as_path().into(),
                device: bind.identity.device,
                inode: bind.identity.inode,
                pinned: pins.all.into_values().collect(),
                risky: found.risky.iter().map(|(path, print)| (path.as_path().into(), *print)).collect(),
                hooks: hooks.iter().map(|path| path.as_path().into()).collect(),
                folders: pins.folders,
            };
            whole(&found, &bind.source)?;
            roots.push(root);
            opened.push(open);
        }
        // Others may have begun meanwhile, or ended.
        others.extend(self::others(&folder));
        apart(&roots, &others)?;
        roots.iter_mut().for_each(|root| inherit(root, &others));
        let journal = Journal { engine: engine.to_owned(), began: unix_seconds(), roots };
        let path = folder.join(format!("{id}.{ENDING}"));
        let lock = write(&folder, &path, &journal).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(&error)
        })?;
        let held = Aftermath { id, path, journal, roots: opened, _lock: lock };
        // Of two that begin at once, both see the other's record by now, or one does.
        if let Err(error) = apart(&held.journal.roots, &self::others(&folder)) {
            // Its agent has never run.
            let _ = fs::remove_file(&held.path);
            return Err(error);
        }
        Ok(Some(held))
    }

    /// Puts back. The agent must have ended.
    pub fn settle(self) -> Told {
        let mut told = Told::default();
        for (root, open) in self.journal.roots.iter().zip(&self.roots) {
            told.add(settle(root, open, &self.id.to_string()));
        }
        finish(&self.path, &self.journal, &mut told);
        told
    }
}

/// Puts back after workflow `id`, whose agent has ended, unless its supervisor lives and does it itself.
pub fn settle_abandoned(id: WorkflowId) -> Result<Option<Told>, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    settle_file(&path, id, |_| true)
}

/// Puts back after workflows of this engine that are not on it any more.
pub fn sweep(engine: &str, living: &[WorkflowId]) -> Result<Vec<Told>, Failure> {
    let folder = state::folder("aftermath")?;
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| unusable(&folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        match (path.extension().and_then(|end| end.to_str()), id) {
            (Some(ENDING), Some(id)) if !living.contains(&id) => {
                all.extend(settle_file(&path, id, |journal| journal.engine == engine)?);
            }
            (Some(UNFINISHED), _) => {
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

fn settle_file(
    path: &Path,
    id: WorkflowId,
    ours: impl Fn(&Journal) -> bool,
) -> Result<Option<Told>, Failure> {
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
            Ok(open) => told.add(settle(root, &open, &id.to_string())),
            Err(error) => told.failures.push(format!(
                "git's configuration in {} could NOT be put back: {error}",
                netpolicy::diagnostic::harmless(&root.path.path().to_string_lossy())
            )),
        }
    }
    finish(path, &journal, &mut told);
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
fn finish(path: &Path, journal: &Journal, told: &mut Told) {
    if !told.failures.is_empty() {
        for root in &journal.roots {
            let root = root.path.path();
            let root = netpolicy::diagnostic::harmless(&root.to_string_lossy());
            told.advise(format!("do NOT run git in {root} before you have looked at what is named above"));
        }
        told.advise(format!(
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

/// What was not seen before a run is not known to be the person's after it.
fn whole(found: &Found, at: &Path) -> Result<(), Failure> {
    if found.unseen.is_empty() && found.crowded.is_empty() {
        return Ok(());
    }
    let crowded = found.crowded.iter().map(|path| path.to_string_lossy().into_owned());
    let names: Vec<String> = found.unseen.iter().cloned().chain(crowded).take(3).collect();
    let names = netpolicy::diagnostic::harmless(&names.join(", "));
    let what = format!("{} cannot be looked through whole: {names}", at.display());
    Err(Failure::new(COULD_NOT_RUN, what)
        .hint("git's configuration in it could not be put back after the run; make it readable, or give the agent a smaller directory"))
}

/// Settling one directory after a run must not undo what settling another that contains it did.
fn apart(roots: &[Root], others: &[Journal]) -> Result<(), Failure> {
    for (root, other) in roots
        .iter()
        .flat_map(|root| others.iter().flat_map(|other| &other.roots).map(move |other| (root, other)))
    {
        let (here, there) = (root.path.path(), other.path.path());
        let nested = here != there && (here.starts_with(&there) || there.starts_with(&here));
        if nested && (root.device, root.inode) != (other.device, other.inode) {
            let what = format!(
                "{} and {}, which an agent of another run may write, contain one another",
                here.display(),
                there.display()
            );
            return Err(Failure::new(COULD_NOT_RUN, what).hint(
                "wait for the other run's end, or give both agents the same directory; `ringfence gc` settles what was left behind",
            ));
        }
    }
    Ok(())
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
    root.folders = first.folders.clone();
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &str, inode: u64) -> Root {
        Root {
            path: Path::new(path).into(),
            device: 1,
            inode,
            pinned: vec![],
            risky: vec![],
            hooks: vec![],
            folders: vec![],
        }
    }

    #[test]
    fn no_two_runs_have_directories_that_contain_one_another() {
        let other =
            |path, inode| [Journal { engine: String::new(), began: 0, roots: vec![root(path, inode)] }];
        for there in ["/p", "/p/a/b", "/"] {
            assert!(apart(&[root("/x", 9), root("/p/a", 1)], &other(there, 2)).is_err(), "{there}");
        }
        for (there, inode) in [("/p/a", 1), ("/p/a", 2), ("/p/ab", 2), ("/q", 2)] {
            assert!(apart(&[root("/p/a", 1)], &other(there, inode)).is_ok(), "{there}");
        }
    }

    #[test]
    fn what_was_not_seen_whole_ends_the_start() {
        let seen = Found { cut_short: true, ..Found::default() };
        assert!(whole(&seen, Path::new("/p")).is_ok());
        let unseen = Found { unseen: vec!["d".to_owned()], ..Found::default() };
        assert!(whole(&unseen, Path::new("/p")).is_err());
    }
}
