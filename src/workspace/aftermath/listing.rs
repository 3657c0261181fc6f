//! Every file below a directory, and when it was changed last: so that it can be said later which
//! were touched.
//!
//! Nobody but the kernel sets the time of a change, so two equal ones mean that nothing was written
//! in between.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Stat};

use crate::host::walk::{Bounds, Entry, Walked, walk};
use crate::workspace::held;

const BOUNDS: Bounds = Bounds { depth: 200, entries: MOST, time: Duration::from_secs(20) };
/// The most files that are listed.
const MOST: u64 = 1_000_000;
/// The first words of a listing that is complete, and of another.
const HEADS: [&[u8]; 2] = [b"whole\0", b"part\0"];

/// The files of a directory; what lies below a folder `.git` is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Time of each file's last change: seconds and nanoseconds.
    pub(crate) files: BTreeMap<PathBuf, (i64, i64)>,
    /// Set when the listing is complete.
    pub(crate) whole: bool,
}

/// Lists what is below `root`, open.
pub(crate) fn list(root: BorrowedFd<'_>) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let walked = walk(
        held::reopen_directory(root)?,
        BOUNDS,
        |entry| {
            if is_listed(entry) {
                listing.files.insert(entry.path(), changed(entry.stat));
            }
        },
        |_| {},
    )?;
    listing.whole = walked == Walked::Whole;
    Ok(listing)
}

/// Tells whether an entry is part of a listing.
fn is_listed(entry: &Entry<'_>) -> bool {
    entry.kind() != FileType::Directory && !entry.folder.iter().any(|part| part == ".git")
}

/// Returns the time of a file's last change.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ between systems")]
fn changed(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime as i64, stat.st_ctime_nsec as i64)
}

/// A listing as bytes, made during a walk: a first word, then a time and a path for each file, in
/// no order.
#[derive(Debug, Default)]
pub(crate) struct ListingBytes {
    files: Vec<u8>,
    count: u64,
    is_part: bool,
}

impl ListingBytes {
    /// Takes in an entry, with its path.
    pub(crate) fn take_in(&mut self, entry: &Entry<'_>, path: &Path) {
        if !is_listed(entry) {
            return;
        }
        if self.count == MOST {
            return self.is_part();
        }
        self.count += 1;
        let (seconds, part) = changed(entry.stat);
        // Writing into memory does not fail.
        let _ = write!(self.files, "{seconds}.{part} ");
        self.files.extend_from_slice(path.as_os_str().as_bytes());
        self.files.push(0);
    }

    /// Notes that there are files that are not listed.
    pub(crate) fn is_part(&mut self) {
        self.is_part = true;
    }

    /// Takes in the files of another part of the directory.
    pub(crate) fn append(&mut self, other: ListingBytes) {
        self.is_part |= other.is_part;
        if self.count + other.count > MOST {
            return self.is_part();
        }
        self.count += other.count;
        self.files.extend_from_slice(&other.files);
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [HEADS[usize::from(self.is_part)], &self.files].concat()
    }
}

impl Listing {
    /// Reads those bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Listing> {
        let mut lines = bytes.split(|byte| *byte == 0);
        let whole = lines.next()? == b"whole";
        let mut listing = Listing { whole, ..Listing::default() };
        for line in lines.filter(|line| !line.is_empty()) {
            let space = line.iter().position(|byte| *byte == b' ')?;
            let (seconds, part) = std::str::from_utf8(&line[..space]).ok()?.split_once('.')?;
            let path = Path::new(OsStr::from_bytes(&line[space + 1..]));
            listing.files.insert(path.to_owned(), (seconds.parse().ok()?, part.parse().ok()?));
        }
        Some(listing)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::find::{Look, find};
    use super::*;

    #[test]
    fn what_is_listed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a b", "d/\n", ".git/config", "d/.git/x/y", ".gitignore"] {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(path), "").unwrap();
        }
        let root = std::fs::File::open(dir.path()).unwrap();
        let listing = list(root.as_fd()).unwrap();
        let bytes = find(root.as_fd(), Look::default()).unwrap().listing.bytes();
        let paths: Vec<_> = listing.files.keys().filter_map(|path| path.to_str()).collect();
        assert_eq!(paths, [".gitignore", "a b", "d/\n"]);
        assert_eq!(Listing::read(&bytes), Some(listing));
        let empty = ListingBytes::default().bytes();
        assert_eq!(Listing::read(&empty), Some(Listing { whole: true, ..Listing::default() }));
        assert_eq!(Listing::read(b"whole\0x a\0"), None);
    }
}
