//! Files that run code later and what is in them, bounded: what is least likely to run is forgotten
//! first, and counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kinds::{Kind, Tier};
use super::record::Digest;
use super::risks::worth;

/// Files.
const MOST: usize = 200_000;
/// The bytes of their paths.
const MOST_BYTES: usize = 64 << 20;

/// Files by path.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    all: BTreeMap<PathBuf, (Kind, Digest)>,
    bytes: usize,
    forgotten: BTreeMap<Tier, u64>,
}

impl Remembered {
    /// Takes in a file. Of one that is met twice, the later counts.
    pub(crate) fn insert(&mut self, path: PathBuf, kind: Kind, print: Digest) {
        let length = path.as_os_str().len();
        if self.all.insert(path, (kind, print)).is_none() {
            self.bytes += length;
        }
        if self.all.len() > MOST || self.bytes > MOST_BYTES {
            self.forget();
        }
    }

    /// Takes in the files of another part of the directory.
    pub(crate) fn append(&mut self, other: Remembered) {
        for (tier, more) in other.forgotten {
            *self.forgotten.entry(tier).or_default() += more;
        }
        other.all.into_iter().for_each(|(path, (kind, print))| self.insert(path, kind, print));
    }

    /// Keeps the half that is most likely to run.
    fn forget(&mut self) {
        let all = std::mem::take(&mut self.all);
        let mut ranked: Vec<_> =
            all.into_iter().map(|(path, (kind, print))| (worth(&path, kind), path, kind, print)).collect();
        ranked.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        self.bytes = 0;
        for (_, path, kind, print) in ranked {
            let length = path.as_os_str().len();
            if self.all.len() < MOST / 2 && self.bytes + length <= MOST_BYTES / 2 {
                self.bytes += length;
                self.all.insert(path, (kind, print));
            } else {
                *self.forgotten.entry(kind.tier).or_default() += 1;
            }
        }
    }

    /// Returns the kind and the digest that are remembered of a path.
    pub(crate) fn get(&self, path: &Path) -> Option<&(Kind, Digest)> {
        self.all.get(path)
    }

    /// Returns all files that are remembered.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PathBuf, Kind, &Digest)> {
        self.all.iter().map(|(path, (kind, print))| (path, *kind, print))
    }

    /// Returns the number of files that are not remembered, by class.
    pub(crate) fn forgotten(&self) -> &BTreeMap<Tier, u64> {
        &self.forgotten
    }

    /// Returns the files' paths.
    #[cfg(test)]
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.all.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Kinds;
    use super::*;

    #[test]
    fn a_flood_leaves_the_riskiest() {
        let mut remembered = Remembered::default();
        let kind = |path: &str| Kinds::get().of(Path::new(path)).unwrap();
        let mut insert = |path: String, kind| remembered.insert(path.into(), kind, [0; 32]);
        let (deep, build, root) = (kind("a/.envrc"), kind("a/Makefile"), kind(".vscode/tasks.json"));
        (0..=MOST as u32 / 2).for_each(|number| insert(format!("{number}/.envrc"), deep));
        (0..=MOST as u32 / 2).for_each(|number| insert(format!("{number}/Makefile"), build));
        insert(".vscode/tasks.json".to_owned(), root);
        insert(".envrc".to_owned(), deep);
        (0..=MOST as u32 / 2).for_each(|number| insert(format!("b/{number}/.envrc"), deep));
        for path in [".envrc", ".vscode/tasks.json"] {
            assert!(remembered.get(Path::new(path)).is_some(), "{path}");
        }
        let forgotten: u64 = remembered.forgotten().values().sum();
        assert_eq!(forgotten + remembered.all.len() as u64, 3 * (MOST as u64 / 2 + 1) + 2);
        assert!(remembered.all.len() <= MOST);
    }
}
