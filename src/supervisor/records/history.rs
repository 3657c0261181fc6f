//! The history of the runs that this machine made: `$XDG_STATE_HOME/ringfence/history/ID.json`.
//!
//! ```text
//!  before anything exists ─▶ line 1: id, name, image, project, engine, time ─┐
//!  the agent runs         ─▶ "works"                                          ├─ locked by the supervisor for its life
//!  all is removed         ─▶ "over": time, status, cause                      ┘
//!  stop, gc               ─▶ "over" of a run whose supervisor is gone
//! ```
//! The lock ends with the process, however that ends: who has waited for it reads how the run
//! ended. Nothing is done to the engine by this record; [`runs`](super::runs) has the one for that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::host::clock::unix_seconds;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::event::{How, Known};
use crate::wire::{ImageName, UnixTime, WorkflowId, WorkflowName};

const ENDING: &str = "json";
/// Runs that began so long ago are forgotten, as their events are.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// So many runs are remembered.
const KEPT_RUNS: usize = 2000;
/// A record is no longer than this; more of a damaged one is not read.
const LONGEST: u64 = 64 << 10;

/// Facts of a run that are known before anything of it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunBeginning {
    /// The run.
    pub(crate) id: WorkflowId,
    /// The name that a person gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<WorkflowName>,
    /// The agent's image, as it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageName>,
    /// The project's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// Address at which the engine was found.
    pub(crate) engine: String,
    /// The time of the start.
    pub(crate) created_at: UnixTime,
    /// Tells whether its supervisor left its caller (`run -d`).
    #[serde(default)]
    pub(crate) detached: bool,
    /// Tells whether the supervisor could lock the file.
    #[serde(default)]
    pub(crate) locked: bool,
}

/// End of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunEnding {
    /// The time of the end.
    pub(crate) ended_at: UnixTime,
    /// Exit status of `ringfence run`. Where no supervisor was left: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u8>,
    /// Cause of the end; none where the agent was never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<Known<How>>,
}

impl RunEnding {
    /// Makes an ending at this moment.
    pub(crate) fn now(status: Option<u8>, how: Option<How>) -> RunEnding {
        RunEnding { ended_at: UnixTime(unix_seconds()), status, how: how.map(Known::This) }
    }
}

/// Facts of an agent that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunWorks {
    /// The time of its start.
    pub(crate) since: UnixTime,
    /// Number and group of its user, as its image had them before it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

/// A line behind the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    /// The agent runs.
    Works(RunWorks),
    /// The run is over.
    Over(RunEnding),
}

/// A run, as far as it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunHistory {
    /// Facts of its start.
    pub(crate) begun: RunBeginning,
    /// Facts of the agent, once it runs.
    pub(crate) works: Option<RunWorks>,
    /// End of the run; none while it goes on, or where nobody was left to write it down.
    pub(crate) over: Option<RunEnding>,
}

impl RunHistory {
    /// Returns the history of a run, if this machine made it.
    pub(crate) fn of(id: WorkflowId) -> Option<RunHistory> {
        RunHistory::read(&path(id).ok()?).filter(|run| run.begun.id == id)
    }

    fn read(path: &Path) -> Option<RunHistory> {
        let mut text = String::new();
        File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        // What has no end was not written whole.
        let (whole, _) = text.rsplit_once('\n')?;
        let mut lines = whole.lines();
        let begun = serde_json::from_str(lines.next()?).ok()?;
        let mut run = RunHistory { begun, works: None, over: None };
        for step in lines.filter_map(|line| serde_json::from_str(line).ok()) {
            match step {
                Step::Works(works) => run.works = run.works.or(Some(works)),
                // The first is the supervisor's, or of the one who found it gone.
                Step::Over(ending) => run.over = run.over.or(Some(ending)),
            }
        }
        Some(run)
    }
}

/// The history of a run that goes on, locked.
pub(crate) struct HistoryWriter {
    file: File,
    path: PathBuf,
}

impl HistoryWriter {
    /// Writes down a run of which nothing exists yet.
    pub(crate) fn begin(begun: RunBeginning) -> Result<HistoryWriter, Failure> {
        let path = path(begun.id)?;
        let file = write(&path, begun).map_err(|error| cannot("write", &path, &error))?;
        Ok(HistoryWriter { file, path })
    }

    /// Holds the history of a run again whose supervisor is gone.
    ///
    /// # Errors
    /// When it is not there, or another supervisor holds it.
    pub(crate) fn again(id: WorkflowId) -> Result<HistoryWriter, Failure> {
        let path = path(id)?;
        let file = File::options().append(true).open(&path).map_err(|error| cannot("open", &path, &error))?;
        file.try_lock().map_err(|error| cannot("lock", &path, &error.into()))?;
        Ok(HistoryWriter { file, path })
    }

    /// Writes down that the agent runs, as which user.
    pub(crate) fn works(&mut self, user: Option<String>) {
        self.add(&Step::Works(RunWorks { since: UnixTime(unix_seconds()), user }));
    }

    /// Writes down how the run ended.
    pub(crate) fn over(&mut self, ending: RunEnding) {
        self.add(&Step::Over(ending));
    }

    /// Adds a line. A full disk keeps no run from its end; it is told.
    fn add(&mut self, step: &Step) {
        if let Err(error) = add(&mut self.file, step) {
            cannot("write", &self.path, &error).tell();
        }
    }
}

fn add(file: &mut File, step: &Step) -> io::Result<()> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Writes a record so that it is whole and locked from the first moment that anybody can see it.
fn write(path: &Path, mut begun: RunBeginning) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().suffix(state::UNFINISHED).tempfile_in(folder)?;
    begun.locked = file.as_file().try_lock().is_ok();
    let mut line = serde_json::to_vec(&begun)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.persist_noclobber(path).map_err(|error| error.error)
}

/// Lists the runs that are remembered, oldest first.
pub(crate) fn all() -> Result<Vec<RunHistory>, Failure> {
    Ok(all_in(&state::folder("history")?)?.into_iter().map(|(_, run)| run).collect())
}

fn all_in(folder: &Path) -> Result<Vec<(PathBuf, RunHistory)>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| cannot("list", folder, &error))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
    let mut all: Vec<_> = paths.filter_map(|path| Some((path.clone(), RunHistory::read(&path)?))).collect();
    all.sort_by_key(|(_, run)| (run.begun.created_at, run.begun.id));
    Ok(all)
}

/// Finds the run that is meant by an id, a name, of which the latest run counts, or the beginning
/// of one id.
///
/// # Errors
/// When several ids begin so.
pub(crate) fn find<'a>(all: &'a [RunHistory], wanted: &str) -> Result<Option<&'a RunHistory>, Failure> {
    let id = |run: &RunHistory| run.begun.id.to_string();
    let exact = all.iter().find(|run| id(run) == wanted);
    let named = || {
        let is = |run: &&RunHistory| run.begun.name.as_ref().is_some_and(|name| name.as_ref() == wanted);
        all.iter().rev().find(is)
    };
    if let Some(run) = exact.or_else(named) {
        return Ok(Some(run));
    }
    let mut begun = all.iter().filter(|run| !wanted.is_empty() && id(run).starts_with(wanted));
    match (begun.next(), begun.next()) {
        (run, None) => Ok(run),
        (_, Some(_)) => Err(Failure::new(COULD_NOT_RUN, format!("`{wanted}` may mean several runs"))
            .hint("give more of the id")),
    }
}

/// Tells whether the supervisor of a run, on this machine, still works for it.
pub(crate) fn is_held(id: WorkflowId) -> bool {
    path(id).is_ok_and(|path| state::is_locked(&path))
}

/// Tells whether a run is remembered. One whose record cannot be looked for counts.
pub(crate) fn is_remembered(id: WorkflowId) -> bool {
    path(id).map_or(true, |path| path.try_exists().unwrap_or(true))
}

/// Blocks until the supervisor of a run has ended, however that ends.
pub(crate) fn block_until_free(id: WorkflowId) -> io::Result<()> {
    let path = path(id).map_err(|failure| io::Error::other(failure.message))?;
    File::open(path)?.lock_shared()
}

/// Writes down the end of a run whose supervisor is gone, unless that was done.
pub(crate) fn close(id: WorkflowId, ending: RunEnding) -> Result<(), Failure> {
    let path = path(id)?;
    if state::is_locked(&path) || RunHistory::read(&path).is_none_or(|run| run.over.is_some()) {
        return Ok(());
    }
    let opened = OpenOptions::new().append(true).open(&path);
    opened
        .and_then(|mut file| add(&mut file, &Step::Over(ending)))
        .map_err(|error| cannot("write", &path, &error))
}

/// Forgets old runs, and the oldest beyond those that are remembered. Runs that are on the engine
/// (`living`) or supervised stay.
pub(crate) fn sweep(living: &[WorkflowId]) -> Result<(), Failure> {
    sweep_in(&state::folder("history")?, SystemTime::now(), KEPT_RUNS, living)
}

fn sweep_in(folder: &Path, now: SystemTime, most: usize, living: &[WorkflowId]) -> Result<(), Failure> {
    state::remove_unfinished(folder);
    let all = all_in(folder)?;
    let beyond = all.len().saturating_sub(most);
    for (number, (path, run)) in all.iter().enumerate() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(run.begun.created_at.0);
        let is_old = now.duration_since(began).is_ok_and(|age| age > KEPT_FOR);
        if (number < beyond || is_old) && !living.contains(&run.begun.id) && !state::is_locked(path) {
            remove(path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        _ => Ok(()),
    }
}

fn path(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(state::folder("history")?.join(format!("{id}.{ENDING}")))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of this id and name that began then.
    pub(crate) fn run(id: u32, name: Option<&str>, created_at: u64) -> RunHistory {
        let begun = RunBeginning {
            id: format!("{id:08x}").parse().unwrap(),
            name: name.map(|name| name.parse().unwrap()),
            image: Some("agent:dev".parse().unwrap()),
            project: None,
            engine: "unix:///e".to_owned(),
            created_at: UnixTime(created_at),
            detached: false,
            locked: true,
        };
        RunHistory { begun, works: None, over: None }
    }

    #[test]
    fn a_history_is_read_as_far_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000002a.json");
        let before = run(42, Some("night"), 7);
        let mut writer =
            HistoryWriter { file: write(&path, before.begun.clone()).unwrap(), path: path.clone() };
        assert_eq!(RunHistory::read(&path).unwrap(), before);
        assert!(state::is_locked(&path));
        writer.works(Some("7:8".to_owned()));
        let works = RunHistory::read(&path).unwrap().works.unwrap();
        assert_eq!(works.user.as_deref(), Some("7:8"));
        let ending = RunEnding { ended_at: UnixTime(9), status: Some(3), how: Some(How::Exited.into()) };
        writer.over(ending.clone());
        drop(writer);
        assert!(!state::is_locked(&path));
        // A second end, and half of a third, change nothing.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        add(&mut file, &Step::Over(RunEnding { status: Some(4), ..ending.clone() })).unwrap();
        file.write_all(b"{\"over\":{\"ended").unwrap();
        assert_eq!(RunHistory::read(&path).unwrap().over, Some(ending));
        assert!(write(&path, before.begun).is_err(), "no record is replaced");
    }

    #[test]
    fn the_latest_run_of_a_name_is_meant_and_never_one_by_chance() {
        let all = [run(0xaa01, Some("night"), 1), run(0xaa02, None, 2), run(0xbb03, Some("night"), 3)];
        let meant = |wanted| find(&all, wanted).map(|run| run.map(|run| run.begun.id.to_string()));
        assert_eq!(meant("night").unwrap().as_deref(), Some("0000bb03"));
        assert_eq!(meant("0000aa01").unwrap().as_deref(), Some("0000aa01"));
        assert_eq!(meant("0000b").unwrap().as_deref(), Some("0000bb03"));
        assert_eq!((meant("").unwrap(), meant("nigh").unwrap()), (None, None));
        assert!(meant("0000aa").is_err());
        let all = [run(0xaa01, Some("0000bb03"), 9), run(0xbb03, None, 1)];
        assert_eq!(find(&all, "0000bb03").unwrap().unwrap().begun.id.to_string(), "0000bb03");
    }

    #[test]
    fn old_runs_go_and_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let day = 24 * 3600;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * day);
        let mut held = Vec::new();
        for (id, age) in [(1, 200), (2, 100), (3, 95), (4, 50), (5, 40), (6, 30)] {
            let path = folder.path().join(format!("{id:08x}.json"));
            held.push(write(&path, run(id, None, (1000 - age) * day).begun).unwrap());
        }
        let left = || {
            let all = all_in(folder.path()).unwrap();
            all.iter().map(|(_, run)| run.begun.id.number()).collect::<Vec<_>>()
        };
        sweep_in(folder.path(), now, 3, &[]).unwrap();
        assert_eq!(left().len(), 6, "supervised runs stay");
        held.clear();
        sweep_in(folder.path(), now, 100, &[run(2, None, 0).begun.id]).unwrap();
        assert_eq!(left(), [2, 4, 5, 6]);
        sweep_in(folder.path(), now, 2, &[]).unwrap();
        assert_eq!(left(), [5, 6]);
    }
}
