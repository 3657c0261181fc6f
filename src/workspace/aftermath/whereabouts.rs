//! Search for the directory of a journal at its present place: that very directory is found, or
//! none.
//!
//! ```text
//!  its path ─▶ the same inode, born at the same time? ─▶ here
//!     │ no
//!     ├─▶ beside its old place, or where an agent was given it again ─▶ moved, and here
//!     ├─▶ every folder above is as it was, and nothing is mounted ────▶ gone: the journal ends with it
//!     └─▶ anything else (not mounted, something mounted over it) ─────▶ unclear: nothing is touched, the journal stays
//! ```
//! An inode's number is given again, so that it proves nothing by itself. Where a file system has
//! no time of birth, the repositories' own folders must be there as well, and the machine must not
//! have started anew.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Dir;
use rustix::io::Errno;

use super::place;
use super::record::Root;
use crate::host::identity::{Identity, mount_of};
use crate::host::path_walk::plain_folder;
use crate::host::territory;
use crate::workspace::held;

/// Entries beside the old place that are looked at.
const MOST_BESIDE: usize = 100_000;

/// Outcome of the search for a directory.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    /// The directory, open, is at this path.
    Here(OwnedFd, PathBuf),
    /// Nowhere that it can be found, for this reason.
    Gone(String),
    /// The directory's place cannot be told, for this reason.
    Unclear(String),
}

/// Lists what the folders from `/` down to a path without links are, the path's own last.
pub(super) fn way_to(path: &Path) -> io::Result<Vec<Identity>> {
    let mut here = plain_folder(None, OsStr::new("/"))?;
    let mut way = vec![Identity::of(&here)?];
    for name in names(path)? {
        here = plain_folder(Some(here.as_fd()), &name)?;
        way.push(Identity::of(&here)?);
    }
    Ok(way)
}

/// Finds the directory; `same_boot`: the machine has not started anew since it was written down.
pub(crate) fn find(root: &Root, same_boot: bool) -> Whereabouts {
    let path = root.path.path();
    let Some(was) = root.identity() else {
        return Whereabouts::Unclear("the record does not say what it was".to_owned());
    };
    if let Some(open) = open_if(&path, was, same_boot) {
        if was.born.is_some() || (same_boot && repositories_are_there(root, &open)) {
            return Whereabouts::Here(open, path);
        }
        return Whereabouts::Unclear(
            "its file system does not say when a folder was made, so that it may be another one with the same number".to_owned(),
        );
    }
    if was.born.is_some()
        && let Some((open, at)) = moved(&path, was, same_boot)
    {
        return Whereabouts::Here(open, at);
    }
    lost(root, &path, same_boot).unwrap_or_else(|error| Whereabouts::Unclear(error.to_string()))
}

/// Opens what is at a path if it is this.
fn open_if(path: &Path, was: Identity, same_boot: bool) -> Option<OwnedFd> {
    let open = held::reopen_directory(&held::open(path).ok()?).ok()?;
    was.is(Identity::of(&open).ok()?, same_boot).then_some(open)
}

fn repositories_are_there(root: &Root, open: &OwnedFd) -> bool {
    let is_there = |path: &Path, inode| place::made(open.as_fd(), path).is_ok_and(|now| now.inode == inode);
    root.folders.iter().any(|(path, made)| is_there(&path.path(), made.inode))
}

/// Looks for it beside its old place, and where agents were given directories since.
fn moved(path: &Path, was: Identity, same_boot: bool) -> Option<(OwnedFd, PathBuf)> {
    let beside = path.parent().into_iter().flat_map(|parent| beside(parent, was.inode).unwrap_or_default());
    let given = territory::known();
    let mut places = beside.chain(given.paths());
    places.find_map(|at| Some((open_if(&at, was, same_boot)?, at)))
}

fn beside(parent: &Path, inode: u64) -> io::Result<Vec<PathBuf>> {
    let parent_fd = held::reopen_directory(&held::open(parent)?)?;
    let listed = Dir::read_from(&parent_fd)?.take(MOST_BESIDE).filter_map(Result::ok);
    let same = listed.filter(|entry| entry.ino() == inode);
    Ok(same.map(|entry| parent.join(OsStr::from_bytes(entry.file_name().to_bytes()))).collect())
}

/// Tells a directory that is gone from one that only cannot be reached now.
fn lost(root: &Root, path: &Path, same_boot: bool) -> io::Result<Whereabouts> {
    let mut here = plain_folder(None, OsStr::new("/"))?;
    let mut now = Identity::of(&here)?;
    let mut recorded = root.way.iter();
    let Some(mut above) = recorded.next().copied() else { return Err(Errno::INVAL.into()) };
    if !above.is(now, same_boot) {
        return Ok(Whereabouts::Unclear("the folders of this machine are others now".to_owned()));
    }
    for (name, was) in names(path)?.into_iter().zip(recorded.copied()) {
        let one_file_system = above.device == was.device;
        let unclear =
            |what: &str| Ok(Whereabouts::Unclear(format!("{what} at the place of {}", name.display())));
        let below = match plain_folder(Some(here.as_fd()), &name) {
            Ok(below) => below,
            Err(error) if place::is_absent(&error) && one_file_system => {
                return Ok(Whereabouts::Gone("there is no such directory any more".to_owned()));
            }
            Err(error) if place::is_absent(&error) => return unclear("the file system is not mounted"),
            Err(error) => return Err(error),
        };
        let found = Identity::of(&below)?;
        if !was.is(found, same_boot) {
            let mounted = found.device != now.device || mount_of(&below) != mount_of(&here);
            return match (one_file_system, mounted) {
                (true, false) => Ok(Whereabouts::Gone("another directory is there now".to_owned())),
                _ => unclear("something else is mounted"),
            };
        }
        (here, now, above) = (below, found, was);
    }
    Ok(Whereabouts::Unclear("it could not be opened".to_owned()))
}

fn names(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name.to_owned()),
            _ => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Records a project as a journal does.
    fn project(at: &Path) -> Root {
        fs::create_dir_all(at.join(".git/objects")).unwrap();
        let made = place::made(fs::File::open(at).unwrap().as_fd(), Path::new(".git")).unwrap();
        Root {
            path: at.into(),
            way: way_to(at).unwrap(),
            pinned: vec![],
            risky: vec![],
            hooks: vec![],
            signs: None,
            folders: vec![(Path::new(".git").into(), made)],
            git: vec![],
            trees: vec![],
        }
    }

    fn shown(found: &Whereabouts) -> String {
        match found {
            Whereabouts::Here(_, at) => format!("here {}", at.file_name().unwrap().display()),
            Whereabouts::Gone(why) => format!("gone: {why}"),
            Whereabouts::Unclear(why) => format!("unclear: {why}"),
        }
    }

    #[test]
    fn a_directory_is_known_again_and_another_one_never_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("project");
        let root = project(&at);
        let look = || shown(&find(&root, true));
        assert_eq!(look(), "here project");
        assert_eq!(shown(&find(&root, false)), "here project", "the machine started anew");
        fs::rename(&at, at.with_file_name("moved")).unwrap();
        assert_eq!(look(), "here moved");
        fs::create_dir(&at).unwrap();
        assert_eq!(look(), "here moved", "another one has its name");
        fs::remove_dir_all(at.with_file_name("moved")).unwrap();
        assert_eq!(look(), "gone: another directory is there now");
        fs::remove_dir(&at).unwrap();
        assert_eq!(look(), "gone: there is no such directory any more");
        std::os::unix::fs::symlink(dir.path(), &at).unwrap();
        assert_eq!(look(), "gone: there is no such directory any more", "a link is followed nowhere");
    }

    /// Tries a new project that got the inode of an old one.
    #[test]
    fn an_inode_that_was_given_again_is_another_directory() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("project");
        let root = project(&at);
        let was = root.identity().unwrap();
        let mut again = false;
        for _ in 0..200 {
            fs::remove_dir_all(&at).unwrap();
            project(&at);
            let now = Identity::of(fs::File::open(&at).unwrap()).unwrap();
            again |= now.inode == was.inode;
            assert!(matches!(find(&root, true), Whereabouts::Gone(_)), "{was:?} {now:?}");
            if again {
                break;
            }
        }
        // Without a file system that gives the number again: as it would be written down.
        let mut root = project(&at);
        root.way.last_mut().unwrap().born = was.born.map(|born| born - 1);
        assert!(matches!(find(&root, true), Whereabouts::Gone(_)), "inode given again: {again}");
    }

    #[test]
    fn without_a_time_of_birth_the_repositories_decide_until_the_machine_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("project");
        let mut root = project(&at);
        let was = root.identity().unwrap();
        let unborn = Identity { born: None, ..was };
        assert!(!unborn.is(was, true), "it says so now, and did not then");
        assert!(unborn.is(unborn, true) && unborn.is(unborn, false));
        let open = fs::File::open(&at).unwrap().into();
        assert!(repositories_are_there(&root, &open));
        root.folders[0].1.inode += 1;
        assert!(!repositories_are_there(&root, &open));
    }

    #[test]
    fn what_is_only_not_reached_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("disk/project");
        let root = project(&at);
        // As it looks when the project lay on another file system, which is not mounted now.
        let mut elsewhere = root.clone();
        let [.., disk, own] = &mut elsewhere.way[..] else { panic!() };
        (disk.device, disk.inode, own.device) = (disk.device + 1, disk.inode + 1, own.device + 1);
        assert!(shown(&find(&elsewhere, false)).starts_with("here"), "{:?}", find(&elsewhere, false));
        fs::rename(&at, dir.path().join("project")).unwrap();
        assert_eq!(
            shown(&find(&elsewhere, false)),
            "unclear: something else is mounted at the place of disk"
        );
        assert!(matches!(find(&root, true), Whereabouts::Gone(_)), "the control");
        let mut machine = root.clone();
        machine.way[0].inode += 1;
        assert!(matches!(find(&machine, true), Whereabouts::Unclear(_)), "another machine's");
    }
}
