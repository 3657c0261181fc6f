//! The number of times that a run lists each folder of a project: what grows with the project's
//! size is counted here, and not timed.

use std::collections::BTreeMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use super::find::{Look, find};
use crate::workspace::masks::{self, Wishes};
use crate::workspace::survey::Survey;

const FOLDERS: usize = 40;
const FILES: usize = 5;

/// Makes a project of folders in folders, each with some files; its folders but the first.
fn project(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for number in 0..FOLDERS {
        let above = if number % 4 == 0 { root } else { folders.last().map_or(root, PathBuf::as_path) };
        let folder = above.join(format!("folder{number}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(format!("file{file}.txt")), "text\n").unwrap();
        }
        folders.push(folder);
    }
    folders
}

/// Counts how often each of these folders is opened meanwhile; by the kernel's notices, so that no
/// way to open one is left out. Returns each count, and the number of folders that it is true of.
fn opened(folders: &[PathBuf], meanwhile: impl FnOnce()) -> BTreeMap<u32, usize> {
    let notices = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let mut counts = BTreeMap::new();
    for folder in folders {
        // With the closing: two equal notices in a row are one.
        let flags = WatchFlags::OPEN | WatchFlags::CLOSE | WatchFlags::ONLYDIR;
        counts.insert(add_watch(&notices, folder, flags).unwrap(), 0);
    }
    meanwhile();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(&notices, &mut buffer);
    loop {
        match reader.next() {
            // A file has its name.
            Ok(notice) if notice.file_name().is_none() && notice.events().contains(ReadFlags::OPEN) => {
                *counts.get_mut(&notice.wd()).unwrap() += 1;
            }
            Ok(notice) => assert!(!notice.events().contains(ReadFlags::QUEUE_OVERFLOW)),
            Err(Errno::AGAIN) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let mut folders = BTreeMap::new();
    counts.into_values().for_each(|count| *folders.entry(count).or_default() += 1);
    folders
}

#[test]
fn each_look_at_a_project_lists_each_folder_as_often_as_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let folders = project(&root);
    let open = || fs::File::open(&root).unwrap();
    let all = |times| BTreeMap::from([(times, FOLDERS)]);
    // The control: a listing counts, and one more counts once more.
    let list = || assert!(fs::read_dir(&folders[0]).unwrap().count() > FILES);
    assert_eq!(opened(&folders, list), BTreeMap::from([(0, FOLDERS - 1), (1, 1)]));
    assert_eq!(opened(&folders, || (0..2).for_each(|_| list())), BTreeMap::from([(0, FOLDERS - 1), (2, 1)]));
    let survey = || drop(Survey::of(open().into(), &root, &[]).unwrap());
    assert_eq!(opened(&folders, survey), all(1), "links out and sockets");
    // Once, and once more to know that nothing moved.
    let plan = || drop(masks::plan(&root, &Wishes::default()).unwrap());
    assert_eq!(opened(&folders, plan), all(2), "covers");
    // What runs code, repositories, signs, and the list of files for a review: all in one.
    let before = || {
        assert_eq!(count(&find(open().as_fd(), Look::default()).unwrap().listing.bytes()), FOLDERS * FILES)
    };
    assert_eq!(opened(&folders, before), all(1), "before the run");
    let after = || drop(find(open().as_fd(), Look { after: true, ..Look::default() }).unwrap());
    assert_eq!(opened(&folders, after), all(1), "after the run");
}

/// Counts the files of a listing.
fn count(listing: &[u8]) -> usize {
    listing.split(|byte| *byte == 0).filter(|line| !line.is_empty()).count() - 1
}
