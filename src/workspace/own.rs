//! Where ringfence's own files are: its state (records, approvals, copies) and the policies that are read from fixed places.
//!
//! ```text
//!  ~/.config/ringfence ──link──▶ ~/dotfiles/ringfence/policy.yml ──link──▶ …      every place on the way counts:
//!                                                                                 who can write it decides what is read
//! ```
//! An agent runs as the person, so that what it wrote there would pass for theirs at the next run.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links that are followed; the kernel's own bound.
const MOST_LINKS: usize = 40;

/// ringfence's own places.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Folders of which nothing is given; without links.
    folders: Vec<PathBuf>,
    /// Links and files on the way to these and to the policies: no directory around one is given to be written.
    ways: Vec<PathBuf>,
}

impl Own {
    /// Of the folders of state and configuration, and of policies elsewhere, as they are called.
    pub fn of(folders: &[PathBuf], policies: &[PathBuf]) -> Own {
        let mut own = Own::default();
        for folder in folders {
            let mut way = way(folder);
            own.folders.extend(way.pop());
            own.ways.append(&mut way);
        }
        own.ways.extend(policies.iter().flat_map(|policy| way(policy)));
        own
    }

    /// What of ringfence an agent that is given this would have, or could exchange.
    pub fn exposed_by(&self, given: &Path, writable: bool) -> Option<&Path> {
        let of_folder = self.folders.iter().find(|own| own.starts_with(given) || given.starts_with(own));
        let on_the_way = || self.ways.iter().find(|own| writable && own.starts_with(given));
        of_folder.or_else(on_the_way).map(PathBuf::as_path)
    }
}

/// Every link on the way that a path leads, then where it ends, whether that exists or not; all without links in the names before the last.
/// A relative path counts from the working directory, as it does for whoever opens it.
pub fn way(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    let mut way = Vec::new();
    let mut at = PathBuf::from("/");
    let mut waiting: VecDeque<OsString> = names(path);
    while let Some(name) = waiting.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        let Ok(target) = at.read_link() else { continue };
        way.push(at.clone());
        if way.len() > MOST_LINKS {
            break;
        }
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            waiting.push_front(name);
        }
    }
    way.push(at);
    way
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_place_on_the_way_counts_and_what_is_not_there_too() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |below: &str| root.join(below);
        for folder in ["home/config", "dots/deep", "else/where"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        symlink("../../dots/deep/fence", at("home/config/fence")).unwrap();
        symlink(at("else/where"), at("dots/deep/fence")).unwrap();
        assert_eq!(
            way(&at("home/config/fence/policy.yml")),
            [at("home/config/fence"), at("dots/deep/fence"), at("else/where/policy.yml")]
        );
        assert_eq!(way(&at("home/config/none/policy.yml")), [at("home/config/none/policy.yml")]);
        symlink("round", at("round")).unwrap();
        assert!(way(&at("round/x")).len() <= MOST_LINKS + 2);
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(way(Path::new(".docker/config.json")), [here.join(".docker/config.json")]);
    }
}
