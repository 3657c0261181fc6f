//! The few settings of a repository that say in which form it is and where its working tree is.
//! Whatever they say, every object is held against its name.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Doubt;
use super::folder;
use super::object::Form;
use crate::workspace::aftermath::{config, place};

/// The part of a repository's configuration that matters.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Hash by which objects are named.
    pub(crate) form: Form,
    /// Tells whether references are files.
    pub(crate) has_files: bool,
    /// Tells whether objects may be left with a server.
    pub(crate) partial: bool,
    /// Tells whether git reads attributes from elsewhere too.
    pub(crate) other_attributes: bool,
}

/// Places of a working tree and its repository, below the project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whereabouts<'a> {
    /// The working tree.
    pub(crate) tree: &'a Path,
    /// The working tree's own folder of git.
    pub(crate) own: &'a Path,
    /// The repository's folder, another one for a linked working tree.
    pub(crate) common: &'a Path,
}

impl Settings {
    /// Reads them, and makes sure that the working tree is where its files are.
    pub(crate) fn read(
        own: &OwnedFd,
        common: &OwnedFd,
        whereabouts: Whereabouts<'_>,
    ) -> Result<Settings, Doubt> {
        let entries = entries(common, "config")?;
        let all = |name: &str| -> Vec<Option<&[u8]>> {
            let named = entries.iter().filter(|entry| entry.name == name.as_bytes());
            named.map(|entry| entry.value.as_deref()).collect()
        };
        let last = |name: &str| all(name).pop().flatten();
        let form = match last("extensions.objectformat") {
            None | Some(b"sha1") => Form::Sha1,
            Some(b"sha256") => Form::Sha256,
            Some(_) => return Err(Doubt::Unreadable("its configuration".to_owned())),
        };
        let is_linked = whereabouts.own != whereabouts.common;
        let per_tree = !all("extensions.worktreeconfig").is_empty();
        let mut places = Vec::new();
        // git does not take the main working tree's place for a linked one, unless each has a
        // configuration.
        if !is_linked || per_tree {
            places.extend(placed(&entries));
        }
        if per_tree {
            places.extend(placed(&self::entries(own, "config.worktree")?));
        }
        if !places.iter().all(|place| place.is_at(whereabouts)) {
            return Err(Doubt::ElsewhereWorktree);
        }
        let is_promised = |name: &[u8]| {
            name == b"extensions.partialclone"
                || (name.starts_with(b"remote.") && name.ends_with(b".promisor"))
        };
        Ok(Settings {
            form,
            has_files: last("extensions.refstorage").is_none_or(|form| form == b"files"),
            partial: entries.iter().any(|entry| is_promised(&entry.name)),
            other_attributes: ["core.attributesfile", "attr.tree"].iter().any(|name| !all(name).is_empty()),
        })
    }
}

/// A word of the configuration on where the working tree is.
#[derive(Debug)]
enum Placed {
    At(Vec<u8>),
    Nowhere,
}

impl Placed {
    fn is_at(&self, whereabouts: Whereabouts<'_>) -> bool {
        let Placed::At(target) = self else { return false };
        let at = place::below(whereabouts.own, Path::new(OsStr::from_bytes(target)));
        at.is_some_and(|at: PathBuf| at == whereabouts.tree)
    }
}

fn placed(entries: &[config::Entry]) -> Vec<Placed> {
    let place = |entry: &config::Entry| match (entry.name.as_slice(), entry.value.as_deref()) {
        (b"core.worktree", Some(target)) => Some(Placed::At(target.to_vec())),
        (b"core.worktree", None) => Some(Placed::Nowhere),
        (b"core.bare", Some(b"false" | b"no" | b"off" | b"0" | b"")) => None,
        (b"core.bare", _) => Some(Placed::Nowhere),
        _ => None,
    };
    entries.iter().filter_map(place).collect()
}

fn entries(here: &OwnedFd, name: &str) -> Result<Vec<config::Entry>, Doubt> {
    let text = folder::read_if_there(here, OsStr::new(name), config::LARGEST);
    let text = text.map_err(|_| Doubt::Unreadable("its configuration".to_owned()))?.unwrap_or_default();
    config::parse(&text).ok_or_else(|| Doubt::Unreadable("its configuration".to_owned()))
}
