//! Opening a path that has been resolved, without following a link that was put into it meanwhile.
//!
//! ```text
//!  Linux: openat2, NO_SYMLINKS, as a name only (O_PATH)       macOS: open, NOFOLLOW_ANY, to be read
//! ```
//! Elsewhere ringfence does not build: each system has its own way, and a weaker one would be a
//! hole in what an agent is given.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, Stat};

use super::mounts::Identity;

/// Opens it as a name only; a link in it is an error.
#[cfg(target_os = "linux")]
pub(crate) fn open(source: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;

    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;

    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(rustix::fs::CWD, source, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call: the path that the kernel
        // took must be the one that was meant.
        Err(Errno::NOSYS | Errno::PERM) => {
            let file = rustix::fs::open(source, flags, Mode::empty())?;
            let taken = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            if taken == source { Ok(file) } else { Err(changed()) }
        }
        other => Ok(other?),
    }
}

/// Opens it; a link in it is an error. There is no opening of a name alone, so what cannot be read
/// cannot be given.
#[cfg(target_os = "macos")]
pub(crate) fn open(source: &Path) -> io::Result<OwnedFd> {
    // NONBLOCK: a pipe would wait for its other end, and is refused afterwards.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW_ANY;
    // A system before macOS 11 passes over a flag that it does not know. /etc is a link on every
    // macOS.
    if rustix::fs::open("/etc", flags, Mode::empty()).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system cannot open a path without following links; macOS 11 can",
        ));
    }
    Ok(rustix::fs::open(source, flags, Mode::empty())?)
}

/// Opens a directory that is held, to be read.
pub(super) fn reopen_directory(held: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::openat(held, ".", flags, Mode::empty())?)
}

/// Opens a file that is held, to be read.
#[cfg(target_os = "linux")]
pub(super) fn reopen_file(held: &OwnedFd, _: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;

    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", held.as_raw_fd()), flags, Mode::empty())?)
}

/// Opens a file that is held, to be read: by its path, which must still lead to it.
#[cfg(target_os = "macos")]
pub(super) fn reopen_file(held: &OwnedFd, source: &Path) -> io::Result<OwnedFd> {
    let file = open(source)?;
    if identity(&rustix::fs::fstat(&file)?) == identity(&rustix::fs::fstat(held)?) {
        Ok(file)
    } else {
        Err(changed())
    }
}

fn changed() -> io::Error {
    io::Error::other("the path changed while it was opened")
}

/// Returns device and inode, as the standard library writes them too. A device is a signed number
/// of 32 bits on macOS.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
pub(crate) fn identity(stat: &Stat) -> Identity {
    Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
}
