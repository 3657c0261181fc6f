//! A file of a person's that is written anew, whole or not at all.
//!
//! ```text
//!  path ─▶ its folder, by descriptor ─▶ the name there: a regular file, no link ─▶ Original (content, stat)
//!  Original.replace ─▶ a new file beside it, same mode and owner ─▶ still the same file? ─▶ renamed over it
//! ```
//! An agent may be able to write in the folder. It can change the file, as before, and can lead the
//! writing to no other file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid};

use super::open::{self, Refused};
use super::owners::mode;
use super::path_walk::End;

/// Letters behind the name of the new file, until it has the name of the old one.
const RANDOM: usize = 8;

/// A file as it was read.
#[derive(Debug)]
pub(crate) struct Original {
    folder: End,
    name: OsString,
    stat: Stat,
    /// Content of the file.
    pub(crate) content: Vec<u8>,
}

/// Reason for which a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReplaced {
    /// The system's reason.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Another program wrote it since it was read.
    #[error("it was changed meanwhile")]
    Changed,
}

impl Original {
    /// Reads a file of up to `most` bytes that may be replaced later.
    ///
    /// # Errors
    /// When it is no regular file, larger, or a link.
    pub(crate) fn read(path: &Path, most: u64) -> Result<Original, Refused> {
        let name = path.file_name().ok_or(Refused::Kind("a directory"))?.to_owned();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = open::resolve(above.unwrap_or(Path::new(".")))?;
        let here = folder.folder.fd.as_fd();
        let stat = stat_of(here, &name)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => {
                return Err(Refused::Link("it is a link, and nothing is written through links".to_owned()));
            }
            FileType::Directory => return Err(Refused::Kind("a directory")),
            _ => return Err(Refused::Kind("no regular file")),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(here, &name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refused::Kind("no regular file"));
        }
        let content = open::read_all(&file, most)?;
        Ok(Original { folder, name, stat, content })
    }

    /// Returns the path of the file, without links.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// Tells whether the file is another path's too.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (device, inode) = (self.stat.st_dev, self.stat.st_ino);
        std::fs::metadata(path).is_ok_and(|other| same((other.dev(), other.ino()), (device, inode)))
    }

    /// Puts new content in the place of the old.
    ///
    /// # Errors
    /// When another program wrote the file meanwhile, or the new file cannot have the old one's
    /// owner and mode. The old file is as it was then.
    pub(crate) fn replace(&self, content: &[u8]) -> Result<(), NotReplaced> {
        let here = self.folder.folder.fd.as_fd();
        let new = new_name(&self.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(here, &new, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
        let done = self.fill(File::from(file), content).and_then(|()| self.rename(here, &new));
        if done.is_err() {
            // A file that is left over does no harm; the error that is told is the first one.
            let _ = rustix::fs::unlinkat(here, &new, AtFlags::empty());
        }
        done
    }

    /// Writes the new file, as the old one is owned and permitted.
    #[allow(clippy::unnecessary_cast, reason = "not on macOS")]
    fn fill(&self, mut file: File, content: &[u8]) -> Result<(), NotReplaced> {
        file.write_all(content)?;
        let own = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        if (own.st_uid, own.st_gid) != (self.stat.st_uid, self.stat.st_gid) {
            let (owner, group) = (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid));
            rustix::fs::fchown(&file, Some(owner), Some(group)).map_err(io::Error::from)?;
        }
        let permitted = Mode::from_raw_mode((mode(&self.stat) & 0o7777) as RawMode);
        rustix::fs::fchmod(&file, permitted).map_err(io::Error::from)?;
        Ok(file.sync_all()?)
    }

    /// Gives the new file the old one's name, if that is still the file that was read.
    fn rename(&self, here: BorrowedFd<'_>, new: &OsStr) -> Result<(), NotReplaced> {
        let now = stat_of(here, &self.name).map_err(|_| NotReplaced::Changed)?;
        let facts = |stat: &Stat| {
            (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
        };
        if facts(&now) != facts(&self.stat) {
            return Err(NotReplaced::Changed);
        }
        Ok(rustix::fs::renameat(here, new, here, &self.name).map_err(io::Error::from)?)
    }
}

fn stat_of(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Compares numbers of files, whose types differ between systems.
fn same<A: TryInto<u64>, B: TryInto<u64>>(one: (u64, u64), other: (A, B)) -> bool {
    other.0.try_into().is_ok_and(|device| device == one.0)
        && other.1.try_into().is_ok_and(|inode| inode == one.1)
}

/// Returns a name that nobody can have foreseen.
fn new_name(name: &OsStr) -> io::Result<OsString> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut new = OsString::from(".");
    new.push(name);
    new.push(format!(".{}", hex::encode(bytes)));
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_keeps_mode_and_owner_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.yml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(&path, Some(4711), Some(4712)).unwrap();
        }
        let original = Original::read(&path, 100).unwrap();
        assert_eq!(original.content, b"old");
        original.replace(b"new").unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), meta.mode() & 0o7777), (b"new".to_vec(), 0o640));
        assert!(!is_root || (meta.uid(), meta.gid()) == (4711, 4712));
        assert_eq!(names(dir.path()), ["p.yml"]);
    }

    #[test]
    fn neither_a_link_nor_a_changed_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("p.yml"), dir.path().join("other"));
        fs::write(&path, "old").unwrap();
        fs::write(&other, "other").unwrap();
        let original = Original::read(&path, 100).unwrap();
        assert!(original.is_at(&path) && !original.is_at(&other));
        fs::write(&path, "longer").unwrap();
        assert!(matches!(original.replace(b"new"), Err(NotReplaced::Changed)));
        assert_eq!(fs::read(&path).unwrap(), b"longer");
        // Between reading and writing, the name becomes a link.
        let original = Original::read(&path, 100).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(matches!(original.replace(b"new"), Err(NotReplaced::Changed)));
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert!(matches!(Original::read(&path, 100), Err(Refused::Link(_))));
        assert!(matches!(Original::read(dir.path(), 100), Err(Refused::Kind(_))));
        assert!(matches!(Original::read(&other, 3), Err(Refused::TooLarge(3))));
        assert_eq!(names(dir.path()), ["other", "p.yml"]);
    }
}
