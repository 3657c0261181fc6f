//! Every file below a directory, and when it was changed last: so that it can be said later which
//! were touched.
//!
//! Nobody but the kernel sets the time of a change, so two equal ones mean that nothing was written
//! in between.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use crate::host::walk::{Bounds, Walked, walk};
use crate::workspace::held;

const BOUNDS: Bounds = Bounds { depth: 200, entries: 1_000_000, time: Duration::from_secs(20) };

/// The files of a directory; what lies below a folder `.git` is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Time of each file's last change: seconds and nanoseconds.
    pub(crate) files: BTreeMap<PathBuf, (i64, i64)>,
    /// Set when the listing is complete.
    pub(crate) whole: bool,
}

/// Lists what is below `root`, open.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ between systems")]
pub(crate) fn list(root: BorrowedFd<'_>) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let walked = walk(
        held::reopen_directory(root)?,
        BOUNDS,
        |entry| {
            if entry.kind() == FileType::Directory {
                return;
            }
            let path = entry.path();
            let is_gits = path.parent().is_some_and(|folder| folder.iter().any(|part| part == ".git"));
            if !is_gits {
                let changed = (entry.stat.st_ctime as i64, entry.stat.st_ctime_nsec as i64);
                listing.files.insert(path, changed);
            }
        },
        |_| {},
    )?;
    listing.whole = walked == Walked::Whole;
    Ok(listing)
}

impl Listing {
    /// Writes the listing as bytes: a first word, then a time and a path for each file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = if self.whole { b"whole\0".to_vec() } else { b"part\0".to_vec() };
        for (path, (seconds, part)) in &self.files {
            bytes.extend_from_slice(format!("{seconds}.{part} ").as_bytes());
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        bytes
    }

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
        let paths: Vec<_> = listing.files.keys().filter_map(|path| path.to_str()).collect();
        assert_eq!(paths, [".gitignore", "a b", "d/\n"]);
        assert_eq!(Listing::read(&listing.bytes()), Some(listing));
        assert_eq!(Listing::read(b"whole\0x a\0"), None);
    }
}
