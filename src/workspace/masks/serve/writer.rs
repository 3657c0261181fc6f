//! Writes the copies that are laid over files of the agent.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use crate::host::at::{NAME_ONLY, open_below, open_in};
use crate::workspace::masks::repository::submodules_in;
use crate::workspace::masks::shared::{Guarded, HIDES_ALL, Laid};
use crate::workspace::masks::snapshot::Mark;
use crate::workspace::masks::{Cover, Plan, With, report};
use crate::workspace::mounts::Identity;

/// Names the engine that the workflow is on.
pub(super) const ENGINE: &str = "engine";

/// An empty file.
const NOTHING: &str = "nothing";

/// The most files in a folder that is laid over another.
const MOST_FILES: usize = 4096;

pub(super) const MOST_BYTES: u64 = 64 << 20;

const MOST_BYTES_OF_GIT: u64 = 1 << 30;

/// Longer than any run.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) const MOVED: &str =
    "it was moved, replaced or linked since it was looked at: is another program or agent at work there?";

/// A copy of something in a plan's directory.
pub(super) struct Own<'a> {
    pub(super) plan: &'a Plan,
    pub(super) below: PathBuf,
    pub(super) source: PathBuf,
}

pub(super) struct Writer<'a> {
    pub(super) plans: &'a [Plan],
    /// The directory of each, open.
    pub(super) roots: Vec<OwnedFd>,
    /// The plan that is written now.
    pub(super) at: usize,
    pub(super) folder: PathBuf,
    pub(super) copied: usize,
    pub(super) bytes: u64,
    pub(super) guarded: Guarded,
}

impl<'a> Writer<'a> {
    /// Writes the copies.
    pub(super) fn write(&mut self, engine: &str) -> std::io::Result<Vec<Own<'a>>> {
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
    pub(super) fn copy_of(&self, laid: &Laid, identity: Identity) -> std::io::Result<PathBuf> {
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
        if self.plans.iter().any(|plan| plan.place.is_none()) { MOST_BYTES_OF_GIT } else { MOST_BYTES }
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

pub(super) fn make_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

pub(super) fn put(path: &Path, text: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}
