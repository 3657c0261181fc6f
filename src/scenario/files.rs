//! Files that an agent left in the copy of the project, looked at by descriptor: nothing in them
//! leads out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::capture::{Captured, MOST};
use super::outcome::FileState;
use crate::host::at;

/// Looks at paths of a copy.
pub(super) fn look<'p>(copy: &Path, paths: impl Iterator<Item = &'p str>) -> BTreeMap<String, FileState> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(copy, flags, Mode::empty());
    paths
        .map(|path| {
            let state = match &root {
                Ok(root) => state(root.as_fd(), Path::new(path)),
                Err(error) => FileState::Unknown(error.to_string()),
            };
            (path.to_owned(), state)
        })
        .collect()
}

fn state(root: BorrowedFd<'_>, path: &Path) -> FileState {
    let kind = |kind| FileState::Other(kind);
    let name = match at::open_below(root, path, at::NAME_ONLY) {
        Ok(name) => name,
        Err(Errno::NOENT | Errno::NOTDIR) => return FileState::Absent,
        Err(Errno::LOOP) => return kind("a link, or behind one"),
        Err(Errno::XDEV) => return kind("something on another file system"),
        Err(error) => return FileState::Unknown(error.to_string()),
    };
    let Ok(stat) = rustix::fs::fstat(&name) else { return FileState::Unknown("it has no kind".to_owned()) };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return kind("a folder"),
        FileType::Symlink => return kind("a link, or behind one"),
        _ => return kind("a socket, pipe or device"),
    }
    // Nobody changes it any more: the agent has ended. A pipe in its place would not be waited for.
    let opened = at::open_below(root, path, OFlags::RDONLY | OFlags::NONBLOCK);
    let mut bytes = Vec::new();
    let read = opened
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).take(MOST as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => {
            let is_cut_short = bytes.len() > MOST;
            bytes.truncate(MOST);
            FileState::File(Captured { bytes, is_cut_short })
        }
        Err(error) => FileState::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_an_agent_left_is_looked_at_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy");
        fs::create_dir_all(copy.join("sub")).unwrap();
        fs::write(folder.path().join("outside"), "secret").unwrap();
        fs::write(copy.join("sub/file"), "text").unwrap();
        symlink("../outside", copy.join("link")).unwrap();
        symlink("..", copy.join("up")).unwrap();
        nix::unistd::mkfifo(&copy.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let paths = ["sub/file", "sub", "link", "up/outside", "pipe", "none", "sub/file/below"];
        let found = look(&copy, paths.into_iter());
        assert_eq!(
            found["sub/file"],
            FileState::File(Captured { bytes: b"text".to_vec(), is_cut_short: false })
        );
        for (path, kind) in [
            ("sub", "a folder"),
            ("link", "a link, or behind one"),
            ("up/outside", "a link, or behind one"),
            ("pipe", "a socket, pipe or device"),
        ] {
            assert_eq!(found[path], FileState::Other(kind), "{path}");
        }
        assert_eq!((&found["none"], &found["sub/file/below"]), (&FileState::Absent, &FileState::Absent));
        assert!(matches!(look(&copy.join("gone"), ["x"].into_iter())["x"], FileState::Unknown(_)));
    }
}
