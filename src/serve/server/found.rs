//! Meaning of the words of a create: only objects of this socket, and this machine's paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fences::broken;
use super::members::ServedMember;
use super::state::{RootSpelling, Serving};
use super::volumes::owner_of;
use crate::host::at;
use crate::serve::decide::facts::{Found, FoundMember, FoundNetwork, FoundSource, SourceKind, Wanted};
use crate::serve::denied::Denied;
use crate::supervisor::image;
use crate::workspace::held;

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
        found.sources = self.sources(&wanted.sources).await?;
        Ok(found)
    }

    /// Makes a directory below a root.
    ///
    /// # Errors
    /// When something else is on its way.
    pub(crate) async fn make_directory(&self, path: &Path) -> Result<(), Denied> {
        let cannot = |error: &dyn std::fmt::Display| {
            let path = crate::serve::text::shown(&path.to_string_lossy());
            Denied::new(400, format!("{path} cannot be made: {error}"))
        };
        let root = self.facts.roots.iter().map(|root| root.path.clone()).find(|root| path.starts_with(root));
        let root = root.ok_or_else(|| cannot(&"it lies below no project"))?;
        let wanted = path.to_owned();
        let making = tokio::task::spawn_blocking(move || make_directory(&root, &wanted));
        making.await.map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))
    }

    /// Looks at the paths that lie below a root by their words. Of others nothing is looked at, and
    /// nobody learns what is there.
    async fn sources(&self, words: &BTreeSet<String>) -> Result<BTreeMap<String, FoundSource>, Denied> {
        let spellings = Arc::clone(&self.facts.spellings);
        let words = words.clone();
        // A file system may be silent: only this look waits for it.
        let looking = tokio::task::spawn_blocking(move || sources(&spellings, &words));
        looking.await.map_err(|_| Denied::new(500, "the look at the files was ended"))
    }
}

fn found_member(member: &ServedMember) -> Option<FoundMember> {
    let id = member.id.parse().ok()?;
    Some(FoundMember { id, group: member.fence.key.clone(), address: Some(super::shown::ADDRESS) })
}

fn sources(spellings: &[RootSpelling], words: &BTreeSet<String>) -> BTreeMap<String, FoundSource> {
    let found = |word: &String| Some((word.clone(), source(below_root(spellings, word)?)));
    words.iter().filter_map(found).collect()
}

/// Returns the path that a word means, where it lies below a root: words alone decide.
fn below_root(spellings: &[RootSpelling], word: &str) -> Option<PathBuf> {
    let path: PathBuf = Path::new(word).components().collect();
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let of = |spelling: &RootSpelling| {
        let below = path.strip_prefix(&spelling.named).ok()?;
        Some(if below.as_os_str().is_empty() { spelling.root.clone() } else { spelling.root.join(below) })
    };
    spellings.iter().find_map(of)
}

/// Looks at a path of this machine, without following a link.
fn source(path: PathBuf) -> FoundSource {
    let (kind, linked) = match held::open(&path).and_then(|opened| Ok(rustix::fs::fstat(&opened)?)) {
        Ok(found) => match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => (SourceKind::Directory, false),
            FileType::RegularFile => (SourceKind::File, false),
            FileType::Symlink => (SourceKind::Other, true),
            _ => (SourceKind::Other, false),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => (SourceKind::Missing, false),
        // A link on the way, or a way that nobody can take.
        Err(_) => (SourceKind::Other, true),
    };
    FoundSource { path, kind, linked }
}

/// Makes a directory below a root, as the person: each part in the folder before it, which is held.
/// No link is followed.
pub(super) fn make_directory(root: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(root).map_err(io::Error::other)?;
    let way = at::NAME_ONLY | OFlags::DIRECTORY;
    let mut here = held::open(root)?;
    for name in below {
        match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        here = at::open_in(here.as_fd(), name, way)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A root that has a second name through a link, and a folder beside it.
    fn ground() -> (tempfile::TempDir, Vec<RootSpelling>, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        for part in ["data/root/sub", "data/outside"] {
            fs::create_dir_all(real.join(part)).unwrap();
        }
        symlink(real.join("data"), real.join("name")).unwrap();
        symlink(real.join("data/outside"), real.join("data/root/link")).unwrap();
        fs::write(real.join("data/root/file"), "").unwrap();
        let root = real.join("data/root");
        let spellings = vec![
            RootSpelling { named: root.clone(), root: root.clone() },
            RootSpelling { named: real.join("name/root"), root },
        ];
        (folder, spellings, real)
    }

    #[test]
    fn only_what_lies_below_a_root_by_its_words_is_looked_at() {
        let (_folder, spellings, real) = ground();
        let look = |below: &str| {
            let word = real.join(below).display().to_string();
            let found = sources(&spellings, &BTreeSet::from([word.clone()])).remove(&word)?;
            assert!(found.path.starts_with(real.join("data/root")), "{below}: {found:?}");
            Some((found.kind, found.linked))
        };
        for (below, wanted) in [
            ("data/root", Some((SourceKind::Directory, false))),
            ("data/root/", Some((SourceKind::Directory, false))),
            ("data/root/sub", Some((SourceKind::Directory, false))),
            ("name/root/file", Some((SourceKind::File, false))),
            ("data/root/new/er", Some((SourceKind::Missing, false))),
            ("data/root/link", Some((SourceKind::Other, true))),
            ("data/root/link/x", Some((SourceKind::Other, true))),
            // One word about what is there, or is not: none.
            ("data/outside", None),
            ("data/nothing", None),
            ("data/rootless", None),
            ("data/root/../outside", None),
            ("name/outside", None),
        ] {
            assert_eq!(look(below), wanted, "{below}");
        }
    }

    #[test]
    fn a_directory_is_made_below_the_root_and_through_no_link() {
        let (_folder, _, real) = ground();
        let root = real.join("data/root");
        make_directory(&root, &root.join("a/b/c")).unwrap();
        make_directory(&root, &root.join("sub/d")).unwrap();
        assert!(root.join("a/b/c").is_dir() && root.join("sub/d").is_dir());
        for bad in ["link/x", "link", "file/x", "../outside/x"] {
            assert!(make_directory(&root, &root.join(bad)).is_err(), "{bad}");
        }
        assert_eq!(fs::read_dir(real.join("data/outside")).unwrap().count(), 0, "nothing is made outside");
        // A root that is a link by now is none.
        fs::rename(&root, real.join("data/away")).unwrap();
        symlink(real.join("data/outside"), &root).unwrap();
        assert!(make_directory(&root, &root.join("x")).is_err());
        assert_eq!(fs::read_dir(real.join("data/outside")).unwrap().count(), 0);
    }
}
