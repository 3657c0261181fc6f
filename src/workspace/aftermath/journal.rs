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

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::find::{Look, ScanResult, find};
use super::gitdir;
use super::pin::pins;
use super::record::{Bytes, FORM, Journal, Pinned, Root, Tree};
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
pub struct Aftermath {
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
    pub fn begin(
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
        let (mut roots, mut opened) = (Vec::new(), Vec::new());
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
            roots.push(root);
            opened.push(open);
        }
        // Others may have begun meanwhile, or ended.
        let _turn = turn(&folder)?;
        others.extend(readable(&folder)?);
        apart(&roots, &others)?;
        run_record::begin(id, name, masks, &roots, &opened)?;
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
    pub fn settle(self) -> SettleReport {
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
pub fn settle_abandoned(id: WorkflowId) -> Result<Option<Abandoned>, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    settle_file(&path, id, |_| true)
}

/// Tells whether nothing of workflow `id` is left to be put back.
pub fn is_settled(id: WorkflowId) -> Result<bool, Failure> {
    let path = state::folder("aftermath")?.join(format!("{id}.{ENDING}"));
    path.try_exists().map(|there| !there).map_err(|error| unusable(&path, &error))
}

/// Puts back after workflows of this engine that are not on it any more.
pub fn sweep(engine: &str, living: &[WorkflowId]) -> Result<Vec<(WorkflowId, Abandoned)>, Failure> {
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
pub struct Abandoned {
    /// Report on what was put back, and what could not be.
    pub told: SettleReport,
    /// The directories that its agent could write.
    pub of: Vec<PathBuf>,
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

/// A journal on this machine, and whether its supervisor lives.
struct Other {
    id: WorkflowId,
    lives: bool,
    journal: Journal,
}

/// Finds another run whose supervisor lives and that will put back this directory: its journal says
/// how the directory was before the first of both.
fn still_at_work(root: &Root, others: &[Other], id: WorkflowId) -> Option<WorkflowId> {
    let mut others = others.iter().filter(|other| other.lives && other.id != id);
    others.find(|other| other.journal.roots.iter().any(|there| same(root, there))).map(|other| other.id)
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

/// Refuses a directory that contains one of another run, or lies in one: settling the one must not
/// undo what settling the other did.
fn apart(roots: &[Root], others: &[Other]) -> Result<(), Failure> {
    for (root, other) in roots
        .iter()
        .flat_map(|root| others.iter().flat_map(|other| &other.journal.roots).map(move |other| (root, other)))
    {
        let (here, there) = (root.path.path(), other.path.path());
        let nested = here != there && (here.starts_with(&there) || there.starts_with(&here));
        if nested && !same(root, other) {
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

/// Journals that are there already, the first first, and one that cannot be read.
fn others(folder: &Path) -> Result<(Vec<Other>, Option<Failure>), Failure> {
    let (mut others, mut unread) = (Vec::new(), None);
    for entry in fs::read_dir(folder).map_err(|error| unusable(folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        let (Some(id), true) = (id, path.extension().is_some_and(|end| end == ENDING)) else { continue };
        let read = open_journal(&path).and_then(|file| {
            let Some(file) = file else { return Ok(None) };
            let journal = Journal::read(&file)?;
            let lives = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            Ok(Some(Other { id, lives, journal }))
        });
        match read {
            Ok(other) => others.extend(other),
            Err(error) => unread = Some(broken(&path, &error)),
        }
    }
    others.sort_by_key(|other| other.journal.began);
    Ok((others, unread))
}

/// Reads the other runs' journals, and fails when one cannot be read: it may be about the directory
/// of the run that begins.
fn readable(folder: &Path) -> Result<Vec<Other>, Failure> {
    let (others, unread) = others(folder)?;
    match unread {
        Some(failure) => Err(failure),
        None => Ok(others),
    }
}

/// Tells whether two journals are about the same directory.
fn same(one: &Root, other: &Root) -> bool {
    one.identity().zip(other.identity()).is_some_and(|(one, other)| one.is(other, false))
}

/// Takes the state before a run from another run on the same directory, if there is one: that run
/// may have changed the directory already, so the state before the first of them counts.
fn inherit(root: &mut Root, others: &[Other]) {
    let mut there = others.iter().flat_map(|other| &other.journal.roots);
    let Some(first) = there.find(|other| same(root, other)) else { return };
    let known: BTreeSet<&Bytes> = first.pinned.iter().map(|pinned| &pinned.path).collect();
    let later = root.pinned.iter().filter(|pinned| !known.contains(&pinned.path));
    // Repositories that were made meanwhile were nobody's before.
    let was = |pinned: &Pinned| Pinned { was: super::record::Was::Absent, ..pinned.clone() };
    root.pinned = first.pinned.iter().cloned().chain(later.filter(|pinned| pinned.config).map(was)).collect();
    root.risky = first.risky.clone();
    root.signs = first.signs.clone();
    root.folders = first.folders.clone();
    root.git = first.git.clone();
    let known: BTreeSet<&Bytes> = first.trees.iter().map(|tree| &tree.repository).collect();
    let own = root.trees.iter().filter(|tree| !known.contains(&tree.repository));
    root.trees = first.trees.iter().chain(own).cloned().collect();
    // What the agents have made of the configuration by now may name none of these.
    root.hooks =
        first.hooks.iter().chain(&root.hooks).cloned().collect::<BTreeSet<_>>().into_iter().collect();
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
mod tests {
    use super::*;

    fn root(path: &str, inode: u64) -> Root {
        let way = vec![Identity { device: 1, inode, born: Some(7) }];
        Root {
            path: Path::new(path).into(),
            way,
            pinned: vec![],
            risky: vec![],
            hooks: vec![],
            signs: None,
            folders: vec![],
            git: vec![],
            trees: vec![],
        }
    }

    fn journal(roots: Vec<Root>) -> Journal {
        Journal { form: FORM, machine: None, boot: None, engine: String::new(), began: 0, roots }
    }

    fn id(text: &str) -> WorkflowId {
        text.parse().unwrap()
    }

    #[test]
    fn no_two_runs_have_directories_that_contain_one_another() {
        let other = |path, inode| {
            [Other { id: id("0000000a"), lives: true, journal: journal(vec![root(path, inode)]) }]
        };
        for there in ["/p", "/p/a/b", "/"] {
            assert!(apart(&[root("/x", 9), root("/p/a", 1)], &other(there, 2)).is_err(), "{there}");
        }
        for (there, inode) in [("/p/a", 1), ("/p/a", 2), ("/p/ab", 2), ("/q", 2)] {
            assert!(apart(&[root("/p/a", 1)], &other(there, inode)).is_ok(), "{there}");
        }
    }

    /// A project with a repository, a state folder, and journals of runs in it.
    struct World {
        dir: tempfile::TempDir,
        at: PathBuf,
    }

    const BEFORE: &str = "[core]\n\tbare = false\n[alias]\n\tst = status\n";
    const EVIL: &str =
        "[core]\n\tbare = false\n\tsshCommand = evil\n[alias]\n\tst = !evil\n[credential]\n\thelper = evil\n";

    impl World {
        fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().canonicalize().unwrap().join("project");
            fs::create_dir(dir.path().join("aftermath")).unwrap();
            let world = World { dir, at };
            world.repository(BEFORE);
            world
        }

        fn repository(&self, config: &str) {
            for folder in [".git/objects", ".git/refs"] {
                fs::create_dir_all(self.at.join(folder)).unwrap();
            }
            fs::write(self.at.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
            self.put(config);
        }

        fn put(&self, config: &str) {
            fs::write(self.at.join(".git/config"), config).unwrap();
        }

        fn config(&self) -> String {
            fs::read_to_string(self.at.join(".git/config")).unwrap()
        }

        fn folder(&self) -> PathBuf {
            self.dir.path().join("aftermath")
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder().join(format!("{name}.{ENDING}"))
        }

        /// Begins a run, as [`Aftermath::begin`] does.
        fn begin(&self, name: &str) -> Aftermath {
            let open: OwnedFd = fs::File::open(&self.at).unwrap().into();
            let found = find(open.as_fd(), Look::default()).unwrap();
            let pins = pins(open.as_fd(), &self.at, &found, &[]).unwrap();
            let mut root = Root {
                path: self.at.as_path().into(),
                way: whereabouts::way_to(&self.at).unwrap(),
                pinned: pins.all.into_values().collect(),
                risky: vec![],
                hooks: vec![],
                signs: None,
                folders: pins.folders,
                git: vec![],
                trees: vec![],
            };
            let (others, _) = others(&self.folder()).unwrap();
            inherit(&mut root, &others);
            let began = others.len() as u64;
            let journal = Journal {
                machine: kernel::machine_id(),
                boot: kernel::boot_id(),
                began,
                ..journal(vec![root])
            };
            let path = self.path(name);
            let lock = write(&self.folder(), &path, &journal).unwrap();
            Aftermath { id: id(name), path, journal, roots: vec![open], _lock: lock }
        }

        /// Simulates a run whose supervisor was killed.
        fn killed(&self, name: &str) {
            drop(self.begin(name));
        }

        fn settle(&self, name: &str) -> SettleReport {
            // A child of another test has the lock too, between its start and its own program.
            for _ in 0..500 {
                if let Some(told) = settle_file(&self.path(name), id(name), |_| true).unwrap() {
                    return told.told;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            panic!("the journal stays locked");
        }
    }

    #[test]
    fn a_new_project_in_the_place_of_an_old_one_keeps_its_configuration() {
        let world = World::new();
        world.killed("0000000a");
        world.put(EVIL);
        // The control: the same project is put back.
        let told = world.settle("0000000a");
        assert!(world.config() == BEFORE && told.failures.is_empty(), "{told:?}");
        assert!(!world.path("0000000a").exists());
        // Made anew again and again: sooner or later its inode is the old one's.
        for _ in 0..20 {
            world.killed("0000000b");
            fs::remove_dir_all(&world.at).unwrap();
            world.repository(EVIL);
            let told = world.settle("0000000b");
            assert_eq!(world.config(), EVIL, "what is configured there is the person's");
            let lines = told.put_back().join("\n");
            assert!(
                lines.contains("another directory is there now") && lines.contains("0000000b"),
                "{lines}"
            );
            assert!(told.failures.is_empty() && !world.path("0000000b").exists(), "the record ends: {lines}");
        }
        world.killed("0000000c");
        fs::remove_dir_all(&world.at).unwrap();
        let lines = world.settle("0000000c").put_back().join("\n");
        assert!(lines.contains("no such directory") && !world.path("0000000c").exists(), "{lines}");
    }

    #[test]
    fn a_project_that_was_moved_is_put_back_where_it_is() {
        let mut world = World::new();
        world.killed("0000000a");
        world.put(EVIL);
        let moved = world.at.with_file_name("moved");
        fs::rename(&world.at, &moved).unwrap();
        world.repository(EVIL);
        let told = world.settle("0000000a");
        assert_eq!(world.config(), EVIL, "the new one is the person's");
        world.at = moved;
        assert_eq!(world.config(), BEFORE);
        assert!(told.put_back().join("\n").contains("moved"), "{told:?}");
    }

    #[test]
    fn of_two_runs_on_one_directory_the_last_to_end_puts_back() {
        for first_ends_first in [true, false] {
            let world = World::new();
            let first = world.begin("0000000a");
            world.put(EVIL);
            let second = world.begin("0000000b");
            let (early, late) = if first_ends_first { (first, second) } else { (second, first) };
            let left_to = late.id.to_string();
            let lines = early.settle().put_back().join("\n");
            assert!(lines.contains(&left_to) && lines.contains("do NOT run git"), "{lines}");
            assert_eq!(world.config(), EVIL, "the other agent's work goes on");
            let told = late.settle();
            assert!(world.config() == BEFORE && told.failures.is_empty(), "{told:?}");
            assert_eq!(others(&world.folder()).unwrap().0.len(), 0, "no journal stays");
        }
    }

    #[test]
    fn what_a_killed_run_left_is_put_back_by_the_one_that_goes_on() {
        let world = World::new();
        world.killed("0000000a");
        world.put(EVIL);
        let second = world.begin("0000000b");
        let lines = world.settle("0000000a").put_back().join("\n");
        assert!(lines.contains("0000000b") && world.config() == EVIL, "{lines}");
        second.settle();
        assert_eq!(world.config(), BEFORE);
    }

    #[test]
    fn a_damaged_hostile_or_foreign_record_touches_nothing() {
        let world = World::new();
        world.killed("0000000a");
        world.put(EVIL);
        let path = world.path("0000000a");
        let text = fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let changed = |pointer: &str, to: serde_json::Value| {
            let mut value = value.clone();
            *value.pointer_mut(pointer).unwrap() = to;
            value.to_string()
        };
        let above = Bytes(b"../outside".to_vec());
        let relative = Bytes(b"project".to_vec());
        for wrong in [
            text[..text.len() / 2].to_owned(),
            String::new(),
            changed("/form", 1.into()),
            changed("/form", (FORM + 1).into()),
            changed("/roots/0/pinned/0/path", serde_json::to_value(above).unwrap()),
            changed("/roots/0/path", serde_json::to_value(relative).unwrap()),
            changed("/roots/0/way", serde_json::json!([])),
            text.replacen("\"form\"", "\"more\":1,\"form\"", 1),
        ] {
            fs::write(&path, &wrong).unwrap();
            let failure = settle_file(&path, id("0000000a"), |_| true).unwrap_err();
            assert!(failure.hint.is_some() && path.exists(), "{failure}");
        }
        fs::write(&path, changed("/machine", "another".into())).unwrap();
        assert!(settle_file(&path, id("0000000a"), |_| true).unwrap().is_none());
        assert!(world.config() == EVIL && path.exists());
        fs::write(&path, &text).unwrap();
        world.settle("0000000a");
        assert_eq!(world.config(), BEFORE, "the control");
    }

    #[test]
    fn what_was_not_seen_whole_ends_the_start() {
        let seen = ScanResult::default();
        assert!(whole(&seen, Path::new("/p")).is_ok());
        let unseen = ScanResult { unseen: vec!["d".to_owned()], ..ScanResult::default() };
        assert!(whole(&unseen, Path::new("/p")).is_err());
    }
}
