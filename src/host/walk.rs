//! Walking a directory that an agent may write, and may change meanwhile.
//!
//! By descriptors, so that no link is followed whatever is swapped; on one file system; bounded in
//! depth, number and time.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::host::at::open_in;

/// Bounds of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Directories below each other; each keeps a descriptor.
    pub(crate) depth: usize,
    /// Entries.
    pub(crate) entries: u64,
    /// Time.
    pub(crate) time: Duration,
}

/// One entry.
pub(crate) struct Entry<'a> {
    /// The directory that it is in.
    pub(crate) here: BorrowedFd<'a>,
    /// Name in the folder.
    pub(crate) name: &'a CStr,
    /// Stat data of the entry.
    pub(crate) stat: &'a Stat,
    above: &'a [CString],
}

impl Entry<'_> {
    /// Returns the kind of the file.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns the entry's path below the root.
    pub(crate) fn path(&self) -> PathBuf {
        let names = self.above.iter().map(CString::as_c_str).chain([self.name]);
        names.map(|name| OsStr::from_bytes(name.to_bytes())).collect()
    }
}

/// Outcome of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Everything was seen, but for what was reported as hidden.
    Whole,
    /// A bound ended it, or a part of it.
    CutShort,
}

/// Shows every entry below `root` to `visit`; directories that cannot be looked into also to
/// `hidden`.
pub(crate) fn walk(
    root: OwnedFd,
    bounds: Bounds,
    mut visit: impl FnMut(&Entry<'_>),
    mut hidden: impl FnMut(&Stat),
) -> rustix::io::Result<Walked> {
    let until = Instant::now() + bounds.time;
    let device = rustix::fs::fstat(&root)?.st_dev;
    let mut walked = Walked::Whole;
    let mut entries = 0u64;
    let mut open = vec![Dir::new(root)?];
    let mut above: Vec<CString> = Vec::new();
    loop {
        let depth = open.len();
        let Some(dir) = open.last_mut() else { return Ok(walked) };
        let Some(listed) = dir.next() else {
            open.pop();
            above.pop();
            continue;
        };
        // One that vanished while it was listed is gone.
        let Ok(listed) = listed else { continue };
        let name = listed.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        entries += 1;
        if entries > bounds.entries || (entries.is_multiple_of(512) && Instant::now() > until) {
            return Ok(Walked::CutShort);
        }
        let Ok(here) = dir.fd() else { continue };
        let Ok(stat) = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let entry = Entry { here, name, stat: &stat, above: &above };
        visit(&entry);
        if entry.kind() != FileType::Directory || stat.st_dev != device {
            continue;
        }
        if depth >= bounds.depth {
            walked = Walked::CutShort;
            continue;
        }
        match open_in(here, name, OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new) {
            Ok(below) => {
                above.push(name.to_owned());
                open.push(below);
            }
            // What is mounted there is not the directory's, also where it is of the same file
            // system.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(_) => hidden(&stat),
        }
    }
}
