//! Files that several mounts, or several runs, lead to: a cover holds at every place where its file
//! is.
//!
//! ```text
//!  own covers ─────────────▶ (device, inode) ─┐
//!  records of other runs ──▶ (device, inode) ─┴─▶ every mount on such a device is walked ─▶ a cover at each place
//! ```
//! Each run writes its record before it reads the others', so that of two that start at once at
//! least one knows of the other.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::report;
use super::snapshot::{self, Mark, Snapshot};
use crate::host::at::{NAME_ONLY, open_below};
use crate::host::kernel;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::held;
use crate::workspace::mounts::{Bind, Identity};

/// The record in a run's folder.
const RECORD: &str = "covers.json";

/// Record of one run's covers, for other runs that are given the same files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Boot id of the kernel whose numbers these are.
    boot: Option<String>,
    /// Directories and files that the agent is given.
    given: Vec<String>,
    /// Files that it must not read.
    hidden: Vec<Hidden>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hidden {
    path: String,
    device: u64,
    inode: u64,
    /// Name of the copy in the run's folder; without one the file is empty.
    copy: Option<String>,
}

/// A file or folder, and what is laid over it.
#[derive(Debug, Clone)]
pub(super) struct Laid {
    /// The path of the original.
    pub(super) path: PathBuf,
    /// The copy; empty where [`Laid::hides`] all.
    pub(super) source: PathBuf,
    /// Strength of the cover: the lowest rank hides most.
    pub(super) rank: u8,
    /// The run that it was read from, if that is another one.
    pub(super) of: Option<WorkflowId>,
}

/// Ranks of [`super::With`].
pub(super) const HIDES_ALL: u8 = 0;
pub(super) const HIDES_SECRETS: u8 = 1;

/// Identity of a guarded file.
#[derive(Debug)]
pub(super) struct GuardedFile {
    /// Path in the container.
    pub(super) target: String,
    /// The target of the mount that it is in.
    pub(super) of: String,
    /// Path on this machine.
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

/// Everything that must be covered, by what it is.
#[derive(Debug, Default)]
pub(super) struct Guarded(pub(super) HashMap<Identity, Laid>);

/// Forgets what a run's folder tells other runs.
pub(super) fn forget(folder: &Path) -> std::io::Result<()> {
    match fs::remove_file(folder.join(RECORD)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Guarded {
    /// Adds what is at a path; of two covers of one file the one that hides more counts.
    pub(super) fn add(&mut self, identity: Identity, laid: Laid) {
        let known = self.0.get(&identity).is_some_and(|known| known.rank <= laid.rank);
        if !known {
            self.0.insert(identity, laid);
        }
    }

    /// Writes the record of this run into its folder, whole or not at all.
    pub(super) fn write(&self, folder: &Path, binds: &[Bind]) -> std::io::Result<()> {
        let hidden = self.0.iter().filter(|(_, laid)| laid.rank <= HIDES_SECRETS).map(|(identity, laid)| {
            let name = laid.source.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned);
            Hidden {
                path: laid.path.to_string_lossy().into_owned(),
                device: identity.device,
                inode: identity.inode,
                copy: name.filter(|_| laid.rank == HIDES_SECRETS),
            }
        });
        let record = Record {
            boot: kernel::boot_id(),
            given: binds.iter().map(|bind| bind.source.to_string_lossy().into_owned()).collect(),
            hidden: hidden.collect(),
        };
        let unfinished = folder.join("covers.new");
        fs::write(&unfinished, serde_json::to_vec(&record)?)?;
        fs::rename(unfinished, folder.join(RECORD))
    }

    /// Adds what other runs hide; tells which of them may read what is hidden here.
    pub(super) fn add_others(&mut self, folder: &Path, own: WorkflowId) -> std::io::Result<Vec<String>> {
        let mut told = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<WorkflowId>().ok()) else {
                continue;
            };
            let text = match fs::read(entry.path().join(RECORD)) {
                _ if id == own => continue,
                Ok(text) => text,
                // It has not got so far, and will read this run's record; or it is over.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let record: Record = serde_json::from_slice(&text)?;
            if record.boot != kernel::boot_id() {
                continue;
            }
            told.extend(self.shown_in(id, &record));
            for hidden in record.hidden {
                let rank = if hidden.copy.is_some() { HIDES_SECRETS } else { HIDES_ALL };
                let source = hidden.copy.map(|name| entry.path().join(name)).unwrap_or_default();
                let identity = Identity { device: hidden.device, inode: hidden.inode };
                self.add(identity, Laid { path: PathBuf::from(hidden.path), source, rank, of: Some(id) });
            }
        }
        Ok(told)
    }

    /// Lists files that are hidden in this run and not in another run that has them too.
    fn shown_in(&self, id: WorkflowId, other: &Record) -> Option<String> {
        let theirs: HashSet<(u64, u64)> =
            other.hidden.iter().map(|hidden| (hidden.device, hidden.inode)).collect();
        let has = |path: &Path| other.given.iter().any(|given| path.starts_with(given));
        let mut shown: Vec<String> = self
            .0
            .iter()
            .filter(|(_, laid)| laid.of.is_none() && laid.rank <= HIDES_SECRETS && has(&laid.path))
            .filter(|(identity, _)| !theirs.contains(&(identity.device, identity.inode)))
            .map(|(_, laid)| report::shown(&laid.path))
            .collect();
        shown.sort();
        (!shown.is_empty()).then(|| {
            format!(
                "workflow {id} works on the same files and is shown what is covered here, so it can pass it on to this agent: {}",
                report::few(shown)
            )
        })
    }

    /// Finds every place in the mounts where something guarded is. Of the mounts `known` only what
    /// other runs guard is not known yet.
    pub(super) fn places(&self, binds: &[Bind], known: &[&Bind]) -> Result<Vec<GuardedFile>, Failure> {
        let mut places = Vec::new();
        let devices: HashSet<u64> = self.0.keys().map(|identity| identity.device).collect();
        for bind in binds {
            if let Some(laid) = self.0.get(&bind.identity)
                && (laid.rank <= HIDES_SECRETS || bind.writable)
            {
                return Err(given_itself(bind, laid));
            }
            let needless = known.iter().any(|own| own.target == bind.target)
                && self.0.values().all(|laid| laid.of.is_none());
            if bind.directory && devices.contains(&bind.identity.device) && !needless {
                self.walk(bind, &mut places)?;
            }
        }
        Ok(places)
    }

    /// Finds what is guarded in one mount. A file with one name that is there has its own path; one
    /// with several names could be missed while something moves, so then the mount must be at rest.
    fn walk(&self, bind: &Bind, places: &mut Vec<GuardedFile>) -> Result<(), Failure> {
        let cannot = |why: &dyn std::error::Error| {
            Failure::new(COULD_NOT_RUN, format!("cannot look for covered files in {}", bind.source.display()))
                .caused_by(why)
                .hint("give a smaller directory, or one that holds nothing of the project")
        };
        let opened = bind.reopen().map_err(|error| cannot(&error))?;
        let (root, at) = (opened.as_fd(), bind.source.as_path());
        let has_several = |(identity, laid): (&Identity, &Laid)| {
            let found = held::open(&laid.path).and_then(|opened| Ok(rustix::fs::fstat(opened)?));
            found.map_or(true, |stat| {
                let mark = Mark::of(&stat);
                mark.identity != *identity || (mark.names > 1 && !mark.is_folder())
            })
        };
        let snapshot = match self.0.iter().any(has_several) {
            true => snapshot::at_rest(root, at)?,
            false => Snapshot::take(root, at, |_| false)?,
        };
        for (identity, laid) in &self.0 {
            let Ok(below) = laid.path.strip_prefix(at) else { continue };
            let found = match open_below(root, below, NAME_ONLY) {
                // On another file system, which is not given.
                Err(Errno::XDEV) => continue,
                found => found.and_then(rustix::fs::fstat),
            };
            if !found.is_ok_and(|stat| held::identity(&stat) == *identity) {
                return Err(cannot(&std::io::Error::other(format!(
                    "{} has moved",
                    report::shown(&laid.path)
                ))));
            }
            if let Some(text) = below.to_str() {
                let target = format!("{}/{text}", bind.target.trim_end_matches('/'));
                let (of, path) = (bind.target.clone(), laid.path.clone());
                places.push(GuardedFile { target, of, path, identity: *identity });
            }
        }
        let listed = snapshot.folders.iter().flat_map(|folder| {
            folder.entries.iter().map(|entry| (folder.path.join(&entry.name), entry.mark.identity))
        });
        for (below, identity) in listed.filter(|(_, identity)| self.0.contains_key(identity)) {
            let Some(text) = below.to_str() else {
                let what = format!("{} must be covered, and its name is no UTF-8", report::shown(&below));
                return Err(cannot(&std::io::Error::other(what)));
            };
            let target = format!("{}/{text}", bind.target.trim_end_matches('/'));
            let path = bind.source.join(&below);
            places.push(GuardedFile { target, of: bind.target.clone(), path, identity });
        }
        Ok(())
    }
}

fn given_itself(bind: &Bind, laid: &Laid) -> Failure {
    let by = laid.of.map_or_else(
        || "in this run".to_owned(),
        |id| format!("in workflow {id}, which works on the same files"),
    );
    let what = if laid.rank <= HIDES_SECRETS { "is covered" } else { "must not be changed" };
    let shown = report::shown(&laid.path);
    Failure::new(
        COULD_NOT_RUN,
        format!("--mount {}:{}: {shown} {what} {by}", report::shown(&bind.source), bind.target),
    )
    .hint(match laid.of {
        None => format!("--unmask {} shows it", laid.path.file_name().unwrap_or_default().display()),
        Some(_) => "wait until that workflow has ended".to_owned(),
    })
}

/// Tells whether the agent sees the mount at `target`: no other mount lies between `of` and it.
pub(super) fn is_seen(target: &str, of: &str, all: &[&str]) -> bool {
    let inside = |outer: &str| Path::new(target).starts_with(outer);
    all.iter().filter(|other| inside(other)).all(|other| other.len() <= of.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_beneath_another_mount_is_not_seen() {
        let all = ["/workspace", "/workspace/sub", "/above"];
        assert!(is_seen("/workspace/.env", "/workspace", &all));
        assert!(is_seen("/workspace/sub/notes", "/workspace/sub", &all));
        assert!(is_seen("/workspace/subway/.env", "/workspace", &all));
        assert!(!is_seen("/workspace/sub/.env", "/workspace", &all));
    }

    fn laid(path: &str, rank: u8) -> Laid {
        Laid { path: path.into(), source: PathBuf::new(), rank, of: None }
    }

    #[test]
    fn of_two_covers_of_one_file_the_one_that_hides_more_counts() {
        let (mut guarded, identity) = (Guarded::default(), Identity { device: 1, inode: 2 });
        for (rank, kept) in [(2, 2), (1, 1), (2, 1), (0, 0), (1, 0)] {
            guarded.add(identity, laid("/p/.env", rank));
            assert_eq!(guarded.0[&identity].rank, kept);
        }
    }

    #[test]
    fn other_runs_hand_over_what_they_hide_and_are_told_of_when_they_hide_less() {
        let dir = tempfile::tempdir().unwrap();
        let ids = [1u32, 2, 3].map(|number| format!("{number:08x}").parse::<WorkflowId>().unwrap());
        let folder = |id: WorkflowId| dir.path().join(id.to_string());
        ids.iter().for_each(|id| fs::create_dir(folder(*id)).unwrap());
        let (env, key) = (Identity { device: 1, inode: 2 }, Identity { device: 1, inode: 3 });
        let mut theirs = Guarded::default();
        theirs.add(env, Laid { source: folder(ids[0]).join("7"), ..laid("/p/.npmrc", HIDES_SECRETS) });
        theirs.write(&folder(ids[0]), &[]).unwrap();
        let mut record: Record =
            serde_json::from_slice(&fs::read(folder(ids[0]).join(RECORD)).unwrap()).unwrap();
        record.given = vec!["/p".to_owned()];
        fs::write(folder(ids[0]).join(RECORD), serde_json::to_vec(&record).unwrap()).unwrap();
        // Of another boot: its numbers mean nothing.
        record.boot = Some("another".to_owned());
        record.hidden[0].inode = 9;
        fs::write(folder(ids[2]).join(RECORD), serde_json::to_vec(&record).unwrap()).unwrap();
        let mut own = Guarded::default();
        own.add(key, laid("/p/id_rsa", HIDES_ALL));
        let told = own.add_others(dir.path(), ids[1]).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&ids[0].to_string()) && told[0].ends_with(": /p/id_rsa"), "{told:?}");
        assert_eq!(own.0.len(), 2);
        assert_eq!(own.0[&env].source, folder(ids[0]).join("7"));
        assert_eq!(own.0[&env].of, Some(ids[0]));
        // A record that cannot be read is no reason to go on without it.
        fs::write(folder(ids[2]).join(RECORD), "{").unwrap();
        assert!(own.add_others(dir.path(), ids[1]).is_err());
    }
}
