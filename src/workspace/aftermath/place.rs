//! Reading and replacing files below a directory that an agent has written: by descriptors, no link
//! is followed, nothing is opened but regular files, and what is written takes its place in one
//! step. All of it holds while somebody else renames things there.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, RenameFlags};
use rustix::io::Errno;

use super::config::LARGEST;
use super::gitdir;
use super::record::{Bytes, Digest, File, Made, Was, digest};
use crate::host::at;
use crate::host::identity::Identity;

/// Tries where somebody else renames things at the same time.
const TRIES: usize = 100;
/// Bytes of a name that are kept when something is put aside: file systems have 255 in all.
const LONGEST_BEGIN: usize = 180;

/// Opens the folder of a path, and returns it with the name there. A folder that is no folder any
/// more is an error.
pub(crate) fn folder<'a>(root: BorrowedFd<'_>, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let mut here = at::open_folder(root, OsStr::new("."))?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(part) = part else { return Err(Errno::INVAL.into()) };
        here = at::open_folder(here.as_fd(), part)?;
    }
    Ok((here, name))
}

/// Opens a folder below the root.
pub(crate) fn open_folder(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return at::open_folder(root, OsStr::new("."));
    }
    let (here, name) = folder(root, path)?;
    at::open_folder(here.as_fd(), name)
}

/// Reads a folder's inode and time of birth, which together tell it from all other folders.
pub(crate) fn made(root: BorrowedFd<'_>, path: &Path) -> io::Result<Made> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::File::from(open_folder(root, path)?).metadata()?;
    let since = meta.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let at = since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Ok(Made { inode: meta.ino(), at })
}

/// Opens a folder in an open one.
pub(crate) fn open_in(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    at::open_folder(here, name)
}

/// Returns the path that `target` is from a folder below the root, by its words; nothing when it
/// leads out. Only `..` at its beginning is understood, as git writes it: behind a name, which may
/// be a link, `..` can be anywhere.
pub(crate) fn below(folder: &Path, target: &Path) -> Option<PathBuf> {
    let (mut place, mut down) = (folder.to_owned(), false);
    for part in target.components() {
        match part {
            Component::ParentDir if down || !place.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::Normal(name) => {
                place.push(name);
                down = true;
            }
            _ => return None,
        }
    }
    Some(place)
}

/// Returns the path that git reads from a file with a single path: the text without its end of
/// line; other white space counts.
pub(crate) fn one_path(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &text[..end]
}

/// Returns the first link on the way to a path.
pub(super) fn link_on_the_way(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<PathBuf>> {
    let folders: Vec<&Path> =
        path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    for folder in folders.into_iter().rev() {
        match look(root, folder)? {
            Was::Link(_) => return Ok(Some(folder.to_owned())),
            Was::Folder => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Reads what is at a path: a folder, a link, a file, or nothing.
pub(crate) fn look(root: BorrowedFd<'_>, path: &Path) -> io::Result<Was> {
    match folder(root, path) {
        Ok((here, name)) => look_in(here.as_fd(), name),
        Err(error) if is_absent(&error) => Ok(Was::Absent),
        Err(error) => Err(error),
    }
}

/// Tells whether an error means that nothing is at a path, since a folder on the way is missing or
/// is no folder.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    matches!(number, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Reads what has this name in an open folder, as [`look`] does for a path.
pub(crate) fn look_in(here: BorrowedFd<'_>, name: &OsStr) -> io::Result<Was> {
    let stat = match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Was::Absent),
        Err(error) => return Err(error.into()),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Was::Folder,
        FileType::Symlink => Was::Link(Bytes(rustix::fs::readlinkat(here, name, Vec::new())?.into_bytes())),
        FileType::RegularFile => match read(here, name, LARGEST) {
            Ok(Some(text)) => Was::File(File {
                whole: digest(&text),
                text: Bytes(text),
                hidden: Vec::new(),
                mode: permissions(&stat),
                owner: (stat.st_uid, stat.st_gid),
            }),
            _ => Was::Else,
        },
        _ => Was::Else,
    })
}

/// Returns the permissions, a number of 16 bits on macOS.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
pub(crate) fn permissions(stat: &rustix::fs::Stat) -> u32 {
    (stat.st_mode & 0o7777) as u32
}

/// Reads a regular file; returns nothing when it is larger than that, or is no regular file any
/// more.
pub(crate) fn read(here: BorrowedFd<'_>, name: &OsStr, most: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(here, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text)?;
    Ok((text.len() as u64 <= most).then_some(text))
}

/// Outcome for the file whose place another one took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Displaced {
    /// The displaced file was the one that had been looked at, or nothing that can be kept, and is
    /// gone.
    Known,
    /// Somebody had changed the displaced file meanwhile: it was put aside.
    PutAside,
}

/// Puts a file there in one step, whatever is there; a folder is put aside first.
pub(crate) fn replace(root: BorrowedFd<'_>, path: &Path, file: &File, id: &str) -> io::Result<Displaced> {
    replace_known(root, path, file, None, id)
}

/// Replaces a file as [`replace`] does, but removes the displaced file only if it has the content
/// `known`, which was judged: another program may have written there meanwhile.
#[allow(clippy::unnecessary_cast, reason = "not on macOS")]
pub(super) fn replace_known(
    root: BorrowedFd<'_>,
    path: &Path,
    file: &File,
    known: Option<&Digest>,
    id: &str,
) -> io::Result<Displaced> {
    let (here, name) = folder(root, path)?;
    let fresh = format!("ringfence-{}.tmp", random()?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut out = std::fs::File::from(rustix::fs::openat(&here, &fresh, flags, Mode::RUSR | Mode::WUSR)?);
    let mut write = || {
        let (user, group) = file.owner;
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if own != file.owner {
            use rustix::fs::{Gid, Uid};
            // Who is not root gives nothing away; the file is then its own, as it would be after
            // `git config`.
            let _ = rustix::fs::fchown(&out, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        }
        rustix::fs::fchmod(&out, Mode::from_raw_mode((file.mode & 0o777) as RawMode))?;
        out.write_all(&file.text.0)?;
        out.sync_all()?;
        let ours = Identity::of(&out)?;
        let displaced = exchange(here.as_fd(), OsStr::new(&fresh), name, ours, known, id)?;
        rustix::fs::fsync(&here)?;
        Ok(displaced)
    };
    let done = write();
    if done.is_err() && is_still(here.as_fd(), OsStr::new(&fresh), &out) {
        // The error is told; a file that is left beside it harms nobody.
        let _ = rustix::fs::unlinkat(&here, &fresh, AtFlags::empty());
    }
    done
}

/// Gives the fresh file its name, and takes away what had that name before.
fn exchange(
    here: BorrowedFd<'_>,
    fresh: &OsStr,
    name: &OsStr,
    ours: Identity,
    known: Option<&Digest>,
    id: &str,
) -> io::Result<Displaced> {
    let mut displaced = None;
    for _ in 0..TRIES {
        let moved = match look_in(here, name)? {
            Was::Absent => rename_new(here, fresh, name),
            Was::Folder => {
                aside(here, name, id)?;
                continue;
            }
            _ => rustix::fs::renameat_with(here, fresh, here, name, RenameFlags::EXCHANGE),
        };
        match moved {
            Err(Errno::EXIST | Errno::NOENT) => {}
            // File systems that cannot exchange.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if let Some(known) = known
                    && !is_known(here, name, known)
                {
                    aside(here, name, id)?;
                    displaced = Some(Displaced::PutAside);
                }
                rustix::fs::renameat(here, fresh, here, name)?;
                return is_there(here, name, ours).map(|()| displaced.unwrap_or(Displaced::Known));
            }
            Err(error) => return Err(error.into()),
            Ok(()) => {
                is_there(here, name, ours)?;
                return clear(here, fresh, known, name, id);
            }
        }
    }
    Err(io::Error::other("somebody changes it all the time"))
}

fn rename_new(here: BorrowedFd<'_>, fresh: &OsStr, name: &OsStr) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(here, fresh, here, name, RenameFlags::NOREPLACE)
}

/// Fails when another file stands in the place of ours.
fn is_there(here: BorrowedFd<'_>, name: &OsStr, ours: Identity) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match at::open_in(here, name, flags).map_err(io::Error::from).and_then(Identity::of) {
        Ok(now) if now == ours => Ok(()),
        _ => Err(io::Error::other("somebody changed it at the same moment")),
    }
}

/// Takes away what was displaced.
fn clear(
    here: BorrowedFd<'_>,
    fresh: &OsStr,
    known: Option<&Digest>,
    name: &OsStr,
    id: &str,
) -> io::Result<Displaced> {
    match look_in(here, fresh)? {
        Was::Absent => Ok(Displaced::Known),
        Was::File(old) if known.is_none_or(|known| old.whole == *known) => {
            rustix::fs::unlinkat(here, fresh, AtFlags::empty())?;
            Ok(Displaced::Known)
        }
        // An index is larger than any configuration.
        Was::Else if known.is_some_and(|known| is_known(here, fresh, known)) => {
            rustix::fs::unlinkat(here, fresh, AtFlags::empty())?;
            Ok(Displaced::Known)
        }
        Was::Link(_) | Was::Else if known.is_none() => {
            rustix::fs::unlinkat(here, fresh, AtFlags::empty())?;
            Ok(Displaced::Known)
        }
        _ => {
            aside_as(here, fresh, name, id)?;
            Ok(Displaced::PutAside)
        }
    }
}

/// Tells whether a large file has this content.
fn is_known(here: BorrowedFd<'_>, name: &OsStr, known: &Digest) -> bool {
    read(here, name, gitdir::LARGEST).is_ok_and(|text| text.is_some_and(|text| digest(&text) == *known))
}

/// Tells whether a name still leads to an open file.
fn is_still(here: BorrowedFd<'_>, name: &OsStr, file: &std::fs::File) -> bool {
    Identity::of(file).is_ok_and(|ours| is_there(here, name, ours).is_ok())
}

/// Puts a link there.
pub(crate) fn link(root: BorrowedFd<'_>, path: &Path, target: &[u8], id: &str) -> io::Result<()> {
    let (here, name) = folder(root, path)?;
    for _ in 0..TRIES {
        if look_in(here.as_fd(), name)? != Was::Absent {
            aside(here.as_fd(), name, id)?;
        }
        match rustix::fs::symlinkat(OsStr::from_bytes(target), &here, name) {
            Err(Errno::EXIST) => {}
            made => return Ok(made?),
        }
    }
    Err(io::Error::other("somebody changes it all the time"))
}

/// Gives what is there another name.
pub(super) fn put_aside(root: BorrowedFd<'_>, path: &Path, id: &str) -> io::Result<()> {
    let (here, name) = folder(root, path)?;
    aside(here.as_fd(), name, id)
}

/// Moves what is there into the root itself, under another name, which begins with `name`.
pub(super) fn put_aside_to(root: BorrowedFd<'_>, path: &Path, name: &str, id: &str) -> io::Result<()> {
    let (here, old) = folder(root, path)?;
    rename_aside(here.as_fd(), old, root, OsStr::new(name), id)
}

fn aside(here: BorrowedFd<'_>, name: &OsStr, id: &str) -> io::Result<()> {
    aside_as(here, name, name, id)
}

/// Gives `name` the other name that `called` would get.
fn aside_as(here: BorrowedFd<'_>, name: &OsStr, called: &OsStr, id: &str) -> io::Result<()> {
    rename_aside(here, name, here, called, id)
}

fn rename_aside(
    here: BorrowedFd<'_>,
    name: &OsStr,
    there: BorrowedFd<'_>,
    begins: &OsStr,
    id: &str,
) -> io::Result<()> {
    for _ in 0..100 {
        // A name that leaves no room for more must not keep what has it in its place.
        let begins = begins.as_bytes();
        let mut other = OsStr::from_bytes(&begins[..begins.len().min(LONGEST_BEGIN)]).to_owned();
        other.push(format!(".put-aside-{id}-{}", random()?));
        match rustix::fs::renameat_with(here, name, there, &other, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // File systems that cannot tell: the name is free, as far as one can see.
            Err(Errno::INVAL) if look_in(there, &other)? == Was::Absent => {
                return Ok(rustix::fs::renameat(here, name, there, &other)?);
            }
            other => return Ok(other?),
        }
    }
    Err(Errno::EXIST.into())
}

/// Returns a name that no agent can have taken before.
fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
