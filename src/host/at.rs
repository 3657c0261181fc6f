//! Opening and changing what has a name in an open folder, also while somebody else changes that
//! folder.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::owners::mode;

/// Tries of a kernel that was interrupted by renames.
#[cfg(target_os = "linux")]
const TRIES: usize = 100;

/// Opens what has a name in a folder: neither a link nor what another file system, or the same one,
/// is mounted over.
#[cfg(target_os = "linux")]
pub(crate) fn open_in(
    here: BorrowedFd<'_>,
    name: impl Arg + Copy,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    beneath(here, name, flags).unwrap_or_else(|| open_on_one_device(here, name, flags))
}

/// Opens what has a name in a folder: neither a link nor what is on another file system.
#[cfg(target_os = "macos")]
pub(crate) fn open_in(
    here: BorrowedFd<'_>,
    name: impl Arg + Copy,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    open_on_one_device(here, name, flags)
}

/// Opens what lies below a folder, without a link or a mount on the way (openat2(2)); nothing where
/// the kernel cannot do that: before Linux 5.6, and in sandboxes that do not know the call.
#[cfg(target_os = "linux")]
fn beneath(
    root: BorrowedFd<'_>,
    path: impl Arg + Copy,
    flags: OFlags,
) -> Option<rustix::io::Result<OwnedFd>> {
    use rustix::fs::ResolveFlags;

    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    for _ in 0..TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return None,
            opened => return Some(opened),
        }
    }
    Some(Err(Errno::AGAIN))
}

fn open_on_one_device(here: BorrowedFd<'_>, name: impl Arg, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let opened = rustix::fs::openat(here, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(here)?.st_dev;
    if same { Ok(opened) } else { Err(Errno::XDEV) }
}

/// Opens as a name only, where a system can do that: what may not be read can be opened so.
#[cfg(target_os = "linux")]
pub(crate) const NAME_ONLY: OFlags = OFlags::PATH;
/// Opens as a name only, where a system can do that: what may not be read can be opened so.
#[cfg(target_os = "macos")]
pub(crate) const NAME_ONLY: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens what has a path below an open folder; an empty path is the folder itself. A link on the
/// way, or at the end, is an error, and so is what is mounted there.
#[cfg(target_os = "linux")]
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let whole = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    beneath(root, whole, flags).unwrap_or_else(|| open_by_steps(root, path, flags))
}

/// Opens what has a path below an open folder; an empty path is the folder itself. A link on the
/// way, or at the end, is an error, and so is what is on another file system.
#[cfg(target_os = "macos")]
pub(crate) fn open_below(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_by_steps(root, path, flags)
}

/// Opens one name after the other, none of them a link nor on another file system.
fn open_by_steps(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let Some(last) = path.file_name() else {
        return open_on_one_device(root, c".", flags);
    };
    let way = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut here = open_on_one_device(root, c".", way)?;
    for name in path.parent().unwrap_or(Path::new("")) {
        if name == ".." {
            return Err(Errno::XDEV);
        }
        here = open_on_one_device(here.as_fd(), name, way)?;
    }
    open_on_one_device(here.as_fd(), last, flags)
}

/// Opens a folder in a folder, to be read and changed. Its owner may lack the right to that, and
/// gets it.
#[cfg(target_os = "linux")]
pub(crate) fn open_folder(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let held = open_in(here, name, OFlags::PATH | OFlags::DIRECTORY)?;
    let stat = rustix::fs::fstat(&held)?;
    if lacks_rights(&stat) {
        give_rights(&held, &stat)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&held, ".", flags, Mode::empty())?)
}

/// Opens a folder in a folder, to be read and changed. Its owner may lack the right to that, and
/// gets it.
#[cfg(target_os = "macos")]
pub(crate) fn open_folder(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    unlock(here, name)?;
    Ok(open_in(here, name, OFlags::RDONLY | OFlags::DIRECTORY)?)
}

/// Gives the owner of a folder the rights to it, if that is who asks. What is no folder stays as it
/// is, and so does what a link leads to.
#[cfg(target_os = "linux")]
pub(crate) fn unlock(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let held = open_in(here, name, OFlags::PATH | OFlags::DIRECTORY)?;
    let stat = rustix::fs::fstat(&held)?;
    if lacks_rights(&stat) { give_rights(&held, &stat) } else { Ok(()) }
}

/// Gives the owner of a folder the rights to it, if that is who asks. What a link leads to stays as
/// it is.
#[cfg(target_os = "macos")]
pub(crate) fn unlock(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    use rustix::fs::AtFlags;

    let stat = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if lacks_rights(&stat) {
        let whole = Mode::from_raw_mode((mode(&stat) | 0o700) as RawMode);
        rustix::fs::chmodat(here, name, whole, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Tells whether a folder is the caller's own and the caller lacks rights to use it whole.
pub(crate) fn lacks_rights(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && mode(stat) & 0o700 != 0o700
        && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Gives the caller rights to a folder by its descriptor: the name may lead elsewhere by now.
#[cfg(target_os = "linux")]
fn give_rights(held: &OwnedFd, stat: &Stat) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let whole = Mode::from_raw_mode((mode(stat) | 0o700) as RawMode);
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_fd().as_raw_fd()), whole)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_call_opens_the_same_and_refuses_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::fs::write(dir.path().join("folder/file"), "x").unwrap();
        std::os::unix::fs::symlink("folder", dir.path().join("link")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let whole = std::fs::File::open("/").unwrap();
        for (root, path, good) in [
            (&root, "", true),
            (&root, "folder", true),
            (&root, "folder/file", true),
            (&root, "folder/none", false),
            (&root, "link", false),
            (&root, "link/file", false),
            (&root, "folder/../folder/file", false),
            // Another file system.
            (&whole, "proc", false),
            (&whole, "proc/version", false),
        ] {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            let path = Path::new(path);
            let by_steps = open_by_steps(root.as_fd(), path, flags).map_err(drop);
            assert_eq!(by_steps.is_ok(), good, "{}", path.display());
            // The call itself permits `..` that stays beneath, which no caller has.
            if !path.iter().any(|name| name == "..") {
                assert_eq!(open_below(root.as_fd(), path, flags).is_ok(), good, "{}", path.display());
            }
        }
    }
}
