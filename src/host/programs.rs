//! The person's own programs (git, glab, ssh, credential helpers): by `PATH`, but for what an agent
//! may have written.
//!
//! ```text
//!  PATH ─▶ absolute parts, outside of the project here and of what agents are given, or were in earlier runs ─▶ program, which gets that PATH too
//! ```
//! `npm run` and activated environments put a project's folders in front, and an agent that was
//! given the project can leave a `git` there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::host::territory;

/// Names that mark a project's own folder.
const MARKS: [&str; 2] = [".git", ".ringfence.yml"];

/// Folders that the agent of this run is given.
static GIVEN: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Looks for no program below these, from now on. Said once, at the start of a run.
pub(crate) fn keep_from(given: impl IntoIterator<Item = PathBuf>) {
    // There is one run in a process.
    let _ = GIVEN.set(given.into_iter().collect());
}

/// Prepares a program of the person's to be started.
///
/// # Errors
/// When there is none.
pub(crate) fn command(name: &str) -> io::Result<Command> {
    let mut avoided = GIVEN.get().cloned().unwrap_or_default();
    avoided.extend(territory::known().paths());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    avoided.extend(std::env::current_dir().ok().and_then(|here| project_at(&here, home.as_deref())));
    let folders = folders(&std::env::var_os("PATH").unwrap_or_default(), &avoided);
    let program = folders.iter().find_map(|folder| program_in(folder, name, &avoided)).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no `{name}` on PATH, outside of the project"),
        )
    })?;
    let mut command = Command::new(program);
    command.env("PATH", std::env::join_paths(folders).unwrap_or_else(|_| OsString::from("/usr/bin:/bin")));
    Ok(command)
}

/// Returns the project that a person is in: none where that is the home folder, or more.
fn project_at(here: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let marked = here.ancestors().find(|folder| MARKS.iter().any(|mark| folder.join(mark).exists()));
    let project = marked.unwrap_or(here).canonicalize().ok()?;
    let home = home.and_then(|home| home.canonicalize().ok());
    let too_much = project.parent().is_none() || home.is_some_and(|home| home.starts_with(&project));
    (!too_much).then_some(project)
}

/// Returns the parts of a `PATH`, without links, that are absolute and not below `avoided`.
fn folders(path: &OsStr, avoided: &[PathBuf]) -> Vec<PathBuf> {
    let parts = std::env::split_paths(path).filter(|part| part.is_absolute());
    let real = parts.filter_map(|part| part.canonicalize().ok());
    real.filter(|part| !avoided.iter().any(|avoided| part.starts_with(avoided))).collect()
}

fn program_in(folder: &Path, name: &str, avoided: &[PathBuf]) -> Option<PathBuf> {
    let path = folder.join(name);
    let real = path.canonicalize().ok()?;
    let meta = real.metadata().ok()?;
    let runs = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    // By its own name: some programs go by that.
    (runs && !avoided.iter().any(|avoided| real.starts_with(avoided))).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn plant(folder: &Path, name: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_an_agent_may_have_written_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (project, own) = (dir.join("project"), dir.join("own"));
        for folder in [project.join("node_modules/.bin"), project.join("venv/bin"), own.clone()] {
            plant(&folder, "git");
        }
        std::os::unix::fs::symlink(project.join("venv"), dir.join("elsewhere")).unwrap();
        // A link of the person's to a program in the project.
        fs::create_dir(dir.join("links")).unwrap();
        std::os::unix::fs::symlink(project.join("venv/bin/git"), dir.join("links/git")).unwrap();
        let path = std::env::join_paths([
            project.join("node_modules/.bin"),
            PathBuf::from("venv/bin"),
            PathBuf::new(),
            dir.join("elsewhere/bin"),
            dir.join("links"),
            own.clone(),
        ])
        .unwrap();
        let first = |avoided: &[PathBuf]| {
            folders(&path, avoided).iter().find_map(|folder| program_in(folder, "git", avoided))
        };
        assert_eq!(first(std::slice::from_ref(&project)), Some(own.join("git")));
        assert_eq!(first(&[]), Some(project.join("node_modules/.bin/git")), "else the first would be taken");
    }

    #[test]
    fn a_project_is_known_from_below_and_a_home_is_none() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let below = home.join("work/project/src/deep");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(project_at(&below, Some(&home)), Some(below.clone()));
        fs::write(home.join("work/project/.git"), "gitdir: x").unwrap();
        assert_eq!(project_at(&below, Some(&home)), Some(home.join("work/project")));
        for much in [home.as_path(), Path::new("/"), home.parent().unwrap()] {
            assert_eq!(project_at(much, Some(&home)), None, "{much:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_run_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("git"), "").unwrap();
        assert_eq!(program_in(dir.path(), "git", &[]), None);
        plant(dir.path(), "git");
        assert!(program_in(dir.path(), "git", &[]).is_some());
    }
}
