//! Folders in which an agent could have written: links there are never followed, and files there
//! are never overwritten.
//!
//! ```text
//!  folder on the way ─┬─ given to an agent, in this run or an earlier one ─▶ writable by an agent
//!                     ├─ others than root and the caller can write it      ─▶ writable by others
//!                     ├─ a working tree of git                             ─▶ links in it came from others
//!                     └─ none of these                                     ─▶ links are followed as everywhere
//! ```
//! The record of what agents were given, `$XDG_STATE_HOME/ringfence/given/`, has one small file for
//! each directory. A lost record leaves the other two rules; one that cannot be read makes every
//! folder count as an agent's.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Stat};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::identity::Identity;
use super::owners::{Owners, STICKY, mode};
use super::path_walk::{Doubt, Folder, Rule};
use super::state;

/// Directories that are remembered; of more, the oldest that are gone are forgotten.
const MOST: usize = 1000;
/// A record is smaller.
const LARGEST: u64 = 16 << 10;
const ENDING: &str = "json";

/// A directory that an agent could write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenDirectory {
    /// Path in hexadecimal digits, since it need not be text.
    path: String,
    /// Identity of the folder when it was given.
    identity: Identity,
}

impl GivenDirectory {
    /// Makes a record of a directory at a path without links.
    pub(crate) fn new(path: &Path, identity: Identity) -> GivenDirectory {
        GivenDirectory { path: hex::encode(path.as_os_str().as_bytes()), identity }
    }

    fn path(&self) -> Option<PathBuf> {
        let path = PathBuf::from(OsString::from_vec(hex::decode(&self.path).ok()?));
        path.is_absolute().then_some(path)
    }
}

/// Directories that agents were given.
#[derive(Debug, Clone)]
pub(crate) struct Territory {
    given: Vec<GivenDirectory>,
    /// Reason for which every folder counts as an agent's.
    unknown: Option<String>,
    owners: Owners,
    /// The caller's home, which no agent is given: a repository there is the caller's own.
    home: Option<PathBuf>,
}

/// Directories that agents were given, in this run and by the record.
static KNOWN: OnceLock<Mutex<Territory>> = OnceLock::new();

/// Returns what is known in this process.
pub(crate) fn known() -> Territory {
    let known =
        KNOWN.get_or_init(|| Mutex::new(Territory::recorded(state::place().map(|dir| dir.join("given")))));
    known.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Counts a directory as an agent's from now on, in this process.
pub(crate) fn add(given: GivenDirectory) {
    known();
    if let Some(known) = KNOWN.get() {
        known.lock().unwrap_or_else(PoisonError::into_inner).add(given);
    }
}

/// Writes down what an agent is about to be given. It must not run before.
pub(crate) fn record(given: &[GivenDirectory]) -> io::Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    let folder = state::folder("given").map_err(|failure| io::Error::other(failure.message))?;
    record_in(&folder, given)?;
    forget(&folder, MOST);
    Ok(())
}

fn record_in(folder: &Path, given: &[GivenDirectory]) -> io::Result<()> {
    for one in given {
        let text = serde_json::to_vec(one)?;
        let name = format!("{}.{ENDING}", hex::encode(Sha256::digest(&text)));
        let path = folder.join(name);
        if path.exists() {
            continue;
        }
        let mut file = tempfile::Builder::new().suffix(".part").tempfile_in(folder)?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
    }
    fs::File::open(folder)?.sync_all()
}

/// Forgets the oldest directories that are gone. Nothing depends on this.
fn forget(folder: &Path, most: usize) {
    let mut all: Vec<(SystemTime, PathBuf)> = records(folder)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    all.sort();
    let mut left = all.len().saturating_sub(most);
    for (_, path) in all {
        if left == 0 {
            return;
        }
        let gone = read_record(&path).is_ok_and(|given| given.path().is_none_or(|at| !at.exists()));
        if gone && fs::remove_file(&path).is_ok() {
            left -= 1;
        }
    }
}

fn records(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut all = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == ENDING) {
            all.push(path);
        }
    }
    Ok(all)
}

fn read_record(path: &Path) -> io::Result<GivenDirectory> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    let given: GivenDirectory = serde_json::from_slice(&text)?;
    given.path().map(|_| given).ok_or_else(|| io::Error::other("it names no path"))
}

impl Territory {
    /// Reads the record in this folder.
    pub(crate) fn recorded(folder: Option<PathBuf>) -> Territory {
        let mut territory = Territory {
            given: Vec::new(),
            unknown: None,
            owners: Owners::caller(),
            home: std::env::var_os("HOME").map(PathBuf::from).and_then(|home| home.canonicalize().ok()),
        };
        let Some(folder) = folder else { return territory };
        let unreadable = |path: &Path, error: &io::Error| {
            Some(format!(
                "{}, which tells what agents were given, cannot be read ({error}); remove it if nobody needs it",
                path.display()
            ))
        };
        match records(&folder) {
            Err(error) => territory.unknown = unreadable(&folder, &error),
            Ok(paths) => {
                for path in paths {
                    match read_record(&path) {
                        Ok(given) => territory.given.push(given),
                        // Forgotten meanwhile by another run.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => territory.unknown = unreadable(&path, &error),
                    }
                }
            }
        }
        territory
    }

    /// Returns the reason for which an agent, or another user, could have written in a folder.
    fn doubt(&self, above: Option<&Folder>, folder: &Folder) -> Option<Doubt> {
        let above = above.and_then(|above| above.doubt.as_ref());
        if let Some(Doubt::Writable(why)) = above {
            return Some(Doubt::Writable(why.clone()));
        }
        if let Some(why) = &self.unknown {
            return Some(Doubt::Writable(why.clone()));
        }
        let shown = folder.path.display();
        if self.was_given(folder) {
            return Some(Doubt::Writable(format!("an agent was given {shown}")));
        }
        let mode = mode(&folder.stat);
        if !self.owners.own(&folder.stat) {
            return Some(Doubt::Writable(format!("{shown} belongs to user {}", folder.stat.st_uid)));
        }
        if self.owners.others_write(folder.stat.st_gid, mode) {
            let why = format!("others can write {shown}");
            return Some(if mode & STICKY == 0 { Doubt::Writable(why) } else { Doubt::Shared(why) });
        }
        if let Some(Doubt::Checkout(why)) = above {
            return Some(Doubt::Checkout(why.clone()));
        }
        let has_git = || rustix::fs::statat(&folder.fd, ".git", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let holds_home = self.home.as_ref().is_some_and(|home| home.starts_with(&folder.path));
        (!holds_home && has_git()).then(|| Doubt::Checkout(format!("{shown} is a working tree of git")))
    }

    fn was_given(&self, folder: &Folder) -> bool {
        if self.given.is_empty() {
            return false;
        }
        let identity = Identity::of(&folder.fd).ok();
        let is_it = |given: &GivenDirectory| {
            identity.is_some_and(|now| given.identity.is(now, false))
                || given.path().is_some_and(|path| path == folder.path)
        };
        self.given.iter().any(is_it)
    }

    /// Lists the directories that agents were given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.given.iter().filter_map(GivenDirectory::path)
    }

    /// Counts one more directory as an agent's.
    pub(crate) fn add(&mut self, given: GivenDirectory) {
        self.given.push(given);
    }
}

impl Rule for Territory {
    fn folder(&self, above: Option<&Folder>, folder: &Folder) -> Result<Option<Doubt>, String> {
        Ok(self.doubt(above, folder))
    }

    fn link(&self, inside: &Folder, path: &Path, stat: &Stat) -> Result<(), String> {
        match &inside.doubt {
            None => Ok(()),
            Some(Doubt::Shared(_)) if self.owners.own(stat) => Ok(()),
            Some(why) => Err(format!(
                "{} is a link that is not followed: {why}, so that somebody else may have made it",
                path.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_small_read_strictly_and_its_loss_is_no_pass() {
        let dir = tempfile::tempdir().unwrap();
        let here = Identity::of(fs::File::open(dir.path()).unwrap()).unwrap();
        let gone = |number: u32| GivenDirectory::new(Path::new(&format!("/nonexistent/{number}")), here);
        let kept = GivenDirectory::new(dir.path(), here);
        let records = dir.path().join("given");
        assert!(Territory::recorded(Some(records.clone())).unknown.is_none(), "there is none yet");
        fs::create_dir(&records).unwrap();
        record_in(&records, std::slice::from_ref(&kept)).unwrap();
        record_in(&records, &(0..20).map(gone).collect::<Vec<_>>()).unwrap();
        record_in(&records, std::slice::from_ref(&kept)).unwrap();
        assert_eq!(Territory::recorded(Some(records.clone())).given.len(), 21, "each once");
        forget(&records, 5);
        let left = Territory::recorded(Some(records.clone()));
        assert!(left.given.len() == 5 && left.given.contains(&kept), "what is there is remembered: {left:?}");
        for wrong in ["", "{", "{}", r#"{"path":"","identity":{"device":1,"inode":1,"born":null}}"#, "[1]"] {
            fs::write(records.join("x.json"), wrong).unwrap();
            let why = Territory::recorded(Some(records.clone())).unknown;
            assert!(why.as_ref().is_some_and(|why| why.contains("x.json")), "{wrong}: {why:?}");
        }
    }
}
