//! The records of the homes that this machine made: `$XDG_STATE_HOME/ringfence/homes/NAME.json`.
//!
//! ```text
//!  first run with a name ─▶ line 1: name, key, engine, project, image ─┐
//!  each run with it      ─▶ line 2: the run, and when                  ├─ locked by the run's supervisor for its life
//!  ringfence home rm     ─▶ the file goes                              ┘
//! ```
//! A volume on the engine is a home only where such a record has its key. The lock ends with the
//! process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::clock::unix_seconds;
use crate::host::state;
use crate::supervisor::spec::home::{HomeIdentity, HomeOwner, HomeRequest};
use crate::supervisor::spec::workflow::Workflow;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{HomeName, UnixTime, WorkflowId, WorkflowName};

const ENDING: &str = "json";
/// A removal may take a record away between its opening and its lock; so often it is opened anew.
const TRIES: usize = 8;
/// Time between two tries for a lock.
const A_MOMENT: Duration = Duration::from_millis(15);

/// Record of a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeRecord {
    /// Identity of the home.
    #[serde(flatten)]
    pub(crate) identity: HomeIdentity,
    /// Address of the engine that has the volume.
    pub(crate) engine: String,
    /// The last run.
    #[serde(skip)]
    pub(crate) last: Option<HomeUse>,
}

/// A run that used a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeUse {
    run: WorkflowId,
    name: Option<WorkflowName>,
    /// Time of the run's start.
    pub(crate) at: UnixTime,
}

impl HomeRecord {
    /// Reads a record. What has no end was not written whole.
    fn read(text: &str) -> Option<HomeRecord> {
        let (whole, _) = text.rsplit_once('\n')?;
        let mut lines = whole.lines();
        let record: HomeRecord = serde_json::from_str(lines.next()?).ok()?;
        Some(HomeRecord { last: lines.next().and_then(|line| serde_json::from_str(line).ok()), ..record })
    }

    /// Writes the first line.
    fn first_line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Refuses a run of another project, another image or on another engine.
    fn check(&self, asked: &HomeOwner, engine: &str) -> Result<(), Failure> {
        let name = &self.identity.name;
        let HomeOwner { project, image } = &self.identity.owner;
        let other = "choose another name for this run's home";
        let belongs = |whose: String| {
            Failure::new(COULD_NOT_RUN, format!("--home {name}: that home belongs to {whose}"))
        };
        if *project != asked.project {
            let whose = match project {
                Some(project) => format!("the project {project}"),
                None => "runs without a project".to_owned(),
            };
            // To remove it would end that project's logins.
            return Err(belongs(whose).hint(format!("{other}: a name is one home on this machine")));
        }
        let refused = |whose: String| {
            Err(belongs(whose).hint(format!("{other}, or remove that one: ringfence home rm {name}")))
        };
        if *image != asked.image {
            return refused(format!("the image {image}, and this run's is {}", asked.image));
        }
        if self.engine != engine {
            return refused(format!("the engine at {}", self.engine));
        }
        Ok(())
    }

    /// Names the last run, for a message.
    fn user(&self) -> String {
        match &self.last {
            Some(HomeUse { run, name: Some(name), .. }) => format!("the run {run} ({name})"),
            Some(HomeUse { run, name: None, .. }) => format!("the run {run}"),
            None => "another command".to_owned(),
        }
    }
}

/// The record of a home that is in use, locked.
pub(crate) struct HeldHome {
    file: File,
    path: PathBuf,
    /// The record.
    pub(crate) record: HomeRecord,
    /// Tells whether this run made the record, and its agent has not run yet: the name is free
    /// again when that run fails.
    is_new: bool,
}

impl Drop for HeldHome {
    /// Takes a record away that is of no home yet. The lock is still held.
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl HeldHome {
    /// Keeps the home from now on, whatever becomes of the run.
    pub(crate) fn keep(&mut self) {
        self.is_new = false;
    }

    /// Tells whether no agent has used the home yet.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes a home for a run; makes its record where there is none.
    ///
    /// # Errors
    /// When it belongs to another project, image or engine, or another run has it.
    pub(crate) fn of_run(
        asked: &HomeRequest,
        engine: &str,
        workflow: &Workflow,
    ) -> Result<HeldHome, Failure> {
        HeldHome::at(&path(&asked.name)?, asked, engine, workflow)
    }

    fn at(path: &Path, asked: &HomeRequest, engine: &str, workflow: &Workflow) -> Result<HeldHome, Failure> {
        for _ in 0..TRIES {
            let mut held = match HeldHome::open(path, &asked.name)? {
                Some(held) => held,
                None => match HeldHome::make(path, asked, engine) {
                    Ok(held) => held,
                    // Another run was faster.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(cannot("write", path, &error)),
                },
            };
            held.record.check(&asked.owner, engine)?;
            held.write_use(workflow).map_err(|error| cannot("write", path, &error))?;
            return Ok(held);
        }
        Err(in_use(&asked.name, "another command"))
    }

    /// Takes a home for its removal; none where there is no such home.
    ///
    /// # Errors
    /// When a run has it.
    pub(crate) fn of_removal(name: &HomeName) -> Result<Option<HeldHome>, Failure> {
        HeldHome::open(&path(name)?, name)
    }

    /// Opens and locks the record of this name; none where there is none.
    fn open(path: &Path, name: &HomeName) -> Result<Option<HeldHome>, Failure> {
        for _ in 0..TRIES {
            let mut file = match File::options().read(true).write(true).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(cannot("read", path, &error)),
            };
            let locked = lock(&file);
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|error| cannot("read", path, &error))?;
            let record = HomeRecord::read(&text).ok_or_else(|| {
                Failure::new(COULD_NOT_RUN, format!("{} is no record of a home", path.display()))
                    .hint("move that file away, and choose another name")
            })?;
            // The record of another home, copied or on a disk that takes two letter cases for one:
            // what it says would be checked of one volume, and another one mounted.
            if record.identity.name != *name {
                let other = &record.identity.name;
                let what = format!("{} is the record of the home `{other}`", path.display());
                return Err(Failure::new(COULD_NOT_RUN, what).hint("choose another name"));
            }
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(&record.identity.name, &record.user())),
                // Two agents at once would write over each other's files.
                Err(TryLockError::Error(error)) => return Err(cannot("lock", path, &error)),
            }
            if file.metadata().is_ok_and(|found| found.nlink() > 0) {
                return Ok(Some(HeldHome { file, path: path.to_owned(), record, is_new: false }));
            }
        }
        Ok(None)
    }

    /// Makes a record, whole and locked from the first moment that anybody can see it.
    fn make(path: &Path, asked: &HomeRequest, engine: &str) -> io::Result<HeldHome> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let identity = HomeIdentity {
            name: asked.name.clone(),
            key: format!("{:032x}", u128::from_be_bytes(key)),
            owner: asked.owner.clone(),
            created_at: UnixTime(unix_seconds()),
        };
        let record = HomeRecord { identity, engine: engine.to_owned(), last: None };
        let mut file = tempfile::Builder::new()
            .suffix(state::UNFINISHED)
            .tempfile_in(path.parent().unwrap_or(Path::new("/")))?;
        file.as_file().try_lock().map_err(io::Error::from)?;
        file.write_all(&record.first_line()?)?;
        let file = file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(HeldHome { file, path: path.to_owned(), record, is_new: true })
    }

    /// Writes down who uses the home.
    fn write_use(&mut self, workflow: &Workflow) -> io::Result<()> {
        let used = HomeUse { run: workflow.id, name: workflow.name.clone(), at: UnixTime(unix_seconds()) };
        let mut line = serde_json::to_vec(&used)?;
        line.push(b'\n');
        let kept = self.record.first_line()?.len() as u64;
        self.file.set_len(kept)?;
        self.file.seek(SeekFrom::Start(kept))?;
        self.file.write_all(&line)
    }

    /// Removes the record.
    pub(crate) fn forget(mut self) -> Result<(), Failure> {
        // Once it is gone, the path may be another record's.
        self.is_new = false;
        fs::remove_file(&self.path).map_err(|error| cannot("remove", &self.path, &error))
    }
}

/// Removes what commands that were killed left of records.
pub(crate) fn sweep() -> Result<(), Failure> {
    state::remove_unfinished(&state::folder("homes")?);
    Ok(())
}

/// Lists the homes of this machine by name, with whether each is in use.
pub(crate) fn all() -> Result<Vec<(HomeRecord, bool)>, Failure> {
    let folder = state::folder("homes")?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| cannot("list", &folder, &error))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let Some(record) = fs::read_to_string(&path).ok().as_deref().and_then(HomeRecord::read) else {
            crate::term::talk(format_args!("{} is no record of a home: it is left out", path.display()));
            continue;
        };
        found.push((record, state::is_locked(&path)));
    }
    found.sort_by(|(one, _), (other, _)| one.identity.name.cmp(&other.identity.name));
    Ok(found)
}

/// Locks a record. `ringfence home ls` holds it for a moment, to see whether a run has it.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(A_MOMENT),
            other => return other,
        }
    }
    file.try_lock()
}

fn path(name: &HomeName) -> Result<PathBuf, Failure> {
    Ok(state::folder("homes")?.join(format!("{name}.{ENDING}")))
}

fn in_use(name: &HomeName, user: &str) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("the home `{name}` is in use by {user}"))
        .hint("wait for its end, end it by `ringfence stop`, or choose another name")
}

fn cannot(what: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot {what} {}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(project: Option<&str>, image: &str) -> HomeRequest {
        let owner = HomeOwner { project: project.map(str::to_owned), image: image.to_owned() };
        HomeRequest { name: "work".parse().unwrap(), owner }
    }

    /// Takes a home for a run whose agent has run.
    fn used(path: &Path, asked: &HomeRequest, engine: &str, workflow: &Workflow) {
        HeldHome::at(path, asked, engine, workflow).unwrap().keep();
    }

    fn workflow(name: &str) -> Workflow {
        Workflow::new(Some(name.parse().unwrap()), None, UnixTime(7)).unwrap()
    }

    #[test]
    fn a_home_keeps_its_key_and_has_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.json");
        let (asked, first) = (asked(Some("/p"), "i"), workflow("first"));
        let held = HeldHome::at(&path, &asked, "e", &first).unwrap();
        let key = held.record.identity.key.clone();
        let mut held = held;
        held.keep();
        let refused = HeldHome::at(&path, &asked, "e", &workflow("second")).err().unwrap();
        assert!(refused.message.contains(&format!("the run {} (first)", first.id)), "{}", refused.message);
        drop(held);
        let held = HeldHome::at(&path, &asked, "e", &workflow("third")).unwrap();
        assert_eq!(held.record.identity.key, key);
        let read = HomeRecord::read(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(read.user().ends_with("(third)"), "{read:?}");
        held.forget().unwrap();
        let held = HeldHome::at(&path, &asked, "e", &first).unwrap();
        assert_ne!(held.record.identity.key, key, "another home of that name");
    }

    #[test]
    fn a_run_that_fails_before_its_agent_leaves_the_name_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.json");
        drop(HeldHome::at(&path, &asked(Some("/p"), "typo"), "e", &workflow("a")).unwrap());
        assert!(!path.exists(), "no home has come of it");
        used(&path, &asked(Some("/p"), "i"), "e", &workflow("b"));
        assert!(path.exists());
        drop(HeldHome::at(&path, &asked(Some("/p"), "i"), "e", &workflow("c")).unwrap());
        assert!(path.exists(), "an earlier run's home stays");
    }

    #[test]
    fn another_project_image_or_engine_is_refused_and_told_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.json");
        used(&path, &asked(Some("/p"), "i"), "e", &workflow("a"));
        for (asked, engine, whose) in [
            (asked(Some("/q"), "i"), "e", "the project /p"),
            (asked(None, "i"), "e", "the project /p"),
            (asked(Some("/p"), "j"), "e", "the image i, and this run's is j"),
            (asked(Some("/p"), "i"), "f", "the engine at e"),
        ] {
            let refused = HeldHome::at(&path, &asked, engine, &workflow("b")).err().unwrap();
            assert!(refused.message.contains(whose), "{}", refused.message);
            let (hint, is_of_project) = (refused.hint.unwrap(), whose.contains("project"));
            assert!(hint.contains("choose another name"), "{hint}");
            assert_eq!(hint.contains("ringfence home rm work"), !is_of_project, "{hint}");
        }
        used(&path, &asked(Some("/p"), "i"), "e", &workflow("b"));
    }

    #[test]
    fn a_record_is_of_its_own_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("work.json"), dir.path().join("play.json"));
        used(&path, &asked(None, "i"), "e", &workflow("a"));
        fs::copy(&path, &copy).unwrap();
        let (work, play) = ("work".parse().unwrap(), "play".parse().unwrap());
        let refused = HeldHome::open(&copy, &play).err().unwrap();
        assert!(refused.message.contains("is the record of the home `work`"), "{}", refused.message);
        assert!(HeldHome::open(&path, &work).unwrap().is_some());
    }

    #[test]
    fn a_look_at_a_record_ends_no_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.json");
        used(&path, &asked(None, "i"), "e", &workflow("a"));
        let look = File::open(&path).unwrap();
        look.try_lock_shared().unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(A_MOMENT);
            drop(look);
        });
        assert!(HeldHome::open(&path, &"work".parse().unwrap()).unwrap().is_some());
        ending.join().unwrap();
    }

    #[test]
    fn what_is_no_record_is_nobodys_home() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.json");
        for text in ["", "{}\n", "{\"name\":\"work\""] {
            fs::write(&path, text).unwrap();
            assert!(HeldHome::at(&path, &asked(None, "i"), "e", &workflow("a")).is_err(), "{text:?}");
        }
    }
}
