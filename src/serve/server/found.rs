//! Meaning of the words of a create: only objects of this socket, and this machine's paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fences::broken;
use super::members::ServedMember;
use super::state::Serving;
use super::volumes::owner_of;
use crate::serve::decide::facts::{Found, FoundMember, FoundNetwork, FoundSource, SourceKind, Wanted};
use crate::serve::denied::Denied;
use crate::supervisor::image;

impl Serving {
    /// Looks up every word.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn look_up(&self, wanted: &Wanted) -> Result<Found, Denied> {
        let found = image::on_engine(&self.facts.engine, &wanted.image).await;
        let mut found = Found { image: found.map_err(|failure| broken(&failure))?, ..Found::default() };
        for word in &wanted.containers {
            if let Ok(member) = self.member(word)
                && let Some(member) = found_member(&member)
            {
                found.containers.insert(word.clone(), member);
            }
        }
        found.peers = self.members.borrow().values().filter_map(|member| found_member(member)).collect();
        for word in &wanted.networks {
            if let Some(record) = self.networks.borrow().find(word) {
                let network = FoundNetwork {
                    id: record.id.clone(),
                    name: record.name.clone(),
                    labels: record.labels.clone(),
                };
                found.networks.insert(word.clone(), network);
            }
        }
        for word in &wanted.volumes {
            if let Some(owner) = owner_of(self, word).await? {
                found.volumes.insert(word.clone(), owner);
            }
        }
        found.sources = self.sources(wanted.sources.iter());
        Ok(found)
    }

    fn sources<'a>(&self, words: impl Iterator<Item = &'a String>) -> BTreeMap<String, FoundSource> {
        let roots: Vec<&Path> = self.facts.roots.iter().map(|root| root.path.as_path()).collect();
        words.map(|word| (word.clone(), source(Path::new(word), &roots))).collect()
    }
}

fn found_member(member: &ServedMember) -> Option<FoundMember> {
    let id = member.id.parse().ok()?;
    Some(FoundMember { id, group: member.fence.key.clone(), address: Some(super::shown::ADDRESS) })
}

/// Looks at a path of this machine. What lies above a root may have links on its way; below one
/// nothing may.
fn source(path: &Path, roots: &[&Path]) -> FoundSource {
    let (real, missing) = real(path);
    let kind = match fs::symlink_metadata(&real) {
        _ if missing => SourceKind::Missing,
        Ok(found) if found.is_dir() => SourceKind::Directory,
        Ok(found) if found.is_file() => SourceKind::File,
        Ok(_) => SourceKind::Other,
        Err(_) => SourceKind::Missing,
    };
    // The same words below the root, where no link is on the way.
    let below = roots.iter().find_map(|root| real.strip_prefix(root).ok().map(|below| (root, below)));
    let linked = below.is_some_and(|(_, below)| !path.ends_with(below));
    FoundSource { path: real, kind, linked }
}

/// Resolves a path as far as it is there; tells whether a part of it is not.
fn real(path: &Path) -> (PathBuf, bool) {
    let mut rest = PathBuf::new();
    let mut at = path;
    loop {
        if let Ok(real) = at.canonicalize() {
            let missing = !rest.as_os_str().is_empty();
            return (if missing { real.join(rest) } else { real }, missing);
        }
        let (Some(above), Some(name)) = (at.parent(), at.file_name()) else { return (path.to_owned(), true) };
        rest = if rest.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(rest) };
        at = above;
    }
}
