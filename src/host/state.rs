//! State that stays on this machine, in `$XDG_STATE_HOME/ringfence`: the events of workflows
//! (`events/ID.jsonl`), the sources of the running workflows' policies (`layers/ID.json`), the runs
//! that this machine made (`runs/ID.json`) and their history (`history/ID.json`), the output of
//! runs in the background (`output/ID.jsonl`), the files that are put back after them
//! (`aftermath/ID.json`), the records for `ringfence review` (`reviews/ID.json`), approvals of
//! projects' policies (`trust/`).

use std::path::{Path, PathBuf};

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

/// Returns the file with the events of workflow `id`.
pub(super) fn events_file(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(folder("events")?.join(format!("{id}.jsonl")))
}
