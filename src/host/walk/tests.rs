//! Trees that are walked by one worker, and by several.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const WIDE: Bounds = Bounds { depth: 200, entries: 1 << 20, time: Duration::from_secs(60) };

/// Gathers how often each path was shown.
#[derive(Default)]
struct Seen(BTreeMap<PathBuf, u32>);

impl Visitor for Seen {
    fn visit(&mut self, entry: &Entry<'_>) {
        *self.0.entry(entry.path()).or_default() += 1;
    }

    fn hidden(&mut self, directory: &Entry<'_>) {
        panic!("{} was there", directory.path().display());
    }
}

fn open(at: &Path) -> OwnedFd {
    fs::File::open(at).unwrap().into()
}

fn by_one(at: &Path, bounds: Bounds) -> (Walked, BTreeMap<PathBuf, u32>) {
    let mut seen = Seen::default();
    let walked = walk(open(at), bounds, |entry| seen.visit(entry), |_| panic!("all of it was there"));
    (walked.unwrap(), seen.0)
}

fn by_several(at: &Path, bounds: Bounds, workers: usize) -> (Walked, BTreeMap<PathBuf, u32>) {
    let visitors = (0..workers).map(|_| Seen::default()).collect();
    let (walked, parts) = walk_side_by_side(open(at), bounds, visitors).unwrap();
    let mut all = Seen::default();
    for (path, count) in parts.into_iter().flat_map(|part| part.0) {
        *all.0.entry(path).or_default() += count;
    }
    (walked, all.0)
}

/// Returns what lies below a folder, by the standard library.
fn listed(root: &Path, folder: &Path, all: &mut BTreeMap<PathBuf, u32>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        all.insert(entry.path().strip_prefix(root).unwrap().to_owned(), 1);
        if entry.file_type().unwrap().is_dir() {
            listed(root, &entry.path(), all);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_is_shown_once_whatever_the_number_of_workers(
        paths in prop::collection::vec(prop::collection::vec(0u8..4, 1..7), 1..60),
        links in prop::collection::vec(0u8..4, 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for path in &paths {
            let path: PathBuf = path.iter().map(|part| format!("d{part}")).collect();
            fs::create_dir_all(dir.path().join(&path)).unwrap();
            fs::write(dir.path().join(path).join("file"), "x").unwrap();
        }
        for (number, to) in links.iter().enumerate() {
            symlink(format!("d{to}"), dir.path().join(format!("link{number}"))).unwrap();
        }
        let mut wanted = BTreeMap::new();
        listed(dir.path(), dir.path(), &mut wanted);
        prop_assert_eq!(by_one(dir.path(), WIDE), (Walked::Whole, wanted.clone()));
        for workers in 1..=4 {
            prop_assert_eq!(by_several(dir.path(), WIDE, workers), (Walked::Whole, wanted.clone()));
        }
    }
}

#[test]
fn bounds_hold_for_all_workers_together() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..40 {
        fs::create_dir_all(dir.path().join(format!("{number}/a/b/c"))).unwrap();
    }
    let all = 4 * 40;
    for workers in 1..=4 {
        let counted = |bounds| {
            let (walked, seen) = by_several(dir.path(), bounds, workers);
            (walked, seen.len())
        };
        assert_eq!(counted(WIDE), (Walked::Whole, all));
        assert_eq!(counted(Bounds { depth: 5, ..WIDE }), (Walked::Whole, all));
        assert_eq!(counted(Bounds { depth: 4, ..WIDE }), (Walked::CutShort, all));
        assert_eq!(counted(Bounds { depth: 3, ..WIDE }), (Walked::CutShort, all - 40));
        assert_eq!(counted(Bounds { entries: all as u64, ..WIDE }), (Walked::Whole, all));
        assert_eq!(counted(Bounds { entries: 50, ..WIDE }), (Walked::CutShort, 50));
    }
    let over = Bounds { time: Duration::ZERO, ..WIDE };
    for number in 0..600 {
        fs::write(dir.path().join(format!("0/file{number}")), "").unwrap();
    }
    assert_eq!(by_several(dir.path(), over, 3).0, Walked::CutShort);
}

#[test]
fn a_visitor_that_panics_is_heard() {
    struct Faulty;

    impl Visitor for Faulty {
        fn visit(&mut self, _: &Entry<'_>) {
            panic!("a fault of ours");
        }

        fn hidden(&mut self, _: &Entry<'_>) {}
    }

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    let root = open(dir.path());
    assert!(std::panic::catch_unwind(|| walk_side_by_side(root, WIDE, vec![Faulty, Faulty])).is_err());
}
