//! Ringfence's own files: its state (records, approvals, copies) and the policies that it reads
//! from fixed places.
//!
//! ```text
//!  ~/.config/ringfence ──link──▶ ~/dotfiles/ringfence/policy.yml ──link──▶ …      every place on the way counts:
//!                                                                                 who can write it decides what is read
//! ```
//! An agent runs as the person, so that what it wrote there would pass for theirs at the next run.

use std::path::{Path, PathBuf};

use crate::host::path_walk::symlink_chain;

/// ringfence's own places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    /// Folders of which nothing is given; without links.
    folders: Vec<PathBuf>,
    /// Links and files on the way to these and to the policies: no directory around one is given to
    /// be written.
    ways: Vec<PathBuf>,
}

impl Own {
    /// Collects the folders of state and configuration, and the policies elsewhere, with the links
    /// that lead to them.
    pub(crate) fn of(folders: &[PathBuf], policies: &[PathBuf]) -> Own {
        let mut own = Own::default();
        for folder in folders {
            let mut way = symlink_chain(folder);
            own.folders.extend(way.pop());
            own.ways.append(&mut way);
        }
        own.ways.extend(policies.iter().flat_map(|policy| symlink_chain(policy)));
        own
    }

    /// Returns the first of ringfence's own files that a mount of `given` would expose to the
    /// agent, or, when the mount is writable, let the agent exchange.
    pub(super) fn exposed_by(&self, given: &Path, writable: bool) -> Option<&Path> {
        let of_folder = self.folders.iter().find(|own| own.starts_with(given) || given.starts_with(own));
        let on_the_way = || self.ways.iter().find(|own| writable && own.starts_with(given));
        of_folder.or_else(on_the_way).map(PathBuf::as_path)
    }
}
