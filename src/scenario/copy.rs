//! A fresh copy of the project for each case, so that the project itself is never written.
//!
//! ```text
//!  folder ──by descriptor, no link followed──▶ copy: folders, files, links as links; sockets and the like are left out
//! ```

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// Files and folders of one project.
const MOST_ENTRIES: u64 = 500_000;
/// Bytes of one project.
const MOST_BYTES: u64 = 8 << 30;
/// Depth of folders: each takes two descriptors.
const DEEPEST: usize = 128;

/// Reason for which a project was not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCopied {
    /// The system could not.
    #[error("{path}: {source}")]
    System {
        /// Path in the project.
        path: String,
        /// The error.
        source: io::Error,
    },
    /// The project is larger than a bound.
    #[error("it has more than {0}")]
    TooLarge(&'static str),
    /// A file changed its kind meanwhile.
    #[error("{0} changed while it was copied")]
    Changed(String),
}

/// Parts of a project that a copy leaves out.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Number of sockets, pipes and devices, which are not copied.
    pub(super) left_out: u64,
}

/// Copies a project into a folder that is not there yet.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Copied, NotCopied> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |path: &Path, error: Errno| system(&path.display().to_string(), error);
    let source = rustix::fs::open(from, folder, Mode::empty()).map_err(|error| failed(from, error))?;
    let stat = rustix::fs::fstat(&source).map_err(|error| failed(from, error))?;
    rustix::fs::mkdirat(CWD, to, Mode::RWXU).map_err(|error| failed(to, error))?;
    let target =
        rustix::fs::open(to, folder | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| failed(to, error))?;
    let own = rustix::fs::fstat(&target).map_err(|error| failed(to, error))?;
    let mut copying = Copying { entries: 0, bytes: 0, left_out: 0, own: identity(&own) };
    copying.folder(source.as_fd(), target.as_fd(), "", 0)?;
    finish(target.as_fd(), &stat).map_err(|error| failed(to, error))?;
    Ok(Copied { left_out: copying.left_out })
}

fn system(path: &str, error: impl Into<io::Error>) -> NotCopied {
    NotCopied::System { path: path.to_owned(), source: error.into() }
}

struct Copying {
    entries: u64,
    bytes: u64,
    left_out: u64,
    /// The copy itself, which may lie in the project.
    own: (u64, u64),
}

impl Copying {
    fn folder(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        path: &str,
        depth: usize,
    ) -> Result<(), NotCopied> {
        if depth > DEEPEST {
            return Err(NotCopied::TooLarge("128 levels of folders"));
        }
        let entries = Dir::read_from(source).map_err(|error| system(path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| system(path, error))?;
            let name = entry.file_name().to_owned();
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(NotCopied::TooLarge("500,000 files and folders"));
            }
            let shown = OsString::from_vec(name.as_bytes().to_vec());
            let path = format!("{path}{}{}", if path.is_empty() { "" } else { "/" }, shown.to_string_lossy());
            self.entry(source, target, &name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CString,
        path: &str,
        depth: usize,
    ) -> Result<(), NotCopied> {
        let failed = |error: Errno| system(path, error);
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if identity(&stat) == self.own => Ok(()),
            FileType::Directory => {
                let inner = open(source, name, OFlags::DIRECTORY, &stat, path)?;
                rustix::fs::mkdirat(target, name, Mode::RWXU).map_err(failed)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(target, name, flags, Mode::empty()).map_err(failed)?;
                self.folder(inner.as_fd(), made.as_fd(), path, depth + 1)?;
                finish(made.as_fd(), &stat).map_err(failed)
            }
            FileType::RegularFile => {
                let inner = open(source, name, OFlags::NONBLOCK, &stat, path)?;
                self.file(inner, target, name, &stat, path)
            }
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(source, name, Vec::new()).map_err(failed)?;
                rustix::fs::symlinkat(&to, target, name).map_err(failed)?;
                own_as(
                    |uid, gid| rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
                    &stat,
                )
                .map_err(failed)
            }
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        source: OwnedFd,
        target: BorrowedFd<'_>,
        name: &CString,
        stat: &Stat,
        path: &str,
    ) -> Result<(), NotCopied> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| system(path, error))?;
        let mut made = File::from(made);
        // The file may grow meanwhile.
        let room = MOST_BYTES - self.bytes;
        let copied = io::copy(&mut File::from(source).take(room + 1), &mut made)
            .map_err(|error| system(path, error))?;
        if copied > room {
            return Err(NotCopied::TooLarge("8 GiB"));
        }
        self.bytes += copied;
        finish(made.as_fd(), stat).map_err(|error| system(path, error))
    }
}

/// Returns the device and the number of a file.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Opens what was looked at, and nothing else that has its name by now.
fn open(
    here: BorrowedFd<'_>,
    name: &CString,
    flags: OFlags,
    seen: &Stat,
    path: &str,
) -> Result<OwnedFd, NotCopied> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
    let opened = match rustix::fs::openat(here, name, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => return Err(NotCopied::Changed(path.to_owned())),
        Err(error) => return Err(system(path, error)),
    };
    let stat = rustix::fs::fstat(&opened).map_err(|error| system(path, error))?;
    match (identity(&stat), stat.st_mode) == (identity(seen), seen.st_mode) {
        true => Ok(opened),
        false => Err(NotCopied::Changed(path.to_owned())),
    }
}

/// Gives a copy the owner, permissions and time of its original: permissions alone, no privilege.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
fn finish(made: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    own_as(|uid, gid| rustix::fs::fchown(made, uid, gid), stat)?;
    rustix::fs::fchmod(made, Mode::from_raw_mode((stat.st_mode & 0o777) as RawMode))?;
    let time = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
    rustix::fs::futimens(made, &Timestamps { last_access: time, last_modification: time })
}

/// Gives a copy its owner, where the caller can: root alone.
fn own_as(
    chown: impl FnOnce(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    stat: &Stat,
) -> rustix::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_copy_has_files_folders_and_links_and_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to, outside) =
            (folder.path().join("from"), folder.path().join("to"), folder.path().join("outside"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(from.join("a/b/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("a/b/run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink(&outside, from.join("away")).unwrap();
        symlink("missing", from.join("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o555)).unwrap();
        let copied = copy(&from, &to).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(copied.left_out, 1);
        let (original, made) =
            (fs::metadata(from.join("a/b/run.sh")).unwrap(), fs::metadata(to.join("a/b/run.sh")).unwrap());
        assert_eq!(made.mode() & 0o7777, 0o755, "no privilege comes along");
        assert_eq!(made.mtime(), original.mtime());
        assert_eq!(fs::read_link(to.join("away")).unwrap(), outside);
        assert_eq!(fs::read_link(to.join("dangling")).unwrap(), Path::new("missing"));
        assert!(!to.join("socket").exists());
        assert_eq!(fs::metadata(to.join("a")).unwrap().mode() & 0o777, 0o555);
        // What is written to the copy is not in the original.
        fs::write(to.join("a/b/run.sh"), "changed").unwrap();
        assert_eq!(fs::read_to_string(from.join("a/b/run.sh")).unwrap(), "#!/bin/sh\n");
        fs::set_permissions(to.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_copy_inside_the_project_does_not_copy_itself_and_nothing_is_copied_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x"), "x").unwrap();
        let to = folder.path().join("copy");
        copy(folder.path(), &to).unwrap();
        assert!(to.join("x").exists() && !to.join("copy").exists());
        assert!(matches!(copy(folder.path(), &to), Err(NotCopied::System { .. })));
        assert!(copy(&folder.path().join("x"), &folder.path().join("y")).is_err(), "a file is no project");
    }
}
