//! One repository of the project: its index, its HEAD, its attributes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::attributes::{Attributes, Converting};
use super::folder::{self, Closed};
use super::look::Look;
use super::object::{self, FOLDER, Form, Kind, Named, ObjectId};
use super::settings::{Settings, Whereabouts};
use super::store::Store;
use super::{Doubt, Entry, Version, head};
use crate::workspace::aftermath::gitdir::index::{self, Index};
use crate::workspace::aftermath::place;

/// The largest file with attributes.
const LARGEST_ATTRIBUTES: u64 = 256 << 10;
/// A file that leads to a repository is one line.
const LONGEST_LINK: u64 = 4096;
/// Trees that are kept, and the largest of them.
const MOST_TREES: usize = 2000;
const LARGEST_TREE: usize = 256 << 10;
/// Bits of a mode that say what something is.
const TYPE: u32 = 0o170_000;
const ORDINARY: u32 = 0o100_000;

/// A repository whose working tree lies in the project.
#[derive(Debug)]
pub(crate) struct Repository {
    /// The repository's working tree, below the project.
    pub(crate) folder: PathBuf,
    tree: OwnedFd,
    own: OwnedFd,
    common: OwnedFd,
    settings: Settings,
    store: Arc<Store>,
    look: Arc<Look>,
    index: OnceLock<Result<Index, Doubt>>,
    /// The tree of HEAD's commit.
    head: OnceLock<Result<Option<ObjectId>, Doubt>>,
    trees: Mutex<HashMap<ObjectId, Arc<Vec<u8>>>>,
    /// Attributes by folder.
    attributes: Mutex<HashMap<Vec<u8>, AboutFolder>>,
}

/// The files with attributes about one folder; none where they cannot be read for certain.
type AboutFolder = Option<Arc<Vec<Attributes>>>;

impl Repository {
    /// Opens the repository whose working tree is this folder of the project; none where there is
    /// none.
    pub(crate) fn open(
        root: &OwnedFd,
        at: &Path,
        tree: OwnedFd,
        look: &Arc<Look>,
    ) -> Result<Option<Repository>, Doubt> {
        let stat = match rustix::fs::statat(&tree, ".git", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(_) => return Err(Doubt::Unreadable(".git".to_owned())),
        };
        let outside = |_| Doubt::Outside;
        let (own_at, own) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let own = folder::folder(&tree, OsStr::new(".git")).map_err(outside)?;
                // git passes over a folder that is no repository's.
                if ["HEAD", "objects", "refs"].iter().any(|name| is_absent(&own, name)) {
                    return Ok(None);
                }
                (at.join(".git"), own)
            }
            FileType::RegularFile => {
                let text = folder::read(&tree, OsStr::new(".git"), LONGEST_LINK).map_err(outside)?;
                let target = text.strip_prefix(b"gitdir: ").ok_or(Doubt::Outside)?;
                descend(root, at, target)?
            }
            _ => return Err(Doubt::Outside),
        };
        let common = folder::read_if_there(&own, OsStr::new("commondir"), LONGEST_LINK).map_err(outside)?;
        let (common_at, common) = match common {
            Some(target) => descend(root, &own_at, &target)?,
            None => (own_at.clone(), folder::descend(&own, Path::new("")).map_err(outside)?),
        };
        let whereabouts = Whereabouts { tree: at, own: &own_at, common: &common_at };
        let settings = Settings::read(&own, &common, whereabouts)?;
        let objects = folder::folder(&common, OsStr::new("objects")).map_err(outside)?;
        let store = Store::new(objects, settings.form, settings.partial, look.clone());
        Ok(Some(Repository {
            folder: at.to_owned(),
            tree,
            own,
            common,
            settings,
            store: Arc::new(store),
            look: look.clone(),
            index: OnceLock::new(),
            head: OnceLock::new(),
            trees: Mutex::default(),
            attributes: Mutex::default(),
        }))
    }

    /// Says what index and HEAD have for a path of the working tree.
    pub(crate) fn of(&self, path: &Path) -> Result<Version, Doubt> {
        let bytes = path.as_os_str().as_bytes();
        let index = self.in_index(bytes)?;
        let index = match index {
            Some(named) => Some(self.entry(&named).ok_or(Doubt::NotAFile)?),
            None => None,
        };
        let (head, is_doubtful) = match self.in_head(bytes) {
            Ok(named) => (named.and_then(|named| self.entry(&named)), false),
            Err(_) => (None, true),
        };
        let filtered = is_doubtful || self.settings.other_attributes || self.converts(bytes);
        Ok(Version { index, head, filtered })
    }

    /// Returns the entry of an ordinary file; nothing for others.
    fn entry(&self, named: &Named) -> Option<Entry> {
        (named.mode & TYPE == ORDINARY).then(|| Entry {
            id: named.id.clone(),
            executable: named.mode & 0o100 != 0,
            store: self.store.clone(),
        })
    }

    fn form(&self) -> Form {
        self.settings.form
    }

    fn in_index(&self, path: &[u8]) -> Result<Option<Named>, Doubt> {
        let index = self.index.get_or_init(|| self.read_index()).as_ref().map_err(Clone::clone)?;
        let unreadable = || Doubt::Unreadable("the index".to_owned());
        let at = |path: &[u8]| {
            let place = index.entries.partition_point(|entry| entry.path.as_slice() < path);
            index.entries.get(place).filter(|entry| entry.path == path)
        };
        if let Some(entry) = at(path) {
            return match entry {
                _ if entry.stage > 0 => Err(Doubt::Conflicted),
                _ if entry.intent => Err(Doubt::IntentToAdd),
                _ => {
                    let id = self.form().take(&entry.object).ok_or_else(unreadable)?;
                    Ok(Some(Named { mode: entry.mode, id }))
                }
            };
        }
        // A sparse index has whole folders.
        for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if let Some(folder) = at(&path[..=slash]).filter(|entry| entry.mode == index::FOLDER) {
                let tree = self.form().take(&folder.object).ok_or_else(unreadable)?;
                return self.in_tree(tree, &path[slash + 1..]);
            }
        }
        Ok(None)
    }

    fn read_index(&self) -> Result<Index, Doubt> {
        let unreadable = || Doubt::Unreadable("the index".to_owned());
        let sha256 = self.form() == Form::Sha256;
        let read = |name: &str| {
            let bytes = folder::read_if_there(&self.own, OsStr::new(name), index::LARGEST);
            let bytes = bytes.map_err(|_| unreadable())?;
            match &bytes {
                Some(bytes) if !self.look.keeps(bytes.len()) => Err(Doubt::Spent),
                _ => Ok(bytes),
            }
        };
        let Some(bytes) = read("index")? else {
            return Ok(Index { version: 2, entries: Vec::new(), base: None });
        };
        let index = index::read(&bytes, sha256).ok_or_else(unreadable)?;
        let Some(base) = &index.base else { return Ok(index) };
        let shared = read(&format!("sharedindex.{}", hex::encode(&base.name)))?.ok_or_else(unreadable)?;
        if !shared.ends_with(&base.name) {
            return Err(unreadable());
        }
        let shared = index::read(&shared, sha256).ok_or_else(unreadable)?;
        index::joined(index, shared).ok_or_else(unreadable)
    }

    /// Returns what HEAD's commit has. A HEAD that cannot be read (a reftable) counts as one
    /// without commits: the index says what git compares with.
    fn in_head(&self, path: &[u8]) -> Result<Option<Named>, Doubt> {
        let tree = self.head.get_or_init(|| {
            let commit = match head::commit(&self.own, &self.common, self.form()) {
                Ok(Some(commit)) if self.settings.has_files => commit,
                _ => return Ok(None),
            };
            let text = self.store.read(&commit, Kind::Commit)?;
            object::tree_of(&text, self.form()).map(Some).ok_or(Doubt::Damaged(commit))
        });
        match tree.clone()? {
            Some(tree) => self.in_tree(tree, path),
            None => Ok(None),
        }
    }

    fn in_tree(&self, tree: ObjectId, path: &[u8]) -> Result<Option<Named>, Doubt> {
        let mut here = tree;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let text = self.tree(&here)?;
            let found = object::find(&text, part, self.form()).ok_or(Doubt::Damaged(here))?;
            match found {
                None => return Ok(None),
                Some(named) if parts.peek().is_none() => return Ok(Some(named)),
                Some(named) if named.mode == FOLDER => here = named.id,
                Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn tree(&self, id: &ObjectId) -> Result<Arc<Vec<u8>>, Doubt> {
        let trees = || self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = trees().get(id) {
            return Ok(text.clone());
        }
        let text = Arc::new(self.store.read(id, Kind::Tree)?);
        let mut trees = trees();
        if trees.len() < MOST_TREES && text.len() <= LARGEST_TREE && self.look.keeps(text.len()) {
            trees.insert(id.clone(), text.clone());
        }
        Ok(text)
    }

    /// Tells whether a filter or another attribute converts the path.
    fn converts(&self, path: &[u8]) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        let mut all = Vec::new();
        for end in std::iter::once(0).chain(slashes) {
            match self.attributes(&path[..end]) {
                Some(files) => all.push(files),
                None => return true,
            }
        }
        let topmost = all.first().into_iter().flat_map(|files| files.iter());
        let converting = Converting::of(topmost);
        all.iter().flat_map(|files| files.iter()).any(|file| converting.convert(file, path))
    }

    /// Reads the files with attributes about a folder: empty, or with `/` at its end.
    fn attributes(&self, folder: &[u8]) -> AboutFolder {
        let all = || self.attributes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = all().get(folder) {
            return files.clone();
        }
        let files = self.read_attributes(folder).ok().map(Arc::new);
        all().insert(folder.to_owned(), files.clone());
        files
    }

    fn read_attributes(&self, folder: &[u8]) -> Result<Vec<Attributes>, Doubt> {
        const NAME: &str = ".gitattributes";
        let unreadable = |_| Doubt::Unreadable(NAME.to_owned());
        let mut files: Vec<Attributes> = Vec::new();
        let mut take = |text: Vec<u8>| {
            if text.len() as u64 > LARGEST_ATTRIBUTES {
                return Err(Doubt::Unreadable(NAME.to_owned()));
            }
            let file = Attributes { folder: folder.to_owned(), text };
            if !files.contains(&file) {
                if !self.look.keeps(file.text.len()) {
                    return Err(Doubt::Spent);
                }
                files.push(file);
            }
            Ok(())
        };
        let read =
            |here: &OwnedFd, name: &str| folder::read_if_there(here, OsStr::new(name), LARGEST_ATTRIBUTES);
        match folder::descend(&self.tree, Path::new(OsStr::from_bytes(folder))) {
            Ok(here) => read(&here, NAME).map_err(unreadable)?.map_or(Ok(()), &mut take)?,
            Err(Closed::Absent) => {}
            Err(closed) => return Err(unreadable(closed)),
        }
        let path = [folder, NAME.as_bytes()].concat();
        for named in [self.in_index(&path)?, self.in_head(&path)?].into_iter().flatten() {
            // git reads them from nothing but ordinary files.
            if let Some(entry) = self.entry(&named) {
                take(entry.blob()?)?;
            }
        }
        if folder.is_empty() {
            let info = match folder::folder(&self.common, OsStr::new("info")) {
                Ok(info) => read(&info, "attributes").map_err(unreadable)?,
                Err(Closed::Absent) => None,
                Err(closed) => return Err(unreadable(closed)),
            };
            info.map_or(Ok(()), &mut take)?;
        }
        Ok(files)
    }
}

/// Opens the folder that a file of git leads to, which must lie in the project.
fn descend(root: &OwnedFd, from: &Path, target: &[u8]) -> Result<(PathBuf, OwnedFd), Doubt> {
    let target = Path::new(OsStr::from_bytes(place::one_path(target)));
    let at = place::below(from, target).ok_or(Doubt::Outside)?;
    let here = folder::descend(root, &at).map_err(|_| Doubt::Outside)?;
    Ok((at, here))
}

fn is_absent(here: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(here.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).is_err()
}
