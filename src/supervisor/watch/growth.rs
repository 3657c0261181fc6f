//! Growth of a directory that an agent can write: blocks on disk, counted by walking it.
//!
//! ```text
//!  before the agent starts: measure ─▶ base        every few seconds: measure ─▶ now        added = now − base
//! ```
//!
//! The agent may make the tree as nasty as it likes while it is walked: no link is followed, no
//! other file system entered, and depth, number and time are bounded. What cannot be looked into (a
//! directory without the right to list it, beyond a bound) is no hiding place: the loss of free
//! space of the file system counts then, whatever process caused it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{FileType, Stat};

use crate::host::walk::{Bounds, Walked, walk};

const BOUNDS: Bounds = Bounds { depth: 200, entries: 4_000_000, time: Duration::from_secs(20) };
/// Cost of an entry besides its blocks: millions of empty files fill a disk too.
const ENTRY: u64 = 256;

/// A directory's size at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    bytes: u64,
    /// Files and folders.
    entries: u64,
    /// Inodes of directories that could not be looked into.
    hidden: HashSet<u64>,
    /// Tells whether a bound ended the walk.
    cut_short: bool,
    /// Free space of the file system.
    free: u64,
}

impl Measure {
    fn add(&mut self, stat: &Stat) {
        // st_blocks counts 512 bytes, whatever the file system's blocks are.
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        self.bytes = self.bytes.saturating_add(blocks).saturating_add(ENTRY);
        self.entries += 1;
    }

    /// Files and folders that came in between. Of what cannot be looked into, nobody knows them;
    /// bytes count there.
    pub(super) fn entries_since(&self, base: &Measure) -> u64 {
        self.entries.saturating_sub(base.entries)
    }

    /// Returns the growth since then, in bytes.
    pub(super) fn added_since(&self, base: &Measure) -> u64 {
        let whole = !self.cut_short && self.hidden.is_subset(&base.hidden);
        if whole && !base.cut_short {
            self.bytes.saturating_sub(base.bytes)
        } else {
            base.free.saturating_sub(self.free)
        }
    }
}

/// Measures the tree below `root`, which may be a file.
pub(super) fn measure(root: OwnedFd) -> std::io::Result<Measure> {
    let space = rustix::fs::fstatvfs(&root)?;
    let mut measure = Measure { free: space.f_bfree.saturating_mul(space.f_frsize), ..Measure::default() };
    let stat = rustix::fs::fstat(&root)?;
    measure.add(&stat);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(measure);
    }
    // Files with several names count once.
    let mut linked = HashSet::new();
    let mut hidden = HashSet::new();
    let walked = walk(
        root,
        BOUNDS,
        |entry| {
            let several = entry.kind() != FileType::Directory && entry.stat.st_nlink > 1;
            if entry.stat.st_dev == stat.st_dev && (!several || linked.insert(entry.stat.st_ino)) {
                measure.add(entry.stat);
            }
        },
        |directory| {
            hidden.insert(directory.st_ino);
        },
    )?;
    Ok(Measure { hidden, cut_short: walked == Walked::CutShort, ..measure })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn measure_at(path: &Path) -> std::io::Result<Measure> {
        measure(std::fs::File::open(path)?.into())
    }

    fn grown(change: impl FnOnce(&Path)) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there before"), vec![1; 1 << 20]).unwrap();
        let base = measure_at(dir.path()).unwrap();
        change(dir.path());
        measure_at(dir.path()).unwrap().added_since(&base)
    }

    #[test]
    fn only_what_was_added_counts() {
        assert_eq!(grown(|_| {}), 0);
        let added = grown(|dir| {
            std::fs::create_dir_all(dir.join("a/b")).unwrap();
            std::fs::write(dir.join("a/b/c"), vec![1; 3 << 20]).unwrap();
        });
        assert!((3 << 20..4 << 20).contains(&added), "{added}");
        assert_eq!(grown(|dir| std::fs::remove_file(dir.join("there before")).unwrap()), 0);
    }

    #[test]
    fn files_count_one_by_one_however_small() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: String| std::fs::File::create(dir.path().join(name)).unwrap();
        file("there before".to_owned());
        let base = measure_at(dir.path()).unwrap();
        (0..100).for_each(|number| drop(file(number.to_string())));
        std::fs::hard_link(dir.path().join("1"), dir.path().join("once more")).unwrap();
        let now = measure_at(dir.path()).unwrap();
        assert_eq!((now.entries_since(&base), base.entries_since(&now)), (100, 0));
    }

    #[test]
    fn holes_links_and_further_names_take_no_space() {
        let added = grown(|dir| {
            std::fs::File::create(dir.join("hole")).unwrap().set_len(1 << 40).unwrap();
            std::os::unix::fs::symlink("/", dir.join("root")).unwrap();
            for number in 0..10 {
                std::fs::hard_link(dir.join("there before"), dir.join(number.to_string())).unwrap();
            }
        });
        assert!(added < 64 << 10, "{added}");
    }

    #[test]
    fn what_cannot_be_looked_into_counts_by_the_free_space() {
        let base = Measure { bytes: 10, free: 1000, ..Measure::default() };
        let hidden = Measure { hidden: HashSet::from([7]), bytes: 10, free: 400, ..Measure::default() };
        assert_eq!(hidden.added_since(&base), 600);
        assert_eq!(Measure { cut_short: true, ..hidden.clone() }.added_since(&base), 600);
        // One that was there before the agent hides nothing new.
        assert_eq!(hidden.added_since(&Measure { hidden: HashSet::from([7, 8]), ..base }), 0);
    }

    #[test]
    fn a_tree_deeper_than_the_bound_ends_the_walk_well() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join(vec!["d"; BOUNDS.depth + 20].join("/"));
        std::fs::create_dir_all(deep).unwrap();
        assert!(measure_at(dir.path()).unwrap().cut_short);
    }
}
