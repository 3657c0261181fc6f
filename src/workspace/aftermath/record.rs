//! Records, as plain data, of a directory's state before a run, so that it can be put back after
//! the run.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::gitdir::Facts;
use crate::host::identity::Identity;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// Digests a text.
pub(crate) fn digest(text: &[u8]) -> Digest {
    Sha256::digest(text).into()
}

/// Bytes, and paths that need not be text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Bytes {
        Bytes(path.as_os_str().as_bytes().to_vec())
    }
}

impl Bytes {
    /// Returns the bytes as a path.
    pub(crate) fn path(&self) -> PathBuf {
        OsString::from_vec(self.0.clone()).into()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// The form of a journal. One of another form is not understood, and its directory not touched.
pub(super) const FORM: u32 = 3;
/// A journal is smaller.
const LARGEST_JOURNAL: u64 = 512 << 20;

/// State before a run of everything that the run may change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    /// Form of the record.
    pub(crate) form: u32,
    /// The machine that it was written on, where that has a name.
    pub(crate) machine: Option<String>,
    /// The boot of that machine: devices' numbers last as long.
    pub(crate) boot: Option<String>,
    /// The engine that the workflow is on.
    pub(crate) engine: String,
    /// Time of writing, in seconds of Unix time.
    pub(crate) began: u64,
    /// Directories that the agent may write.
    pub(crate) roots: Vec<Root>,
}

/// A directory that an agent may write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Root {
    /// Path of the directory.
    pub(crate) path: Bytes,
    /// Identities of the folders from `/` down to the directory, its own last.
    pub(crate) way: Vec<Identity>,
    /// Files that are put back after the run.
    pub(crate) pinned: Vec<Pinned>,
    /// Files that run code later, and what was in them.
    pub(crate) risky: Vec<(Bytes, Digest)>,
    /// Folders of hooks besides the repositories' own.
    pub(crate) hooks: Vec<Bytes>,
    /// Digests of the signs that gave others rights or led out. A record of an older version has
    /// none.
    #[serde(default)]
    pub(crate) signs: Option<Bytes>,
    /// The repositories' folders, and what tells each from all others.
    pub(crate) folders: Vec<(Bytes, Made)>,
    /// Facts about each repository.
    pub(crate) git: Vec<Facts>,
    /// Working trees that lie elsewhere: the directory is a repository's own folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trees: Vec<Tree>,
}

/// A working tree whose repository lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    /// The folder with its index, below the root.
    pub(crate) repository: Bytes,
    /// Path of the folder.
    pub(crate) path: Bytes,
    /// Device and inode.
    pub(crate) identity: Identity,
}

impl Root {
    /// Returns the directory's own identity.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.way.last().copied()
    }
}

impl Journal {
    /// Reads a journal, and takes nothing that ringfence would not have written.
    pub(crate) fn read(file: &std::fs::File) -> io::Result<Journal> {
        let size = file.metadata()?.len();
        if size > LARGEST_JOURNAL {
            return Err(io::Error::other("it is larger than any journal"));
        }
        let mut text = Vec::new();
        file.take(LARGEST_JOURNAL).read_to_end(&mut text)?;
        let journal: Journal = serde_json::from_slice(&text)?;
        match journal.fault() {
            Some(fault) => Err(io::Error::other(fault)),
            None => Ok(journal),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        if self.form != FORM {
            return Some("another version of ringfence wrote it");
        }
        for root in &self.roots {
            let path = root.path.path();
            let names = path.components().filter(|part| matches!(part, Component::Normal(_))).count();
            let plain =
                path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !path.is_absolute() || !plain || root.way.len() != names + 1 {
                return Some("it names no directory");
            }
            let pinned = root.pinned.iter().map(|pinned| &pinned.path);
            let risky = root.risky.iter().map(|(path, _)| path);
            let folders = root.folders.iter().map(|(path, _)| path);
            let git = root.git.iter().map(|facts| &facts.repository);
            let git = git.chain(root.trees.iter().map(|tree| &tree.repository));
            let is_plain = |tree: &Tree| {
                let path = tree.path.path();
                let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
                path.is_absolute() && path.components().all(plain)
            };
            if !root.trees.iter().all(is_plain) {
                return Some("it names no working tree");
            }
            if !pinned.chain(risky).chain(folders).chain(git).chain(&root.hooks).all(is_below) {
                return Some("it names a path outside of its directory");
            }
        }
        None
    }
}

/// Tells whether a path can only lead below the directory that it counts from.
fn is_below(path: &Bytes) -> bool {
    path.path().components().all(|part| matches!(part, Component::Normal(_)))
}

/// Marks of a folder that stay with it through a rename: its inode, and its time of birth where the
/// file system keeps one. The time is needed since inodes are given anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Made {
    /// The inode.
    pub(crate) inode: u64,
    /// Nanoseconds of Unix time.
    pub(crate) at: u64,
}

/// A path below a root, as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pinned {
    /// The path.
    pub(crate) path: Bytes,
    /// Set for a configuration of git, which the agent may change within limits.
    pub(crate) config: bool,
    /// State before the run.
    pub(crate) was: Was,
}

/// State of a path: a folder, a link, a file, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Was {
    /// Nothing is at the path.
    Absent,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link(Bytes),
    /// A file.
    File(File),
    /// An entry that cannot be read: a file that is too large or not readable, a pipe.
    Else,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Text of the file; secrets that the agent cannot read are masked.
    pub(crate) text: Bytes,
    /// Digest of the text without masks.
    pub(crate) whole: Digest,
    /// Entries of a configuration that are masked, and their values' digests.
    pub(crate) hidden: Vec<(usize, Digest)>,
    /// Permissions.
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: (u32, u32),
}
