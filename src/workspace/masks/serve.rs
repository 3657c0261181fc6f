//! The files of a run that are laid over the project's, in a private folder of ringfence's state.
//!
//! `workspace/ID/` holds them while workflow ID lives. They hold no secret: only what the agent may
//! read. Who removes the workflow from the engine removes them; what a killed supervisor left goes
//! with the next [`sweep`].

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use super::moved::Covered;
use super::repository::submodules_in;
use super::shared::{Guarded, GuardedFile, HIDES_ALL, Laid, is_seen};
use super::snapshot::Mark;
use super::walk::MOST_COVERS;
use super::{Cover, Plan, With, inside, report};
use crate::host::at::{NAME_ONLY, open_below, open_in};
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::init;
use crate::workspace::held;
use crate::workspace::mounts::{Bind, Identity};
use crate::workspace::worktree::{Mirror, REPOSITORY};

/// Names the engine that the workflow is on.
const ENGINE: &str = "engine";
/// An empty file.
const NOTHING: &str = "nothing";
/// The most files in a folder that is laid over another.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 64 << 20;
const MOST_BYTES_OF_GIT: u64 = 1 << 30;
/// Longer than any run.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A run that is starting has its folder before its containers.
const YOUNG: Duration = Duration::from_secs(120);

/// A file or folder to be mounted read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Path on this machine.
    pub source: PathBuf,
    /// The place in the container that it is laid over.
    pub target: String,
    /// Identity of the covered file when the cover was made, unless that file is ringfence's own.
    pub original: Option<Identity>,
}

/// Directories of this machine that the agent is given.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Directories and files.
    pub binds: &'a [Bind],
    /// Places in memory.
    pub memory: &'a [String],
    /// Path of the project in the container.
    pub workspace: &'a str,
    /// Place of a repository that lies outside the project.
    pub mirror: Option<&'a Mirror>,
    /// Files of ringfence's own, by place and text.
    pub own: &'a [(&'static str, String)],
    /// The program that waits for the covers, where there is one.
    pub init: Option<&'static [u8]>,
}

/// Covers of one run, laid over the files that its agent is given.
#[derive(Debug, Default)]
pub struct Laying {
    /// The mounts that lay the covers.
    pub served: Vec<Served>,
    /// Warnings about other runs on the same files.
    pub told: Vec<String>,
    /// Set when the agent's first program is ringfence's own, which waits for the covers.
    pub by_init: bool,
    /// Covered files, to be watched while the agent works.
    pub covered: Arc<Covered>,
}

/// Writes down what is laid over the files of workflow `id`, in the project and wherever else the
/// agent would find them.
pub fn serve(plans: &[Plan], given: Given<'_>, id: WorkflowId, engine: &str) -> Result<Laying, Failure> {
    if given.binds.is_empty() && given.own.is_empty() {
        return Ok(Laying::default());
    }
    let folders = state::folder("workspace")?;
    let folder = folders.join(id.to_string());
    let roots = plans.iter().map(|plan| root_of(plan, given)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = Writer {
        plans,
        roots,
        at: 0,
        folder: folder.clone(),
        copied: 0,
        bytes: 0,
        guarded: Guarded::default(),
    };
    let laid = writer.write(engine).and_then(|own| {
        writer.guarded.write(&folder, given.binds)?;
        let told = writer.guarded.add_others(&folders, id)?;
        Ok((own, told))
    });
    let laid = match laid {
        Err(error) => {
            let what = match plans.first() {
                Some(plan) => format!("cannot prepare what the agent may see of {}", plan.project.display()),
                None => "cannot prepare what the agent may see of what is mounted".to_owned(),
            };
            Err(Failure::new(COULD_NOT_RUN, what).caused_by(&error))
        }
        Ok((own, told)) => lay(&writer, own, told, given),
    };
    if laid.is_err() {
        // What was written is of no use; what cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&folder);
    }
    laid
}

/// Opens the project that was looked through, if it is the one that the agent gets.
fn root_of(plan: &Plan, given: Given<'_>) -> Result<OwnedFd, Failure> {
    let opened = held::open(&plan.project).and_then(held::reopen_directory);
    let found = opened.and_then(|opened| {
        let now = Mark::of(&rustix::fs::fstat(&opened)?);
        let bind = given.binds.iter().find(|bind| bind.source == plan.project);
        let same = plan.root.is_some_and(|was| was.still(&now))
            && bind.is_none_or(|bind| bind.identity == now.identity);
        if same { Ok(opened) } else { Err(std::io::Error::other(MOVED)) }
    });
    found.map_err(|error| {
        Failure::new(
            COULD_NOT_RUN,
            format!("{} was looked through and cannot be covered", plan.project.display()),
        )
        .caused_by(&error)
        .hint("stop other programs and agents that are at work there, then try again")
    })
}

/// Finds the place of every cover.
fn lay(
    writer: &Writer<'_>,
    own: Vec<Own<'_>>,
    mut told: Vec<String>,
    given: Given<'_>,
) -> Result<Laying, Failure> {
    let mount_of = |plan: &Plan| given.binds.iter().find(|bind| bind.source == plan.project);
    let by_path: HashMap<&Path, Identity> =
        writer.guarded.0.iter().map(|(identity, laid)| (&*laid.path, *identity)).collect();
    let mut all: BTreeMap<String, (PathBuf, Option<Identity>)> = BTreeMap::new();
    // A mount over a place in another one hides it.
    let targets: Vec<&str> =
        given.binds.iter().map(|bind| &*bind.target).chain(given.memory.iter().map(|at| &**at)).collect();
    for Own { plan, below, source } in own {
        let Some(bind) = mount_of(plan) else { continue };
        let original = by_path.get(&*plan.project.join(&below)).copied();
        let target = format!("{}/{}", bind.target, below.display());
        if is_seen(&target, &bind.target, &targets) {
            all.insert(target, (source, original));
        }
    }
    let known: Vec<&Bind> = writer.plans.iter().filter_map(mount_of).collect();
    let places = writer.guarded.places(given.binds, &known)?;
    let mut of_others = Vec::new();
    let mut watched: Vec<(PathBuf, PathBuf)> = Vec::new();
    for GuardedFile { target, of, path, identity } in places {
        let Some(laid) = writer.guarded.0.get(&identity) else { continue };
        if !is_seen(&target, &of, &targets) {
            continue;
        }
        let source = writer.copy_of(laid, identity).map_err(|error| {
            let what = format!("cannot prepare what the agent may see at {target}");
            Failure::new(COULD_NOT_RUN, what).caused_by(&error)
        })?;
        if let Some(id) = laid.of {
            of_others.push(format!("{} ({id})", report::shown(&path)));
            watched.push((path.clone(), path));
        }
        all.insert(target, (source, Some(identity)));
    }
    if !of_others.is_empty() {
        told.push(format!(
            "covered here too, as in another workflow that works on the same files: {}",
            report::few(of_others)
        ));
    }
    let mut served: Vec<Served> = Vec::new();
    for (target, (source, original)) in all {
        // A folder's copy holds what is in it.
        let inside = |one: &Served| one.source.is_dir() && Path::new(&target).starts_with(&one.target);
        if !served.iter().any(inside) {
            served.push(Served { source, target, original });
        }
    }
    if served.len() > MOST_COVERS {
        let what = format!("{} files would have to be covered, more than {MOST_COVERS}", served.len());
        return Err(Failure::new(COULD_NOT_RUN, what).hint("mount less of what is covered"));
    }
    if let Some(mirror) = given.mirror {
        // Beneath what is mounted in it, and no copy of anything.
        let source = writer.folder.join("repository");
        mirror_into(&source, mirror, given.workspace).map_err(|error| cannot("make", &source, &error))?;
        served.push(Served { source, target: REPOSITORY.to_owned(), original: None });
    }
    let init = given.init.filter(|_| !served.is_empty());
    if let Some(program) = init {
        let source = writer.folder.join("init");
        put(&source, program, 0o555).map_err(|error| cannot("write", &source, &error))?;
        served.push(Served { source, target: init::PLACE.to_owned(), original: None });
    }
    for (number, (target, text)) in given.own.iter().enumerate() {
        let source = writer.folder.join(format!("own-{number}"));
        put(&source, text.as_bytes(), 0o444).map_err(|error| cannot("write", &source, &error))?;
        served.push(Served { source, target: (*target).to_owned(), original: None });
    }
    if let Some(for_git) = writer.plans.first().and_then(Plan::for_git) {
        let source = writer.folder.join("git");
        make_folder(&source).map_err(|error| cannot("make", &source, &error))?;
        for (name, text) in for_git.files {
            let file = source.join(name);
            put(&file, &text, 0o444).map_err(|error| cannot("write", &file, &error))?;
        }
        served.push(Served { source, target: inside::FOLDER.to_owned(), original: None });
    }
    let covered = Arc::new(Covered::of(writer.plans, watched));
    Ok(Laying { served, told, by_init: init.is_some(), covered })
}

/// Removes the files of workflow `id`, if there are any.
pub fn close(id: WorkflowId) -> Result<(), Failure> {
    remove(&state::folder("workspace")?.join(id.to_string()))
}

/// Removes the files of workflows that are no longer on their engine.
pub fn sweep(engine: &str, living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("workspace")?;
    let listed = fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?;
    for entry in listed.flatten() {
        let path = entry.path();
        // What has another name was not put here by a run.
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of_this_engine = fs::read_to_string(path.join(ENGINE)).is_ok_and(|name| name == engine);
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        let old =
            age.and_then(|time| SystemTime::now().duration_since(time).ok()).is_some_and(|age| age > YOUNG);
        if of_this_engine && old && !living.contains(&id) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", folder, &error)),
        _ => Ok(()),
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

const MOVED: &str =
    "it was moved, replaced or linked since it was looked at: is another program or agent at work there?";

/// A copy of something in a plan's directory.
struct Own<'a> {
    plan: &'a Plan,
    below: PathBuf,
    source: PathBuf,
}

/// Makes the folder with the way to a repository, and the link to its working tree.
fn mirror_into(folder: &Path, mirror: &Mirror, workspace: &str) -> std::io::Result<()> {
    make_folder(folder)?;
    let make = |below: &Path| {
        let mut at = folder.to_owned();
        for part in below {
            at.push(part);
            if !at.is_dir() {
                make_folder(&at)?;
            }
        }
        std::io::Result::Ok(())
    };
    make(&mirror.git)?;
    make(mirror.tree.parent().unwrap_or(Path::new("")))?;
    std::os::unix::fs::symlink(workspace, folder.join(&mirror.tree))
}

struct Writer<'a> {
    plans: &'a [Plan],
    /// The directory of each, open.
    roots: Vec<OwnedFd>,
    /// The plan that is written now.
    at: usize,
    folder: PathBuf,
    copied: usize,
    bytes: u64,
    guarded: Guarded,
}

impl<'a> Writer<'a> {
    /// Writes the copies.
    fn write(&mut self, engine: &str) -> std::io::Result<Vec<Own<'a>>> {
        fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
        put(&self.folder.join(ENGINE), engine.as_bytes(), 0o600)?;
        let nothing = self.folder.join(NOTHING);
        put(&nothing, b"", 0o444)?;
        let mut served: Vec<Own<'a>> = Vec::new();
        let plans = self.plans;
        let mut number = 0;
        for (at, plan) in plans.iter().enumerate() {
            self.at = at;
            let left_out: Vec<PathBuf> = plan.covers.iter().filter_map(submodules_in).collect();
            let is_left_out =
                |path: &Path| left_out.iter().any(|folder| path != folder && path.starts_with(folder));
            for cover in &plan.covers {
                // Sorted by path: a folder comes before what is in it, and its copy has that
                // already.
                let is_outer = |own: &&Own<'_>| {
                    std::ptr::eq(own.plan, plan) && own.source.is_dir() && cover.path.starts_with(&own.below)
                };
                // What is in a folder that is empty to the agent has a copy for other mounts alone.
                let is_left_out = is_left_out(&cover.path);
                if let Some(outer) = served.iter().find(is_outer).filter(|_| !is_left_out) {
                    let below = cover.path.strip_prefix(&outer.below).unwrap_or(&cover.path);
                    let inside = outer.source.join(below);
                    self.guard(cover, inside)?;
                    continue;
                }
                let source = match &cover.with {
                    With::Nothing => nothing.clone(),
                    _ => self.folder.join(number.to_string()),
                };
                number += 1;
                if cover.with == With::Itself && cover.mark.is_folder() {
                    self.copy_folder(cover, &source)?;
                } else if cover.with != With::Nothing {
                    self.copy_file(cover, &source)?;
                }
                self.guard(cover, source.clone())?;
                if is_left_out {
                    continue;
                }
                served.push(Own { plan, below: cover.path.clone(), source });
            }
        }
        Ok(served)
    }

    fn plan(&self) -> Option<&'a Plan> {
        self.plans.get(self.at)
    }

    fn original(&self, below: &Path) -> PathBuf {
        self.plan().map_or_else(|| below.to_owned(), |plan| plan.project.join(below))
    }

    /// Remembers what is covered by what it is. It must be where it was found: where it is gone, an
    /// engine would make a file to lay the cover over, and what has its place now would have the
    /// cover in its stead.
    fn guard(&mut self, cover: &Cover, source: PathBuf) -> std::io::Result<()> {
        let path = self.original(&cover.path);
        let opened = self.open(&cover.path, NAME_ONLY)?;
        self.is_still(cover, &opened)?;
        let laid = Laid { path, source, rank: cover.with.rank(), of: None };
        self.guarded.add(cover.mark.identity, laid);
        Ok(())
    }

    fn open(&self, below: &Path, flags: OFlags) -> std::io::Result<OwnedFd> {
        let root = self.roots.get(self.at).ok_or(std::io::ErrorKind::NotFound)?;
        open_below(root.as_fd(), below, flags).map_err(|error| named(below, error.into()))
    }

    fn is_still(&self, cover: &Cover, opened: &OwnedFd) -> std::io::Result<()> {
        let now = Mark::of(&rustix::fs::fstat(opened)?);
        if cover.mark.still(&now) { Ok(()) } else { Err(named(&cover.path, std::io::Error::other(MOVED))) }
    }

    /// Makes the copy to be mounted: another run's copy may go before this run ends.
    fn copy_of(&self, laid: &Laid, identity: Identity) -> std::io::Result<PathBuf> {
        if laid.rank == HIDES_ALL {
            return Ok(self.folder.join(NOTHING));
        }
        let Some(id) = laid.of else { return Ok(laid.source.clone()) };
        let own = self.folder.join(format!("of-{id}-{}-{}", identity.device, identity.inode));
        match fs::read(&laid.source) {
            _ if own.exists() => Ok(own),
            Ok(text) => put(&own, &text, 0o444).map(|()| own),
            // That run is over, or its record is no more to be trusted: what it hid stays hidden.
            Err(_) => Ok(self.folder.join(NOTHING)),
        }
    }

    fn copy_file(&mut self, cover: &Cover, to: &Path) -> std::io::Result<()> {
        match &cover.with {
            With::Nothing => put(to, b"", mode(cover)),
            With::Masked(text) => put(to, text, mode(cover)),
            With::Instead(text) => {
                put(to, text, mode(cover))?;
                // git writes `gitdir` anew when it is a day old, and cannot.
                fs::File::open(to)?.set_modified(SystemTime::now() + YEARS)
            }
            // git looks at the owner's right alone.
            With::Committed { text, executable } => {
                self.count(text.len() as u64, &cover.path)?;
                put(to, text, if *executable { 0o555 } else { 0o444 })
            }
            With::Itself => {
                let opened = self.open(&cover.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
                self.is_still(cover, &opened)?;
                let text = self.read(opened, &cover.path)?;
                put(to, &text, mode(cover))
            }
        }
    }

    fn read(&mut self, opened: OwnedFd, below: &Path) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        fs::File::from(opened).take(self.most_bytes() - self.bytes + 1).read_to_end(&mut text)?;
        self.count(text.len() as u64, below)?;
        Ok(text)
    }

    /// Copies a folder that the agent must not change. Of what is in it the agent gets the files
    /// that were looked at; one that has come or was changed since then is empty.
    fn copy_folder(&mut self, cover: &Cover, to: &Path) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let opened = self.open(&cover.path, flags)?;
        self.is_still(cover, &opened)?;
        make_folder(to)?;
        let left_out = submodules_in(cover);
        if left_out.as_ref() == Some(&cover.path) {
            return Ok(());
        }
        let mut waiting = vec![(opened, cover.path.clone(), to.to_owned())];
        while let Some((from, below, to)) = waiting.pop() {
            for listed in Dir::read_from(&from)? {
                let listed = listed?;
                let name = listed.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                let own = OsStr::from_bytes(name.to_bytes());
                let (path, target) = (below.join(own), to.join(own));
                self.count(0, &path)?;
                let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| named(&path, error.into()))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {
                        make_folder(&target)?;
                        if left_out.as_ref() == Some(&path) {
                            continue;
                        }
                        let inner = open_in(from.as_fd(), name, flags);
                        waiting.push((inner.map_err(|error| named(&path, error.into()))?, path, target));
                    }
                    FileType::Symlink => {
                        let to = rustix::fs::readlinkat(&from, name, Vec::new())
                            .map_err(|error| named(&path, error.into()))?;
                        std::os::unix::fs::symlink(OsStr::from_bytes(to.as_bytes()), &target)?;
                    }
                    FileType::RegularFile => self.copy_inner(&from, own, path, &target)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Copies a file in a folder that the agent must not change.
    fn copy_inner(&mut self, from: &OwnedFd, name: &OsStr, path: PathBuf, to: &Path) -> std::io::Result<()> {
        let plan = self.plan();
        if let Some(cover) = plan.and_then(|plan| plan.covers.iter().find(|cover| cover.path == path)) {
            self.copy_file(cover, to)?;
            return self.guard(cover, to.to_owned());
        }
        let opened = open_in(from.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
            .map_err(|error| named(&path, error.into()))?;
        let mark = || Ok::<_, std::io::Error>(Mark::of(&rustix::fs::fstat(&opened)?));
        let before = mark()?;
        let text = self.read(opened.try_clone()?, &path)?;
        let looked_at = plan.and_then(|plan| plan.files.get(&path));
        let is_known = looked_at == Some(&before) && mark()? == before;
        let with = if is_known { With::Itself } else { With::Nothing };
        let cover = Cover { path, mark: before, with, why: Vec::new() };
        put(to, if is_known { &text } else { b"" }, mode(&cover))?;
        self.guard(&cover, to.to_owned())
    }

    /// Returns the most bytes of all copies. With a repository, the index of each working tree is
    /// among them.
    fn most_bytes(&self) -> u64 {
        if self.plans.len() > 1 { MOST_BYTES_OF_GIT } else { MOST_BYTES }
    }

    fn count(&mut self, bytes: u64, path: &Path) -> std::io::Result<()> {
        self.copied += 1;
        self.bytes += bytes;
        let most = self.most_bytes();
        if self.copied > MOST_FILES || self.bytes > most {
            return Err(std::io::Error::other(format!(
                "{}: what the agent must not change is more than {MOST_FILES} files or {} MiB; --unmask what need not be protected",
                path.display(),
                most >> 20
            )));
        }
        Ok(())
    }
}

/// Returns the rights of a copy: those of the file, and everybody may read it.
fn mode(cover: &Cover) -> u32 {
    cover.mark.executable() | 0o444
}

fn named(below: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", report::shown(below)))
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn put(path: &Path, text: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::super::{Wishes, plan_repository};
    use super::*;

    #[test]
    fn submodules_of_other_working_trees_are_not_copied_and_their_secrets_are_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let git = at.join("main.git");
        let put = |path: &str, text: &[u8]| {
            fs::create_dir_all(git.join(path).parent().unwrap()).unwrap();
            fs::write(git.join(path), text).unwrap();
        };
        let secret = b"[remote \"o\"]\n\turl = https://me:s3cret-of-mine@x.test/\n";
        for (folder, config) in
            [("", &b"[core]\n"[..]), ("modules/a/", secret), ("worktrees/other/modules/b/", secret)]
        {
            put(&format!("{folder}HEAD"), b"ref: refs/heads/main\n");
            put(&format!("{folder}index"), b"DIRC");
            put(&format!("{folder}refs/heads/main"), b"0\n");
            put(&format!("{folder}config"), config);
            // More than is copied, without a block on the disk.
            put(&format!("{folder}objects/pack/large"), b"");
            let large = fs::File::options().write(true).open(git.join(folder).join("objects/pack/large"));
            large.unwrap().set_len(MOST_BYTES + 1).unwrap();
        }
        put("worktrees/other/gitdir", b"/elsewhere/.git\n");
        put("worktrees/other/HEAD", b"ref: refs/heads/theirs\n");
        put("worktrees/tree/modules/c/HEAD", b"ref: refs/heads/main\n");
        let plans = [plan_repository(&git, Path::new("worktrees/tree"), &Wishes::default()).unwrap()];
        let folder = at.join("served");
        let roots = vec![held::reopen_directory(held::open(&git).unwrap()).unwrap()];
        let guarded = Guarded::default();
        let mut writer =
            Writer { plans: &plans, roots, at: 0, folder: folder.clone(), copied: 0, bytes: 0, guarded };
        let own = writer.write("engine").unwrap();
        let source = |path: &str| &own.iter().find(|own| own.below == Path::new(path)).expect(path).source;
        assert_eq!(fs::read_dir(source("modules")).unwrap().count(), 0);
        let other = source("worktrees/other");
        assert_eq!(fs::read_to_string(other.join("HEAD")).unwrap(), "ref: refs/heads/theirs\n");
        assert_eq!(fs::read_dir(other.join("modules")).unwrap().count(), 0);
        assert!(own.iter().all(|own| !own.below.starts_with("worktrees/tree/modules")));
        // Where another mount shows the same file, there is something to lay over it.
        for path in ["modules/a/config", "worktrees/other/modules/b/config"] {
            let laid = writer.guarded.0.values().find(|laid| laid.path == git.join(path)).expect(path);
            let text = fs::read_to_string(&laid.source).unwrap();
            assert!(!text.contains("s3cret") && text.contains("x.test"), "{path}: {text}");
        }
    }
}
