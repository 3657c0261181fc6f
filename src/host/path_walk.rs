//! The one walk along a path: name by name and by descriptor, with a rule that sees every folder
//! and every link on the way.
//!
//! ```text
//!  path ─▶ name ─┬─ folder ─▶ rule.folder: may the walk go on? who else can write here? ─▶ next name
//!                ├─ link   ─▶ rule.link:   may it be followed?                           ─▶ its names come first
//!                └─ end    ─▶ the open folder, and the name in it
//! ```
//! No name is resolved by the kernel beyond its own folder, so that a link that somebody puts there
//! meanwhile is met here, by the rule, or ends the opening.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Links that are followed; the kernel's own bound.
pub(super) const MOST_LINKS: usize = 40;

/// A folder on the way.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Open, as a name only where the system has that.
    pub(crate) fd: OwnedFd,
    /// Path of the folder, without links.
    pub(crate) path: PathBuf,
    /// Stat data of the folder.
    pub(crate) stat: Stat,
    /// Others who could have written in the folder, by the rule.
    pub(crate) doubt: Option<Doubt>,
}

/// A reason to distrust what lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// An agent, or another user, can exchange what is in it.
    Writable(String),
    /// Files of others arrive in it, such as by `git pull`. Only links are distrusted.
    Checkout(String),
    /// Everybody may add to it, and nobody exchanges what is another's, as in `/tmp`.
    Shared(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Doubt::Writable(why) | Doubt::Checkout(why) | Doubt::Shared(why)) = self;
        f.write_str(why)
    }
}

/// Rule that a walk asks about each step.
pub(crate) trait Rule {
    /// Judges a folder before anything in it is looked at; `above` is the folder around it.
    ///
    /// # Errors
    /// When the walk must not go through it.
    fn folder(&self, above: Option<&Folder>, folder: &Folder) -> Result<Option<Doubt>, String>;

    /// Judges a link before it is followed.
    ///
    /// # Errors
    /// When it must not be.
    fn link(&self, inside: &Folder, path: &Path, stat: &Stat) -> Result<(), String>;
}

/// End of a path.
#[derive(Debug)]
pub(crate) struct End {
    /// The folder that it ends in.
    pub(crate) folder: Folder,
    /// The name there; `.` where the path ends at the folder itself.
    pub(crate) name: OsString,
    /// Stat data at the end, which is never a link; nothing where the name is free.
    pub(crate) stat: Option<Stat>,
}

impl End {
    /// Returns the whole path, without links.
    pub(crate) fn path(&self) -> PathBuf {
        match self.name == "." {
            true => self.folder.path.clone(),
            false => self.folder.path.join(&self.name),
        }
    }

    /// Opens what is there. A link that was put there since is an error, and a FIFO is not waited
    /// for.
    pub(crate) fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder.fd, &self.name, flags, Mode::empty())?)
    }

    /// Creates what is not there.
    pub(crate) fn create(&self, mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder.fd, &self.name, flags, mode)?)
    }
}

/// Reason for which a walk ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The rule forbids the way.
    Refused(String),
    /// The system could not go on.
    Failed(io::Error),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Refused(why) => f.write_str(why),
            Stopped::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Failed(error)
    }
}

impl From<Errno> for Stopped {
    fn from(error: Errno) -> Stopped {
        Stopped::Failed(error.into())
    }
}

/// Walks to where a path leads. A relative one begins at the working directory.
pub(crate) fn follow(path: &Path, rule: &dyn Rule) -> Result<End, Stopped> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let absolute = std::path::absolute(path).map_err(Stopped::Failed)?;
    let mut way = vec![root(rule)?];
    let mut waiting = names(&absolute);
    let mut links = 0;
    while let Some(name) = waiting.pop_front() {
        if name == ".." {
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let Some(here) = way.last() else { break };
        let stat = match rustix::fs::statat(&here.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if waiting.is_empty() => return ended(way, name, None),
            stat => stat?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                rule.link(here, &here.path.join(&name), &stat).map_err(Stopped::Refused)?;
                let target = rustix::fs::readlinkat(&here.fd, &name, Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    way.truncate(1);
                }
                for name in names(&target).into_iter().rev() {
                    waiting.push_front(name);
                }
            }
            FileType::Directory => {
                let folder = enter(here, &name, rule)?;
                way.push(folder);
            }
            _ if waiting.is_empty() => return ended(way, name, Some(stat)),
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    let stat = way.last().map(|folder| folder.stat);
    ended(way, ".".into(), stat)
}

fn ended(mut way: Vec<Folder>, name: OsString, stat: Option<Stat>) -> Result<End, Stopped> {
    let folder = way.pop().ok_or(Errno::NOENT)?;
    Ok(End { folder, name, stat })
}

fn root(rule: &dyn Rule) -> Result<Folder, Stopped> {
    let fd = plain_folder(None, OsStr::new("/"))?;
    judged(None, fd, PathBuf::from("/"), rule)
}

fn enter(here: &Folder, name: &OsStr, rule: &dyn Rule) -> Result<Folder, Stopped> {
    let fd = plain_folder(Some(here.fd.as_fd()), name)?;
    judged(Some(here), fd, here.path.join(name), rule)
}

fn judged(above: Option<&Folder>, fd: OwnedFd, path: PathBuf, rule: &dyn Rule) -> Result<Folder, Stopped> {
    let stat = rustix::fs::fstat(&fd)?;
    let mut folder = Folder { fd, path, stat, doubt: None };
    folder.doubt = rule.folder(above, &folder).map_err(Stopped::Refused)?;
    Ok(folder)
}

/// Opens a folder in another one, or `/`: neither a link nor anything else. It need not be readable
/// where the system has that.
pub(crate) fn plain_folder(here: Option<BorrowedFd<'_>>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = folder_flags() | OFlags::NOFOLLOW;
    Ok(match here {
        Some(here) => rustix::fs::openat(here, name, flags, Mode::empty())?,
        None => rustix::fs::open("/", flags, Mode::empty())?,
    })
}

/// Returns the flags to open a folder on the way, which need not be readable.
#[cfg(target_os = "linux")]
fn folder_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// Returns the flags to open a folder on the way. There is no opening as a name only, so it must be
/// readable.
#[cfg(target_os = "macos")]
fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// Lists every link on the way that a path leads, then the path's end, whether that exists or not.
/// The folders of all of them are without links. A relative path counts from the working directory,
/// as it does for a program that opens it.
pub(crate) fn symlink_chain(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    let mut chain = Vec::new();
    let mut at = PathBuf::from("/");
    let mut waiting: VecDeque<OsString> = names(path);
    while let Some(name) = waiting.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        let Ok(target) = at.read_link() else { continue };
        chain.push(at.clone());
        if chain.len() > MOST_LINKS {
            break;
        }
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            waiting.push_front(name);
        }
    }
    chain.push(at);
    chain
}

/// Returns the names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Everything;

    impl Rule for Everything {
        fn folder(&self, _: Option<&Folder>, _: &Folder) -> Result<Option<Doubt>, String> {
            Ok(None)
        }

        fn link(&self, _: &Folder, _: &Path, _: &Stat) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_path_ends_where_the_kernel_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("c")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink("../a/b", root.join("c/link")).unwrap();
        symlink(root.join("c"), root.join("a/absolute")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("round", root.join("round")).unwrap();
        for path in ["a/b/file", "c/link/file", "a/absolute/link/../b/file", "c/link", "a/b/..", "a/./b"] {
            let end = follow(&root.join(path), &Everything).unwrap();
            assert_eq!(end.path(), root.join(path).canonicalize().unwrap(), "{path}");
            assert!(end.stat.is_some(), "{path}");
        }
        for (path, ends) in [("a/new", "a/new"), ("dangling", "nowhere"), ("c/link/new", "a/b/new")] {
            let end = follow(&root.join(path), &Everything).unwrap();
            assert!(end.stat.is_none() && end.path() == root.join(ends), "{path}: {end:?}");
        }
        for path in ["round", "none/new", "a/b/file/new"] {
            let stopped = follow(&root.join(path), &Everything).unwrap_err();
            let by_kernel = fs::File::create(root.join(path)).unwrap_err();
            let Stopped::Failed(error) = stopped else { panic!("{path}: {stopped}") };
            assert_eq!(error.raw_os_error(), by_kernel.raw_os_error(), "{path}");
        }
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(follow(Path::new("."), &Everything).unwrap().path(), here);
    }

    #[test]
    fn every_link_on_the_way_counts_and_what_is_not_there_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |below: &str| root.join(below);
        for folder in ["home/config", "dots/deep", "else/where"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        symlink("../../dots/deep/fence", at("home/config/fence")).unwrap();
        symlink(at("else/where"), at("dots/deep/fence")).unwrap();
        assert_eq!(
            symlink_chain(&at("home/config/fence/policy.yml")),
            [at("home/config/fence"), at("dots/deep/fence"), at("else/where/policy.yml")]
        );
        assert_eq!(symlink_chain(&at("home/config/none/policy.yml")), [at("home/config/none/policy.yml")]);
        symlink("round", at("round")).unwrap();
        assert!(symlink_chain(&at("round/x")).len() <= MOST_LINKS + 2);
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(symlink_chain(Path::new(".docker/config.json")), [here.join(".docker/config.json")]);
    }
}
