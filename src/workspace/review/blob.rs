//! The name that git would give to a file of a working tree, without git: no filter, no conversion
//! but that of line ends.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use sha1::Digest as _;

use crate::workspace::aftermath::place;
use crate::workspace::versions::without_returns;

/// Larger files are not looked into: that they were touched is all that is said.
const LARGEST: u64 = 256 << 20;

/// Tells whether a file is the object that git had at its path; only the form of line ends may
/// differ.
pub(crate) fn is(root: BorrowedFd<'_>, path: &Path, mode: &str, object: &str) -> io::Result<bool> {
    let (here, name) = place::folder(root, path)?;
    let stat = rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let bytes = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink if mode == "120000" => {
            rustix::fs::readlinkat(&here, name, Vec::new())?.into_bytes()
        }
        FileType::RegularFile if mode == "100755" || mode == "100644" => {
            if (stat.st_mode & 0o100 != 0) != (mode == "100755") {
                return Ok(false);
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = std::fs::File::from(rustix::fs::openat(&here, name, flags, Mode::empty())?);
            let mut bytes = Vec::new();
            if !file.metadata()?.is_file() || file.take(LARGEST + 1).read_to_end(&mut bytes)? as u64 > LARGEST
            {
                return Ok(false);
            }
            bytes
        }
        _ => return Ok(false),
    };
    Ok(name_of(&bytes, object.len()) == object || {
        let plain = without_returns(&bytes);
        plain.len() != bytes.len() && name_of(&plain, object.len()) == object
    })
}

fn name_of(bytes: &[u8], digits: usize) -> String {
    let head = format!("blob {}\0", bytes.len());
    match digits {
        64 => hex::encode(sha2::Sha256::new().chain_update(&head).chain_update(bytes).finalize()),
        _ => hex::encode(sha1::Sha1::new().chain_update(&head).chain_update(bytes).finalize()),
    }
}

/// Returns a path as text, so that it is shown in one way everywhere.
pub(crate) fn text(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}

/// Tells whether a path can be opened without a link on the way.
pub(crate) fn is_plain(root: BorrowedFd<'_>, path: &Path) -> bool {
    place::open_folder(root.as_fd(), path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gits_own() {
        assert_eq!(name_of(b"", 40), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(name_of(b"", 64), "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813");
        assert_eq!(without_returns(b"a\r\nb\rc\r\n\r"), b"a\nb\rc\n\r");
    }
}
