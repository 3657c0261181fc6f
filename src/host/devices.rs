//! Devices that a container has beyond the pseudo ones, as it finds them in its own `/dev`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Pseudo devices that every container has, by number (Linux, `admin-guide/devices.txt`), since a
/// name says nothing: null, zero, full, random, urandom; tty, ptmx.
const USUAL: [(u64, u64); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
/// Terminals made by ptmx.
const TERMINALS: std::ops::RangeInclusive<u64> = 136..=143;
/// Folders in one another, and entries in all, beyond which a `/dev` is nobody's.
const DEEPEST: usize = 8;
const MOST: usize = 10_000;

/// Returns the paths of all unusual devices in `dev`.
///
/// # Errors
/// When it cannot be looked at whole.
pub(crate) fn unusual(dev: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut left = MOST;
    look(dev, dev, 0, &mut left, &mut found)?;
    found.sort();
    Ok(found)
}

fn look(
    dev: &Path,
    folder: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<String>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("there is no end of entries"))?;
        // Not of what a link leads to: that is somewhere here, or no device of the container's.
        let meta = fs::symlink_metadata(&path)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            if depth == DEEPEST {
                return Err(io::Error::other(format!("{} is too deep", path.display())));
            }
            look(dev, &path, depth + 1, left, found)?;
        } else if kind.is_block_device() || kind.is_char_device() && !is_usual(meta.rdev()) {
            found.push(path.strip_prefix(dev).unwrap_or(&path).to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn is_usual(device: u64) -> bool {
    let (major, minor) = numbers(device);
    USUAL.contains(&(major, minor)) || TERMINALS.contains(&major)
}

/// Splits a device into major and minor number, as Linux puts them into one (`gnu_dev_major`).
fn numbers(device: u64) -> (u64, u64) {
    let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
    let minor = device & 0xff | (device >> 12) & !0xff;
    (major & 0xffff_ffff, minor & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_files_and_links() {
        let dev = tempfile::tempdir().unwrap();
        fs::create_dir_all(dev.path().join("bus/usb/001")).unwrap();
        fs::write(dev.path().join("bus/usb/001/002"), "").unwrap();
        std::os::unix::fs::symlink("/dev/kmsg", dev.path().join("stdin")).unwrap();
        assert_eq!(unusual(dev.path()).unwrap(), Vec::<String>::new());
        assert!(unusual(&dev.path().join("nothing")).is_err(), "what cannot be seen is not nothing");
    }

    #[test]
    fn devices_are_known_by_number() {
        let number = |path: &str| fs::metadata(path).unwrap().rdev();
        for usual in
            ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"]
        {
            assert!(is_usual(number(usual)), "{usual}");
        }
        // /dev/mem, the system's console, a disk, a card, kmsg, tun.
        for (major, minor) in [(1, 1), (5, 1), (8, 0), (226, 0), (1, 11), (10, 200), (510, 300_000)] {
            let device =
                (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32;
            assert_eq!(numbers(device), (major, minor));
            assert!(!is_usual(device), "{major}:{minor}");
        }
        assert_eq!(numbers(number("/dev/null")), (1, 3));
    }

    #[test]
    fn folders_without_end_are_an_error() {
        let dev = tempfile::tempdir().unwrap();
        fs::create_dir_all(dev.path().join("a/b/c/d/e/f/g/h/i/j")).unwrap();
        assert!(unusual(dev.path()).is_err());
    }
}
