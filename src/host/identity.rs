//! Identity of a folder: facts that tell it from every other one, also from a later one at the same
//! path or with the same inode.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A file or folder of this machine.
///
/// A device's number lasts until the machine starts anew. An inode's number is given again once its
/// file is gone: the time of its birth then differs. A file system that has no such time leaves it
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The file system's device.
    pub(crate) device: u64,
    /// The inode.
    pub(crate) inode: u64,
    /// Nanoseconds of Unix time at which the inode was given.
    pub(crate) born: Option<u64>,
}

impl Identity {
    /// Tells whether the file found now is this one. Two births at one moment with one inode number
    /// are one file, whatever its device is called. Without a time of birth the device decides,
    /// whose number holds until the machine starts anew.
    pub(crate) fn is(self, now: Identity, same_boot: bool) -> bool {
        let device = self.device == now.device || (!same_boot && self.born.is_some());
        self.inode == now.inode && self.born == now.born && device
    }

    /// Reads the identity of an open file.
    pub(crate) fn of(open: impl AsFd) -> io::Result<Identity> {
        let meta = File::from(open.as_fd().try_clone_to_owned()?).metadata()?;
        let since = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Ok(Identity { device: meta.dev(), inode: meta.ino(), born })
    }
}

/// Returns the number of the mount that something open was reached by: where another file system is
/// mounted over a folder, the path leads through another mount.
#[cfg(target_os = "linux")]
pub(crate) fn mount_of(open: impl AsFd) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags};
    let found = rustix::fs::statx(open, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id)
}

/// Returns nothing: there are no such numbers.
#[cfg(target_os = "macos")]
pub(crate) fn mount_of(_: impl AsFd) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_was_made_anew_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        let made = || {
            fs::create_dir(&path).unwrap();
            let identity = Identity::of(File::open(&path).unwrap()).unwrap();
            fs::remove_dir(&path).unwrap();
            identity
        };
        let first = made();
        if first.born.is_none() {
            eprintln!("skipped: this file system has no time of birth");
            return;
        }
        // The inode is often the same, which is what this is about.
        assert!((0..50).all(|_| made() != first));
    }
}
