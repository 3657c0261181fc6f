//! The record of a run on this machine, `$XDG_STATE_HOME/ringfence/aftermath/ID.json`: written
//! before the agent starts, gone when everything is put back.
//!
//! Its supervisor holds a lock on it, which ends with the process, however that ends. What is
//! unlocked is anybody's to settle.
//!
//! ```text
//!  several runs on one directory: each has a journal with how it was before the first ─▶ the last one to end puts back
//! ```
//! One process at a time writes or settles journals, so that no two runs leave it to each other.

mod others;

use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::others::{apart, inherit, others, readable, still_at_work};
use super::find::{Look, ScanResult, find};
use super::gitdir;
use super::listing::ListingBytes;
use super::pin::pins;
use super::record::{Bytes, FORM, Journal, Root, Tree};
use super::report::SettleReport;
use super::run_record;
use super::settle::{settle, trees_apart};
use super::whereabouts::{self, Whereabouts};
use crate::host::clock::unix_seconds;
use crate::host::identity::Identity;
use crate::host::kernel;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::held;
use crate::workspace::masks::{Cover, Plan};
use crate::workspace::mounts::Bind;
use crate::workspace::worktree::Worktree;

/// A journal that was being written when its writer was killed is removed after this time.
const OLD: Duration = Duration::from_secs(3600);
/// Putting back takes a minute for each directory at most.
const LONGEST_TURN: Duration = Duration::from_secs(150);
const STEP: Duration = Duration::from_millis(50);
const ENDING: &str = "json";
const UNFINISHED: &str = "part";

/// Journal of a run, locked while the run goes on: what is put back when the agent has ended.
pub(crate) struct Aftermath {
    id: WorkflowId,
    path: PathBuf,
    journal: Journal,
    roots: Vec<OwnedFd>,
    /// Locked.
    _lock: fs::File,
}

impl Aftermath {
    /// Looks at what the agent will be able to write, and writes down what is put back. The agent
    /// must not run yet.
    pub(crate) fn begin(
        binds: &[Bind],
        masks: &[Plan],
        worktree: Option<&Worktree>,
        id: WorkflowId,
        name: Option<&str>,
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
        let mut others = readable(&folder)?;
        let (mut roots, mut opened, mut listings) = (Vec::new(), Vec::new(), Vec::new());
        for bind in writable {
            let cannot = |error: io::Error| {
                Failure::new(COULD_NOT_RUN, format!("cannot look through {}", bind.source.display()))
                    .caused_by(&error)
            };
            let open = bind.reopen().map_err(cannot)?;
            let covers = covers_in(&bind.source, masks);
            let trees = worktree.filter(|worktree| worktree.git.source == bind.source);
            let trees = trees.map(trees_of).transpose().map_err(cannot)?.unwrap_or_default();
            let look = Look { at: Some(&bind.source), ..Look::default() };
            let found = find(open.as_fd(), look).map_err(cannot)?;
            whole(&found, &bind.source)?;
            let pins = pins(open.as_fd(), &bind.source, &found, &covers)?;
            // Once more, with the folders of hooks that the configurations name.
            let hooks: Vec<PathBuf> = pins.hooks.into_iter().collect();
            let found = match hooks.is_empty() {
                true => found,
                false => find(open.as_fd(), Look { hooks: &hooks, ..look }).map_err(cannot)?,
            };
            whole(&found, &bind.source)?;
            let root = Root {
                path: bind.source.as_path().into(),
                way: way_of(bind).map_err(cannot)?,
                pinned: pins.all.into_values().collect(),
                risky: found.risky.iter().map(|(path, _, print)| (path.as_path().into(), *print)).collect(),
                hooks: hooks.iter().map(|path| path.as_path().into()).collect(),
                signs: Some(Bytes(found.signs.seen.clone())),
                folders: pins.folders,
                git: gitdir::facts(open.as_fd(), &found, &trees_apart(&trees)).map_err(cannot)?,
                trees,
            };
            // Of a repository that lies elsewhere no files are listed.
            let listing = if root.trees.is_empty() { found.listing } else { ListingBytes::default() };
            listings.push(listing.bytes());
            roots.push(root);
            opened.push(open);
        }
        // Others may have begun meanwhile, or ended.
        let _turn = turn(&folder)?;
        others.extend(readable(&folder)?);
        apart(&roots, &others)?;
        run_record::begin(id, name, masks, &roots, &listings)?;
        roots.iter_mut().for_each(|root| inherit(root, &others));
        let journal = Journal {
            form: FORM,
            machine: kernel::machine_id(),
            boot: kernel::boot_id(),
            engine: engine.to_owned(),
            began: unix_seconds(),
            roots,
        };
        let path = folder.join(format!("{id}.{ENDING}"));
        let lock = write(&folder, &path, &journal).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(&error)
        })?;
        Ok(Some(Aftermath { id, path, journal, roots: opened, _lock: lock }))
    }

    /// Puts back. The agent must have ended.
    pub(crate) fn settle(self) -> SettleReport {
        let mut told = SettleReport::default();
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        match turn(folder).and_then(|turn| Ok((turn, others(folder)?))) {
            Ok((_turn, (others, _))) => {
                for (root, open) in self.journal.roots.iter().zip(&self.roots) {
                    match still_at_work(root, &others, self.id) {
                        Some(other) => told.whole(&root.path.path(), &left_to(other)),
                        None => told.add(settle(root, open, &self.id.to_string())),
                    }
                }
                finish(&self.path, self.id, &self.journal, &mut told);
            }
            Err(failure) => {
                told.failures.push(format!("{}: {}", failure.message, failure.causes.join(": ")));
                finish(&self.path, self.id, &self.journal, &mut told);
            }
        }
        told
    }
}

/// Puts back after workflow `id`, whose agent has ended, unless its supervisor lives and does it
/// itself.
pub(crate) fn settle_abandoned(id: WorkflowId) -> Result<Option<Abandoned>, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    settle_file(&path, id, |_| true)
}

/// Tells whether nothing of workflow `id` is left to be put back.
pub(crate) fn is_settled(id: WorkflowId) -> Result<bool, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    path.try_exists().map(|there| !there).map_err(|error| unusable(&path, &error))
}

/// Puts back after workflows of this engine that are not on it any more.
pub(crate) fn sweep(engine: &str, living: &[WorkflowId]) -> Result<Vec<(WorkflowId, Abandoned)>, Failure> {
    let folder = state::folder("aftermath")?;
    let (mut all, mut failed) = (Vec::new(), None);
    for entry in fs::read_dir(&folder).map_err(|error| unusable(&folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        match (path.extension().and_then(|end| end.to_str()), id) {
            (Some(ENDING), Some(id)) if !living.contains(&id) => {
                match settle_file(&path, id, |journal| journal.engine == engine) {
                    Ok(told) => all.extend(told.map(|told| (id, told))),
                    // One that cannot be used keeps nobody from the others.
                    Err(failure) => failed = Some(failure),
                }
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
    match failed {
        Some(failure) if all.is_empty() => Err(failure),
        Some(failure) => {
            let mut told = SettleReport::default();
            told.failures.push(failure.message);
            failure.hint.into_iter().for_each(|hint| told.advise(hint));
            all.last_mut().into_iter().for_each(|(_, last)| last.told.add(std::mem::take(&mut told)));
            Ok(all)
        }
        None => Ok(all),
    }
}

fn settle_file(
    path: &Path,
    id: WorkflowId,
    ours: impl Fn(&Journal) -> bool,
) -> Result<Option<Abandoned>, Failure> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let _turn = turn(folder)?;
    let Some(file) = open_journal(path).map_err(|error| unusable(path, &error))? else { return Ok(None) };
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
    let journal = Journal::read(&file).map_err(|error| broken(path, &error))?;
    // A state folder may be shared by machines, or be a copy: another machine's paths are not this
    // one's.
    if !ours(&journal) || journal.machine != kernel::machine_id() {
        return Ok(None);
    }
    let same_boot = journal.boot.is_some() && journal.boot == kernel::boot_id();
    let (others, _) = others(folder)?;
    let mut told = SettleReport::default();
    for root in &journal.roots {
        let path = root.path.path();
        match whereabouts::find(root, same_boot) {
            Whereabouts::Here(..) if still_at_work(root, &others, id).is_some() => {
                told.whole(&path, &left_to(still_at_work(root, &others, id).unwrap_or(id)));
            }
            Whereabouts::Here(open, at) => {
                if at != path {
                    told.whole(&path, &format!("it was moved to {}, and is put back there", shown(&at)));
                }
                told.add(settle(&Root { path: at.as_path().into(), ..root.clone() }, &open, &id.to_string()));
            }
            Whereabouts::Gone(why) => told.whole(
                &path,
                &format!(
                    "{why}, so nothing was put back of what workflow {id} did there; if you moved it, look at git's configuration in it before you run git"
                ),
            ),
            Whereabouts::Unclear(why) => told.failures.push(format!(
                "git's configuration in {} could NOT be put back: {why}",
                shown(&path)
            )),
        }
    }
    finish(path, id, &journal, &mut told);
    Ok(Some(Abandoned { told, of: journal.roots.iter().map(|root| root.path.path()).collect() }))
}

/// The outcome of a run that nobody supervised to its end.
#[derive(Debug)]
pub(crate) struct Abandoned {
    /// Report on what was put back, and what could not be.
    pub(crate) told: SettleReport,
    /// The directories that its agent could write.
    pub(crate) of: Vec<PathBuf>,
}

fn shown(path: &Path) -> String {
    netpolicy::diagnostic::harmless(&path.to_string_lossy())
}

/// Explains that git's configuration stays as it is until another run in the same directory ends.
fn left_to(other: WorkflowId) -> String {
    format!(
        "workflow {other} still works there, so git's configuration is put back when that ends; do NOT run git there before"
    )
}

/// Waits for this process's turn to write or settle journals.
fn turn(folder: &Path) -> Result<fs::File, Failure> {
    let path = folder.with_extension("turn");
    let cannot = |error: io::Error| unusable(&path, &error);
    let file = fs::File::options().create(true).append(true).open(&path).map_err(cannot)?;
    let until = Instant::now() + LONGEST_TURN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(STEP),
            Err(TryLockError::WouldBlock) => {
                let what = "another ringfence has been putting back what a run left for minutes";
                return Err(Failure::new(COULD_NOT_RUN, what).hint("wait for its end, or end it"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
    }
}

/// Opens a journal that is there: a regular file of the caller's own.
fn open_journal(path: &Path) -> io::Result<Option<fs::File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => fs::File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Some(file))
}

/// Returns what the agent cannot read in a directory, by paths below it: a plan may be of one
/// around it.
fn covers_in(at: &Path, plans: &[Plan]) -> Vec<Cover> {
    let all = plans.iter().flat_map(|plan| plan.covers.iter().map(move |cover| (plan, cover)));
    let mine = all.filter_map(|(plan, cover)| {
        let path = plan.project.join(&cover.path).strip_prefix(at).ok()?.to_owned();
        Some(Cover { path, ..cover.clone() })
    });
    mine.collect()
}

/// Returns the working tree of a repository that lies elsewhere, and those of its submodules.
fn trees_of(worktree: &Worktree) -> io::Result<Vec<Tree>> {
    let mut trees = vec![Tree {
        repository: worktree.record.as_path().into(),
        path: worktree.root.source.as_path().into(),
        identity: Identity::of(worktree.root.reopen()?)?,
    }];
    for (path, repository) in worktree.submodules() {
        let open = held::reopen_directory(held::open(&path)?)?;
        let (repository, path) = (repository.as_path().into(), path.as_path().into());
        trees.push(Tree { repository, path, identity: Identity::of(&open)? });
    }
    Ok(trees)
}

/// Returns the folders from `/` down to the directory that was checked. Another directory may have
/// its path by now.
fn way_of(bind: &Bind) -> io::Result<Vec<Identity>> {
    let way = whereabouts::way_to(&bind.source)?;
    let own = way.last().map(|own| (own.device, own.inode));
    if own == Some((bind.identity.device, bind.identity.inode)) {
        return Ok(way);
    }
    Err(io::Error::other("another directory is there now"))
}

/// Removes the journal when everything is put back. Otherwise it stays for another try.
fn finish(path: &Path, id: WorkflowId, journal: &Journal, told: &mut SettleReport) {
    if let Err(error) = run_record::ended(id, told) {
        told.noted(path, &format!("`ringfence review` will not know how this run ended: {error}"));
    }
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

/// Writes the journal so that it is whole, on disk and locked from the first moment that anybody
/// can see it.
fn write(folder: &Path, path: &Path, journal: &Journal) -> io::Result<fs::File> {
    let mut file = tempfile::Builder::new().suffix(&format!(".{UNFINISHED}")).tempfile_in(folder)?;
    file.as_file().lock()?;
    file.write_all(&serde_json::to_vec(journal)?)?;
    file.as_file().sync_all()?;
    let file = file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Refuses a directory that could not be looked through whole: files that were not seen before a
/// run cannot be told from the agent's after it.
fn whole(found: &ScanResult, at: &Path) -> Result<(), Failure> {
    if found.unseen.is_empty() && found.crowded.is_empty() {
        return Ok(());
    }
    let crowded = found.crowded.iter().map(|path| path.to_string_lossy().into_owned());
    let names: Vec<String> = found.unseen.iter().cloned().chain(crowded).take(3).collect();
    let names = netpolicy::diagnostic::harmless(&names.join(", "));
    let what = format!("{} cannot be looked through whole: {names}", at.display());
    Err(Failure::new(COULD_NOT_RUN, what)
        .hint("make it readable, or give the agent a smaller directory: git's configuration in it could not be put back after the run"))
}

/// Reports a journal that is damaged, or of another version.
fn broken(path: &Path, error: &dyn std::error::Error) -> Failure {
    unusable(path, error).hint(
        "it says what an agent's run may have changed: look at git's configuration in the directory that it was given, then remove the file",
    )
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests;
