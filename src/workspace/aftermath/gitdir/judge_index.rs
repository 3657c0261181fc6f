//! Judgement of an index after a run: which entries may stay, and which of their bits.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{FOLDER, GITLINK, Index, LINK};
use super::paths;

/// The name of the empty file, by which git marks what is to be added later.
const EMPTY: [&str; 2] = [
    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
];

/// Assume-unchanged, and skip-worktree.
pub(crate) type Marks = (bool, bool);

/// Facts beside the index that the judgement needs.
pub(crate) struct Beside<'a> {
    /// Paths that the person marked so that git does not look at them.
    pub(crate) hiding: &'a BTreeMap<&'a [u8], Marks>,
    /// Tells whether something is at a path of the working tree.
    pub(crate) is_there: &'a dyn Fn(&[u8]) -> bool,
    /// Set when the file system takes `A` and `a` for one name.
    pub(crate) folds: bool,
}

/// An index as it is to be after the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The entries that stay.
    pub(crate) index: Index,
    /// Paths that git would write where it runs, or follows, what lies there.
    pub(crate) out: Vec<Vec<u8>>,
    /// Paths whose changes git would not have shown.
    pub(crate) shown: Vec<Vec<u8>>,
}

/// Judges an index; nothing where it holds what nobody can judge.
pub(crate) fn judge(index: Index, beside: &Beside<'_>) -> Option<Judged> {
    let mut judged =
        Judged { index: Index { entries: Vec::new(), ..index }, out: Vec::new(), shown: Vec::new() };
    let folded = |path: &[u8]| match beside.folds {
        true => String::from_utf8_lossy(path).to_lowercase().into_bytes(),
        false => path.to_vec(),
    };
    // Below a file, or a link, nothing can be.
    let files: BTreeSet<Vec<u8>> = index
        .entries
        .iter()
        .filter(|entry| entry.stage == 0 && entry.mode != FOLDER)
        .filter(|entry| !beside.folds || entry.mode == LINK)
        .map(|entry| folded(&entry.path))
        .collect();
    for mut entry in index.entries {
        if entry.mode == FOLDER {
            let folder = entry.path.strip_suffix(b"/")?;
            let whole = entry.skip && !entry.intent && paths::is_good(folder, false);
            // What is there would have to be taken apart, for which objects are needed.
            if !whole || (beside.is_there)(folder) {
                return None;
            }
            judged.index.entries.push(entry);
            continue;
        }
        let path = folded(&entry.path);
        let below_a_file =
            path.iter().enumerate().any(|(at, byte)| *byte == b'/' && files.contains(&path[..at]));
        if !is_mode(entry.mode) || !paths::is_good(&entry.path, entry.mode == LINK) || below_a_file {
            judged.out.push(entry.path);
            continue;
        }
        let is_there = entry.skip && (beside.is_there)(&entry.path);
        let (valid, skip) = beside.hiding.get(entry.path.as_slice()).copied().unwrap_or_default();
        if (entry.valid && !valid) || (is_there && !skip) {
            judged.shown.push(entry.path.clone());
        }
        // One that is not there may be left out of a sparse checkout.
        (entry.valid, entry.skip) = (valid, skip || (entry.skip && !is_there));
        entry.intent &= EMPTY.contains(&hex::encode(&entry.object).as_str());
        judged.index.entries.push(entry);
    }
    Some(judged)
}

fn is_mode(mode: u32) -> bool {
    matches!(mode, 0o100_644 | 0o100_755 | LINK | GITLINK)
}

#[cfg(test)]
mod tests {
    use super::super::index::Entry;
    use super::*;

    fn entry(path: &str, mode: u32) -> Entry {
        Entry {
            path: path.into(),
            mode,
            object: vec![1; 20],
            stage: 0,
            valid: false,
            skip: false,
            intent: false,
            stat: [0; 10],
        }
    }

    fn judged(entries: Vec<Entry>, folds: bool) -> Judged {
        let hiding = BTreeMap::from([(b"mine".as_slice(), (true, true))]);
        let beside = Beside { hiding: &hiding, is_there: &|path| path != b"absent", folds };
        judge(Index { version: 2, entries, base: None }, &beside).unwrap()
    }

    #[test]
    fn nothing_stays_that_git_would_write_where_it_runs_it() {
        let file = 0o100_644;
        let one = judged(
            vec![
                entry(".git/hooks/post-checkout", 0o100_755),
                entry("a", LINK),
                entry("a/hooks/x", file),
                entry("b", file),
                entry("b/c", file),
                entry("c", 0o100_777),
                entry("d/e", file),
                entry("f", GITLINK),
            ],
            false,
        );
        let paths: Vec<_> = one.index.entries.iter().map(|entry| entry.path.as_slice()).collect();
        assert_eq!(paths, [b"a".as_slice(), b"b", b"d/e", b"f"]);
        assert_eq!(one.out.len(), 4);
        let entries =
            || vec![entry("A/post-checkout", file), entry("a", LINK), entry("b", file), entry("B/c", file)];
        assert_eq!((judged(entries(), true).out.len(), judged(entries(), false).out.len()), (1, 0));
    }

    #[test]
    fn only_a_persons_own_bits_hide_a_file_that_is_there() {
        let marked = |path: &str, valid, skip| Entry { valid, skip, ..entry(path, 0o100_644) };
        let one = judged(
            vec![
                marked("absent", false, true),
                marked("mine", true, false),
                marked("x", true, false),
                marked("y", false, true),
            ],
            false,
        );
        let bits: Vec<_> = one.index.entries.iter().map(|entry| (entry.valid, entry.skip)).collect();
        assert_eq!(bits, [(false, true), (true, true), (false, false), (false, false)]);
        assert_eq!(one.shown, [b"x".to_vec(), b"y".to_vec()]);
        let later = |object: &str| Entry {
            intent: true,
            object: hex::decode(object).unwrap(),
            ..entry("z", 0o100_644)
        };
        let one = judged(vec![later(EMPTY[0])], false);
        assert!(one.index.entries[0].intent);
        assert!(!judged(vec![later(&"1".repeat(40))], false).index.entries[0].intent);
    }

    #[test]
    fn a_folder_of_a_sparse_index_stays_where_nothing_is() {
        let beside = Beside { hiding: &BTreeMap::new(), is_there: &|path| path == b"there", folds: false };
        let sparse = |path: &str, skip| {
            judge(
                Index { version: 2, entries: vec![Entry { skip, ..entry(path, FOLDER) }], base: None },
                &beside,
            )
        };
        assert!(sparse("away/", true).is_some());
        for (path, skip) in [("there/", true), ("away/", false), ("away", true), (".git/", true)] {
            assert_eq!(sparse(path, skip), None, "{path}");
        }
    }
}
