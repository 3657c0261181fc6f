//! State that stays on this machine, in `$XDG_STATE_HOME/ringfence`: the events of workflows
//! (`events/ID.jsonl`), the sources of the running workflows' policies (`layers/ID.json`), the runs
//! that this machine made (`runs/ID.json`) and their history (`history/ID.json`), the output of
//! runs in the background (`output/ID.jsonl`), the files that are put back after them
//! (`aftermath/ID.json`), the records for `ringfence review` (`reviews/ID.json`), approvals of
//! projects' policies (`trust/`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// Returns ringfence's own directory for state, created if need be, readable by its owner only.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    let dir = place().ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, "no place for ringfence's state")
            .hint("set HOME or XDG_STATE_HOME to an absolute path")
    })?;
    private_dir(&dir)?;
    Ok(dir)
}

/// Returns the path of the state directory, whether it exists or not.
pub(crate) fn place() -> Option<PathBuf> {
    Some(base("XDG_STATE_HOME", ".local/state")?.join("ringfence"))
}

/// Returns a base directory of the XDG specification: the variable, else a folder of the home. A
/// path that is not absolute is ignored, as the specification says: state below the working
/// directory would be lost to later runs.
pub(crate) fn base(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(in_home)))
}

fn private_dir(dir: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot create {}", dir.display()))
            .caused_by(&error)
            .hint("set XDG_STATE_HOME to a directory that you may write: ringfence keeps its state there")
    })
}

/// Checks that state can be kept, before anything is done that leaves some.
pub(crate) fn is_usable() -> Result<(), Failure> {
    let dir = directory()?;
    rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot write in {}", dir.display()))
            .caused_by(&error)
            .hint("set XDG_STATE_HOME to a directory that you may write: ringfence keeps its state there")
    })
}

/// Returns a folder of the state directory, created if need be.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Failure> {
    let dir = directory()?.join(name);
    private_dir(&dir)?;
    Ok(dir)
}

/// Tells whether a supervisor on this machine still writes down the events of workflow `id`: it
/// holds a lock on their file until the guard has ended. After the supervisor, however it ended,
/// nobody holds that lock.
pub(crate) fn are_events_held(id: WorkflowId) -> bool {
    events_file(id).is_ok_and(|path| is_locked(&path))
}

/// Tells whether another process holds a file's lock.
pub(crate) fn is_locked(path: &Path) -> bool {
    let file = std::fs::File::open(path).ok();
    file.is_some_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Ending of a file that gets its name when it is whole.
pub(crate) const UNFINISHED: &str = ".part";
/// Beginning of the name of such a file, as `tempfile` makes it.
const TEMPORARY: &str = ".tmp";
/// A writer has finished after this time, or never will.
const LEFT: Duration = Duration::from_secs(3600);

/// Removes files of a folder that were being written when their writers were killed: old ones, that
/// nobody has locked.
pub(crate) fn remove_unfinished(folder: &Path) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if is_left(&path) {
            // Another sweep may be faster.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Tells whether a file is one of a writer that is gone.
fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_unfinished = name.starts_with(TEMPORARY) && name.ends_with(UNFINISHED);
    let about = std::fs::symlink_metadata(path).ok().filter(|about| is_unfinished && about.is_file());
    let written = about.and_then(|about| about.modified().ok());
    written.is_some_and(|at| at.elapsed().is_ok_and(|age| age > LEFT)) && !is_locked(path)
}

/// Returns the file with the events of workflow `id`.
pub(super) fn events_file(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(folder("events")?.join(format!("{id}.jsonl")))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_what_a_killed_writer_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = |name: &str| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - LEFT - Duration::from_secs(60)).unwrap();
            file
        };
        for name in [".tmpLeft.part", "0000002a.json", "notes.part", ".tmpOther"] {
            old(name);
        }
        let held = old(".tmpHeld.part");
        held.lock().unwrap();
        File::create(dir.path().join(".tmpYoung.part")).unwrap();
        fs::create_dir(dir.path().join(".tmpFolder.part")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(".tmpLink.part")).unwrap();
        remove_unfinished(dir.path());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let kept = [
            ".tmpFolder.part",
            ".tmpHeld.part",
            ".tmpLink.part",
            ".tmpOther",
            ".tmpYoung.part",
            "0000002a.json",
            "notes.part",
        ];
        assert_eq!(left, kept);
        // The control: once nobody holds it, it goes.
        drop(held);
        remove_unfinished(dir.path());
        assert!(!dir.path().join(".tmpHeld.part").exists());
    }
}
