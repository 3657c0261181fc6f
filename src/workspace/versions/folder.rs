//! Opening what lies in a folder: by descriptor, no link is followed, nothing that is mounted there
//! is taken, and no right of the project's folders is changed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::host::at::open_in;

/// The reason why something cannot be opened: it is absent, or it is a link, a mount, or not for
/// ringfence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// No entry has the name.
    Absent,
    /// An entry of another kind is there, or it is larger than permitted.
    Unfit,
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Closed {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Closed::Absent,
            _ => Closed::Unfit,
        }
    }
}

impl From<Errno> for Closed {
    fn from(error: Errno) -> Closed {
        io::Error::from(error).into()
    }
}

/// Opens a folder in a folder.
pub(crate) fn folder(here: impl AsFd, name: &OsStr) -> Result<OwnedFd, Closed> {
    Ok(open_in(here.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)?)
}

/// Opens the folder of a path below a folder; an empty path is that folder itself.
pub(super) fn descend(here: impl AsFd, path: &Path) -> Result<OwnedFd, Closed> {
    let mut at = folder(here, OsStr::new("."))?;
    for part in path.components() {
        let Component::Normal(part) = part else { return Err(Closed::Unfit) };
        at = folder(at, part)?;
    }
    Ok(at)
}

/// Opens a regular file in a folder.
pub(crate) fn file(here: impl AsFd, name: &OsStr) -> Result<File, Closed> {
    // NONBLOCK: a pipe would wait for its other end, and is refused afterwards.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open_in(here.as_fd(), name, flags)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(Closed::Unfit) }
}

/// Reads a regular file of at most so many bytes.
pub(crate) fn read(here: impl AsFd, name: &OsStr, most: u64) -> Result<Vec<u8>, Closed> {
    let mut bytes = Vec::new();
    file(here, name)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= most { Ok(bytes) } else { Err(Closed::Unfit) }
}

/// Reads a regular file of at most so many bytes; none if there is none.
pub(super) fn read_if_there(here: impl AsFd, name: &OsStr, most: u64) -> Result<Option<Vec<u8>>, Closed> {
    match read(here, name, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Closed::Absent) => Ok(None),
        Err(closed) => Err(closed),
    }
}
