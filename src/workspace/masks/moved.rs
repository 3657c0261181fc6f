//! What became of covered files: covers are mounts, and go where an agent moves the folders around them.
//!
//! A file that is elsewhere keeps its cover for that run. For the next one it is found by its name and content again; told is told.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Plan, report};
use crate::workspace::mounts::Identity;

/// Where covered files are before an agent can move them.
pub struct Covered(Vec<(PathBuf, PathBuf, Identity)>);

impl Covered {
    /// Those of a plan. What is gone already cannot be moved.
    pub fn of(plan: &Plan) -> Covered {
        let found = plan.covers.iter().filter_map(|cover| {
            let path = plan.project.join(&cover.path);
            let identity = identity(&path)?;
            Some((cover.path.clone(), path, identity))
        });
        Covered(found.collect())
    }

    /// Those that are not there any more, in a line for a person.
    pub fn moved(&self) -> Option<String> {
        let moved = self.0.iter().filter(|(_, path, before)| identity(path) != Some(*before));
        let names: Vec<String> = moved.map(|(below, ..)| report::shown(below)).collect();
        (!names.is_empty())
            .then(|| format!("covered in this run, and moved or replaced since: {}", report::few(names)))
    }
}

/// Of what a path leads to without links.
fn identity(path: &Path) -> Option<Identity> {
    let of = |meta: Metadata| Identity { device: meta.dev(), inode: meta.ino() };
    let is_plain = path.canonicalize().is_ok_and(|real| real == path);
    is_plain.then(|| path.symlink_metadata().ok().map(of)).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::{Wishes, plan};
    use super::*;

    #[test]
    fn what_lies_elsewhere_is_named_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["app", "lib", "web"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(".env"), "A=1\n").unwrap();
        }
        let covered = Covered::of(&plan(&root, &Wishes::default()).unwrap());
        assert_eq!(covered.moved(), None);
        fs::write(root.join("web/.env"), "A=2\n").unwrap();
        // A link in its place does not hide that it was moved.
        fs::rename(root.join("app"), root.join("other")).unwrap();
        symlink("other", root.join("app")).unwrap();
        fs::rename(root.join("lib"), root.join("old")).unwrap();
        fs::create_dir(root.join("lib")).unwrap();
        fs::write(root.join("lib/.env"), "A=1\n").unwrap();
        let told = covered.moved().unwrap();
        assert!(told.ends_with(": app/.env, lib/.env"), "{told}");
    }
}
