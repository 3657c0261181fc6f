//! The one opener of files that a person names, on the command line or by a variable.
//!
//! ```text
//!  path ─▶ territory: follow no link where an agent could have written ─▶ open without waiting ─▶ a regular file? ─▶ bounded read
//!                                                                       └▶ create: O_EXCL there; elsewhere the file is overwritten
//! ```
//! `-`, `/dev/stdin`, and what the shell opens for `<(command)` are read as they come: the person's
//! own shell opened them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::owners::Owners;
use super::path_walk::{Doubt, End, Stopped, follow};
use super::territory::{self, Territory};
use crate::term::Failure;

/// Prefixes of a path that means a descriptor of this process, by its number.
#[cfg(target_os = "linux")]
const DESCRIPTORS: &[&str] = &["/dev/fd/", "/proc/self/fd/"];
/// Prefixes of a path that means a descriptor of this process, by its number.
#[cfg(target_os = "macos")]
const DESCRIPTORS: &[&str] = &["/dev/fd/"];

/// Reason for which a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The system's reason.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A link on the way, where an agent could have made it.
    #[error("{0}")]
    Link(String),
    /// A directory, a FIFO, a device.
    #[error("it is {0}")]
    Kind(&'static str),
    /// More bytes than are read.
    #[error("it is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
    /// A file that an agent, or somebody else, may have written.
    #[error("{0}")]
    Distrusted(String),
    /// A file that an agent may have left or moved there.
    #[error("it is there already, and {0}, so that it is not overwritten")]
    Exists(String),
}

impl Refused {
    /// Returns the advice what to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Refused::Link(_) => Some("look where it leads, and name the file itself"),
            Refused::Exists(_) => Some("move it away first, or name another file"),
            Refused::Kind(_) => Some("name a regular file"),
            Refused::Distrusted(_) => Some("keep it where you alone can write, outside a working tree"),
            Refused::System(_) | Refused::TooLarge(_) => None,
        }
    }

    /// Adds why, and what to do, to a failure.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let failure = failure.caused_by(self);
        match self.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// Tells whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Refused::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Refused {
        match stopped {
            Stopped::Refused(why) => Refused::Link(why),
            Stopped::Failed(error) => Refused::System(error),
        }
    }
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Refused {
        Refused::System(error.into())
    }
}

/// A file to be written.
#[derive(Debug)]
pub(crate) struct Created {
    /// The file, empty.
    pub(crate) file: File,
    /// The others who can exchange the file, if there are any.
    pub(crate) doubt: Option<String>,
}

/// Reads a file, up to `most` bytes.
///
/// # Errors
/// When it is larger, no regular file, or behind a link that an agent could have made.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Refused> {
    read_all(&open(path)?, most)
}

/// Reads a file that decides on what a person consents to, up to `most` bytes. It must lie where
/// neither an agent nor another user could have written it.
///
/// # Errors
/// When it does not, is larger or no regular file.
pub(crate) fn read_trusted(path: &Path, most: u64) -> Result<Vec<u8>, Refused> {
    read_trusted_within(path, most, &territory::known())
}

fn read_trusted_within(path: &Path, most: u64, territory: &Territory) -> Result<Vec<u8>, Refused> {
    let end = follow(path, territory)?;
    let Some(stat) = end.stat else { return Err(Errno::NOENT.into()) };
    must_be_regular(&stat)?;
    if let Some(Doubt::Writable(why) | Doubt::Checkout(why)) = end.folder.doubt {
        return Err(Refused::Distrusted(why));
    }
    // The same way once more: nobody else can write in a folder of it.
    read_all(&Owners::caller().open_file(path).map_err(Refused::Distrusted)?, most)
}

/// Reads the rest of an open file, up to `most` bytes.
///
/// # Errors
/// When there are more.
pub(crate) fn read_all(file: &File, most: u64) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Refused::TooLarge(most)) } else { Ok(bytes) }
}

/// Opens a file to be read.
///
/// # Errors
/// When it is no regular file, or behind a link that an agent could have made.
pub(crate) fn open(path: &Path) -> Result<File, Refused> {
    open_within(path, &territory::known())
}

fn open_within(path: &Path, territory: &Territory) -> Result<File, Refused> {
    if let Some(own) = of_this_process(path) {
        let file = File::open(own)?;
        return if file.metadata()?.is_dir() { Err(Refused::Kind("a directory")) } else { Ok(file) };
    }
    let end = follow(path, territory)?;
    let Some(stat) = end.stat else { return Err(Errno::NOENT.into()) };
    // Not opened at all: the opening of a device can have effects.
    must_be_regular(&stat)?;
    let file = end.open(OFlags::RDONLY)?;
    must_be_regular(&rustix::fs::fstat(&file)?)?;
    Ok(file.into())
}

/// Resolves a path to one without links, and to what is there.
///
/// # Errors
/// When nothing is there, or a link on the way is one that an agent could have made.
pub(crate) fn resolve(path: &Path) -> Result<End, Refused> {
    let end = follow(path, &territory::known())?;
    if end.stat.is_none() { Err(Errno::NOENT.into()) } else { Ok(end) }
}

/// Resolves a path to one without links.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn real(path: &Path) -> Result<PathBuf, Refused> {
    Ok(resolve(path)?.path())
}

/// Creates a file, or empties the one that is there. Where an agent could have written, nothing is
/// emptied.
///
/// # Errors
/// When something is there that is no regular file, or that an agent may have put there, or a link
/// leads there that it could have made.
pub(crate) fn create(path: &Path, mode: u32) -> Result<Created, Refused> {
    create_within(path, mode, &territory::known())
}

#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
fn create_within(path: &Path, mode: u32, territory: &Territory) -> Result<Created, Refused> {
    let standard_output = Path::new("/dev/stdout");
    let path = if path == Path::new("-") { standard_output } else { path };
    if let Some(own) = of_this_process(path) {
        return Ok(Created { file: File::options().append(true).open(own)?, doubt: None });
    }
    let end = follow(path, territory)?;
    let doubt = match &end.folder.doubt {
        Some(Doubt::Writable(why)) => Some(why.clone()),
        _ => None,
    };
    let Some(stat) = end.stat else {
        return Ok(Created { file: end.create(Mode::from_raw_mode(mode as RawMode))?.into(), doubt });
    };
    must_be_regular(&stat)?;
    if let Some(why) = doubt {
        return Err(Refused::Exists(why));
    }
    let file = File::from(end.open(OFlags::WRONLY)?);
    let stat = rustix::fs::fstat(&file)?;
    must_be_regular(&stat)?;
    if let Some(Doubt::Shared(why)) = &end.folder.doubt
        && (!Owners::caller().own(&stat) || stat.st_nlink != 1)
    {
        return Err(Refused::Exists(why.clone()));
    }
    file.set_len(0)?;
    Ok(Created { file, doubt: None })
}

fn must_be_regular(stat: &Stat) -> Result<(), Refused> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Refused::Kind("a directory")),
        _ => Err(Refused::Kind("no regular file")),
    }
}

/// Recognizes a path that means a descriptor of this process, or the null device, and returns the
/// path by which the system opens it anew.
fn of_this_process(path: &Path) -> Option<&Path> {
    let text = path.to_str()?;
    let number = |prefix: &&str| {
        let number = text.strip_prefix(*prefix)?;
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(path)
    };
    match text {
        "-" => Some(Path::new("/dev/stdin")),
        "/dev/stdin" | "/dev/stdout" | "/dev/stderr" | "/dev/null" => Some(path),
        _ => DESCRIPTORS.iter().find_map(number),
    }
}

/// Tells whether a path means the standard input of this process.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0"].iter().any(|input| path == Path::new(input))
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
