//! The records of the runs that this machine made: `$XDG_STATE_HOME/ringfence/runs/ID.json`.
//!
//! ```text
//!  before anything exists ─▶ line 1: id, name, digest, time, engine, project ─┐
//!  all is created         ─▶ line 2: the engine's own ids                     ├─ locked by the supervisor for its life
//!  all is removed         ─▶ the file goes                                    ┘
//! ```
//! An object on the engine is acted on with effects on this machine only where such a record agrees
//! with its name and labels. The lock ends with the process, however that ends: who finds it free
//! knows that the supervisor is gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::state;
use crate::layers::record;
use crate::supervisor::records::changes;
use crate::supervisor::spec::part::{Claim, Part};
use crate::supervisor::spec::workflow::{Helpers, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{EngineId, PolicyDigest, Role, UnixTime, WorkflowId, WorkflowName};

const ENDING: &str = "json";

/// Record of a run that this machine made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    id: WorkflowId,
    name: Option<WorkflowName>,
    digest: Option<PolicyDigest>,
    created_at: UnixTime,
    /// Address at which the engine was found.
    engine: String,
    /// The project, for people.
    project: Option<String>,
    /// Tells whether the supervisor could lock the file.
    locked: bool,
    /// The engine's ids, as far as they were written down.
    #[serde(skip)]
    ids: BTreeMap<Role, EngineId>,
}

impl Run {
    /// That of a workflow, if this machine made it. One that cannot be read is none: nothing on
    /// this machine is done by it.
    pub(crate) fn of(id: WorkflowId) -> Option<Run> {
        Run::read(&path(id).ok()?).filter(|run| run.id == id)
    }

    fn read(path: &Path) -> Option<Run> {
        let text = fs::read_to_string(path).ok()?;
        // What has no end was not written whole.
        let (whole, _) = text.rsplit_once('\n')?;
        let mut lines = whole.lines();
        let run: Run = serde_json::from_str(lines.next()?).ok()?;
        let ids = lines.next().map_or(Some(BTreeMap::new()), |line| serde_json::from_str(line).ok())?;
        Some(Run { ids, ..run })
    }

    /// Tells whether a part on the engine is the run's: labels agree, and the engine's id where it
    /// was written down.
    pub(crate) fn knows(&self, part: &Part) -> bool {
        let Claim { workflow, name, digest, created_at } = &part.claim;
        let is_claimed =
            (workflow, name, digest, created_at) == (&self.id, &self.name, &self.digest, &self.created_at);
        is_claimed && self.ids.get(&part.role).is_none_or(|id| id.as_ref() == part.handle)
    }

    /// Returns its fence and guard, where they were written down. They may be gone.
    pub(crate) fn helpers(&self) -> Option<Helpers> {
        let id = |role| self.ids.get(&role).map(|id| id.as_ref().to_owned());
        Some(Helpers { id: self.id, guard: id(Role::Guard)?, fence: id(Role::Fence)? })
    }

    /// Tells whether its supervisor held a lock, so that one that is free says that the supervisor
    /// is gone.
    pub(crate) fn was_locked(&self) -> bool {
        self.locked
    }
}

/// The record of a run that goes on, locked.
pub(crate) struct Held {
    file: File,
    path: PathBuf,
}

impl Held {
    /// Writes down a run of which nothing exists yet.
    pub(crate) fn begin(workflow: &Workflow, engine: &str, project: Option<&Path>) -> Result<Held, Failure> {
        let path = path(workflow.id)?;
        let run = Run {
            id: workflow.id,
            name: workflow.name.clone(),
            digest: workflow.digest.clone(),
            created_at: workflow.created_at,
            engine: engine.to_owned(),
            project: project.map(|project| project.to_string_lossy().into_owned()),
            locked: true,
            ids: BTreeMap::new(),
        };
        let file = write(&path, run).map_err(|error| cannot("write", &path, &error))?;
        Ok(Held { file, path })
    }

    /// Holds the record of a run again whose supervisor is gone.
    ///
    /// # Errors
    /// When it is not there, or another supervisor holds it.
    pub(crate) fn again(id: WorkflowId) -> Result<Held, Failure> {
        let path = path(id)?;
        let file = File::options().append(true).open(&path).map_err(|error| cannot("open", &path, &error))?;
        file.try_lock().map_err(|error| cannot("lock", &path, &error))?;
        Ok(Held { file, path })
    }

    /// Adds the engine's ids of the network and of the containers that last as long as the run.
    pub(crate) fn add_ids(&mut self, parts: &[Part]) -> Result<(), Failure> {
        // The other containers come and go during a run.
        let lasting = |role| matches!(role, Role::Agent | Role::Fence | Role::Guard | Role::Network);
        let parts = parts.iter().filter(|part| lasting(part.role));
        let ids: BTreeMap<Role, EngineId> =
            parts.filter_map(|part| Some((part.role, part.handle.parse().ok()?))).collect();
        let line = serde_json::to_vec(&ids).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|error| cannot("write", &self.path, &error))
    }
}

/// Writes a record so that it is whole and locked from the first moment that anybody can see it.
fn write(path: &Path, mut run: Run) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().suffix(state::UNFINISHED).tempfile_in(folder)?;
    // Not every file system has locks; the guard is asked then.
    run.locked = file.as_file().try_lock().is_ok();
    let mut line = serde_json::to_vec(&run)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.persist_noclobber(path).map_err(|error| error.error)
}

/// Tells whether a supervisor on this machine still works for a workflow. One of version 0.1 holds
/// the events until the guard has ended.
pub(crate) fn is_supervised(id: WorkflowId) -> bool {
    is_held(id) || state::are_events_held(id)
}

/// Tells whether a supervisor on this machine holds the record of a workflow.
fn is_held(id: WorkflowId) -> bool {
    path(id).is_ok_and(|path| state::is_locked(&path))
}

/// Forgets a workflow of which nothing is left.
pub(crate) fn forget(id: WorkflowId) -> Result<(), Failure> {
    record::forget(id)?;
    changes::forget(id)?;
    let path = path(id)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", &path, &error)),
        _ => Ok(()),
    }
}

/// Forgets the runs of this engine that are not on it any more and that nobody supervises; `living`
/// are.
pub(crate) fn sweep(engine: &str, living: &[WorkflowId]) -> Result<(), Failure> {
    let folder = state::folder("runs")?;
    state::remove_unfinished(&folder);
    for entry in fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        if let (Some(ENDING), Some(id)) = (path.extension().and_then(|end| end.to_str()), id)
            && !living.contains(&id)
            && !is_held(id)
            && is_on(&path, engine)
        {
            forget(id)?;
        }
    }
    changes::sweep(|id| is_held(id) || path(id).is_ok_and(|path| path.exists()))
}

fn is_on(record: &Path, engine: &str) -> bool {
    Run::read(record).is_some_and(|run| run.engine == engine)
}

fn path(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(state::folder("runs")?.join(format!("{id}.{ENDING}")))
}

fn cannot(what: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::spec::part::tests::agent as part_of_an_agent;

    fn run(part: &Part) -> Run {
        Run {
            id: part.claim.workflow,
            name: part.claim.name.clone(),
            digest: part.claim.digest.clone(),
            created_at: part.claim.created_at,
            engine: "unix:///e".to_owned(),
            project: None,
            locked: true,
            ids: BTreeMap::new(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_held_while_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let part = part_of_an_agent();
        let path = dir.path().join(format!("{}.json", part.claim.workflow));
        let file = write(&path, run(&part)).unwrap();
        let mut held = Held { file, path: path.clone() };
        let before = Run::read(&path).unwrap();
        assert_eq!(before, run(&part));
        assert!(before.knows(&part) && before.was_locked());
        held.add_ids(std::slice::from_ref(&part)).unwrap();
        let after = Run::read(&path).unwrap();
        assert!(after.knows(&part));
        assert!(
            !after.knows(&Part { handle: "f".repeat(64), ..part.clone() }),
            "another object of that name"
        );
        assert!(File::open(&path).unwrap().try_lock_shared().is_err());
        drop(held);
        assert!(File::open(&path).unwrap().try_lock_shared().is_ok());
        assert!(write(&path, run(&part)).is_err(), "no record is replaced");
    }

    #[test]
    fn labels_that_disagree_are_not_the_runs() {
        let part = part_of_an_agent();
        let record = run(&part);
        let other = |change: fn(&mut Claim)| {
            let mut part = part.clone();
            change(&mut part.claim);
            part
        };
        for changed in [
            other(|claim| claim.created_at = UnixTime(8)),
            other(|claim| claim.name = "nightly".parse().ok()),
            other(|claim| claim.digest = None),
            other(|claim| claim.workflow = "44556677".parse().unwrap()),
        ] {
            assert!(!record.knows(&changed), "{changed:?}");
        }
    }

    #[test]
    fn half_a_line_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, part) = (dir.path().join("r.json"), part_of_an_agent());
        drop(write(&path, run(&part)).unwrap());
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"agent\":\"ee");
        fs::write(&path, &text).unwrap();
        assert!(Run::read(&path).unwrap().knows(&part));
        fs::write(&path, &text[..20]).unwrap();
        assert_eq!(Run::read(&path), None);
    }
}
