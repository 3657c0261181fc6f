//! Git's content for a path of the project: in the index, and in the commit that HEAD names.
//!
//! ```text
//!  path ─▶ repository: whose working tree? ─▶ index ──────────────────▶ entry ─┐
//!                                        └──▶ head ─▶ commit ─▶ trees ─▶ entry ─┼─▶ store ─▶ blob, verified
//!                                        └──▶ attributes: is it filtered?       ┘   (loose, pack ─▶ delta)
//! ```
//! git is never run. The project may be hostile: everything is read by descriptor and without
//! following links, sizes are bounded, every object is held against its name. Stat data, replaced
//! objects, grafts and caches count for nothing; of the configuration counts what form the
//! repository has. What cannot be read for certain is a [`Doubt`].

mod attributes;
mod delta;
mod doubt;
mod folder;
mod head;
mod look;
mod object;
mod pack;
mod repository;
mod settings;
mod store;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::doubt::Doubt;
use self::look::{BOUNDS, Bounds, Look};
use self::object::Kind;
pub(crate) use self::object::ObjectId;
use self::repository::Repository;
use self::store::Store;
use crate::workspace::held;

/// The repositories of a project, whose working trees lie in it.
pub(crate) struct Versions {
    root: OwnedFd,
    /// Repositories by the folder of the working tree.
    repositories: Mutex<HashMap<PathBuf, Located>>,
    look: Arc<Look>,
}

type Located = Result<Option<Arc<Repository>>, Doubt>;

/// Git's versions of one path. Both are empty where no repository has the path.
#[derive(Debug, Default)]
pub(crate) struct Version {
    /// The ordinary file that the index has there.
    pub(crate) index: Option<Entry>,
    /// The ordinary file that HEAD's commit has there.
    pub(crate) head: Option<Entry>,
    /// Tells whether git converts the content by more than line endings: a filter (git-crypt,
    /// git-lfs), `ident`, or an encoding. A doubt counts as yes.
    pub(crate) filtered: bool,
}

/// An ordinary file, as the index or a tree names it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Name of the content.
    pub(crate) id: ObjectId,
    /// Tells whether it can be executed.
    pub(crate) executable: bool,
    store: Arc<Store>,
}

impl Versions {
    /// Opens a project, whose path is resolved.
    pub(crate) fn open(project: &Path) -> Result<Versions, Doubt> {
        Versions::within(project, BOUNDS)
    }

    fn within(project: &Path, bounds: Bounds) -> Result<Versions, Doubt> {
        let unreadable = |_| Doubt::Unreadable(project.display().to_string());
        let root = held::open(project).and_then(held::reopen_directory).map_err(unreadable)?;
        Ok(Versions { root, repositories: Mutex::default(), look: Arc::new(Look::begin(bounds)) })
    }

    /// Says what git has for a path below the project. A path in a submodule or a nested repository
    /// is that one's.
    pub(crate) fn of(&self, path: &Path) -> Result<Version, Doubt> {
        let unreadable = || Doubt::Unreadable(path.display().to_string());
        let mut repository: Located = Ok(None);
        let (mut at, mut here) = (PathBuf::new(), folder::descend(&self.root, Path::new("")));
        for part in path.components() {
            let Component::Normal(part) = part else { return Err(unreadable()) };
            if part.eq_ignore_ascii_case(".git") {
                return Ok(Version::default());
            }
            let folder = here.map_err(|_| unreadable())?;
            here = folder::folder(&folder, part);
            match self.located(&at, folder) {
                Ok(None) => {}
                found => repository = found,
            }
            at.push(part);
        }
        match repository? {
            Some(repository) => {
                repository.of(path.strip_prefix(&repository.folder).map_err(|_| unreadable())?)
            }
            None => Ok(Version::default()),
        }
    }

    fn located(&self, at: &Path, folder: OwnedFd) -> Located {
        let mut all = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(located) = all.get(at) {
            return located.clone();
        }
        let located = Repository::open(&self.root, at, folder, &self.look).map(|found| found.map(Arc::new));
        all.insert(at.to_owned(), located.clone());
        located
    }
}

impl Version {
    /// Says whether these bytes, as they are or with git's line ends, are what index or HEAD has,
    /// and that content lies in the project's own object store.
    pub(crate) fn shows(&self, bytes: &[u8]) -> bool {
        let plain = without_returns(bytes);
        [&self.index, &self.head]
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.blob().ok())
            .any(|blob| blob == bytes || blob == plain)
    }
}

impl Entry {
    /// Reads the content from the project's own object store; it is bounded, and verified by its
    /// name.
    pub(super) fn blob(&self) -> Result<Vec<u8>, Doubt> {
        self.store.read(&self.id, Kind::Blob)
    }
}

/// Returns a text with the line ends that git keeps.
pub(super) fn without_returns(bytes: &[u8]) -> Vec<u8> {
    let is_kept = |(at, byte): &(usize, &u8)| **byte != b'\r' || bytes.get(at + 1) != Some(&b'\n');
    bytes.iter().enumerate().filter(is_kept).map(|(_, byte)| *byte).collect()
}

#[cfg(test)]
mod tests;
