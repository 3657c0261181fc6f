//! The user's file of options for runs, `run.yml` beside the user's policy. It counts only if no
//! other user could have written it, as a policy does.

use std::path::{Path, PathBuf};

use netpolicy::diagnostic::render;
use netpolicy::load::{MAX_DEFAULTS, ProjectDefaults, read_defaults};

use super::file;
use crate::host::open;
use crate::host::owners::Owners;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};

/// A file of defaults that was read.
pub(crate) struct DefaultsFile {
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// Its projects, in its order.
    pub(crate) projects: Vec<ProjectDefaults>,
}

/// Returns the path of the file in `$XDG_CONFIG_HOME` or `~/.config`, whether it exists or not.
pub(crate) fn defaults_file() -> Option<PathBuf> {
    Some(state::base("XDG_CONFIG_HOME", ".config")?.join("ringfence/run.yml"))
}

/// Reads the file of defaults, if there is one.
///
/// # Errors
/// When others could have written the file, or when it cannot be used.
pub(crate) fn read() -> Result<Option<DefaultsFile>, Failure> {
    let Some(path) = defaults_file() else { return Ok(None) };
    read_at(path)
}

fn read_at(path: PathBuf) -> Result<Option<DefaultsFile>, Failure> {
    if file::present(&path)?.is_none() {
        return Ok(None);
    }
    let cannot = || {
        Failure::new(COULD_NOT_RUN, format!("the defaults in {} cannot be used", path.display()))
            .hint("put the file right, or give --no-defaults")
    };
    let caused = |why: String| Failure { causes: vec![why], ..cannot() };
    let caller = rustix::process::geteuid().as_raw();
    let open = Owners::strict(&[0, caller]).open_file(&path).map_err(caused)?;
    let bytes = open::read_all(&open, MAX_DEFAULTS as u64).map_err(|refused| caused(refused.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| caused("it is no UTF-8 text".to_owned()))?;
    let projects = read_defaults(&path.display().to_string(), &text).map_err(|errors| {
        let causes = errors.iter().map(|error| render(std::slice::from_ref(error)));
        Failure { causes: causes.collect(), ..cannot() }
    })?;
    Ok(Some(DefaultsFile { path, projects }))
}

impl DefaultsFile {
    /// Returns the defaults of the project in this folder, which is a path without links.
    ///
    /// # Errors
    /// When two entries name the same folder.
    pub(crate) fn of_project(&self, folder: &Path) -> Result<Option<&ProjectDefaults>, Failure> {
        let mut found = self
            .projects
            .iter()
            .filter(|project| expanded(&project.folder).canonicalize().is_ok_and(|real| real == folder));
        let first = found.next();
        match (first, found.next()) {
            (Some(first), Some(second)) => {
                let what = format!(
                    "lines {} and {} of {} are about the same folder",
                    first.line,
                    second.line,
                    self.path.display()
                );
                Err(Failure::new(COULD_NOT_RUN, what).hint("put all options under one of them"))
            }
            _ => Ok(first),
        }
    }
}

/// Replaces `~/` at the beginning of a word by the user's home, as a shell does.
pub(crate) fn expanded(word: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match (word.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(word),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Writes a file of defaults with this mode.
    fn written(folder: &Path, text: &str, mode: u32) -> PathBuf {
        let path = folder.join("run.yml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_that_others_could_have_written_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), "version: 1\n", 0o644);
        assert!(read_at(path.clone()).unwrap().is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = read_at(path.clone()).err().unwrap().to_string();
        assert!(refused.contains("can write it") && refused.contains("--no-defaults"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(read_at(path).err().unwrap().to_string().contains("can replace it"));
    }

    #[test]
    fn an_unusable_file_ends_the_run_and_a_missing_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_at(dir.path().join("run.yml")).unwrap().is_none());
        let path = written(dir.path(), "version: 1\nproject: {}\n", 0o644);
        assert!(read_at(path).err().unwrap().to_string().contains("did you mean `projects`?"));
        let path = written(dir.path(), &"# long\n".repeat(MAX_DEFAULTS / 7 + 1), 0o644);
        assert!(read_at(path).err().unwrap().to_string().contains("larger than"));
        fs::remove_file(dir.path().join("run.yml")).unwrap();
        fs::write(dir.path().join("run.yaml"), "").unwrap();
        assert!(read_at(dir.path().join("run.yml")).is_err(), "the other extension is an error");
    }

    #[test]
    fn a_project_is_found_by_the_folder_that_its_path_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("shop")).unwrap();
        symlink(root.join("shop"), root.join("link")).unwrap();
        let project = |folder: &str, line| ProjectDefaults {
            folder: root.join(folder).display().to_string(),
            line,
            items: vec![],
        };
        let file = |projects| DefaultsFile { path: "run.yml".into(), projects };
        let one = file(vec![project("gone", 3), project("link", 5)]);
        assert_eq!(one.of_project(&root.join("shop")).unwrap().unwrap().line, 5);
        assert!(one.of_project(&root).unwrap().is_none());
        let two = file(vec![project("shop", 3), project("link", 5)]);
        let refused = two.of_project(&root.join("shop")).unwrap_err().to_string();
        assert!(refused.contains("lines 3 and 5"), "{refused}");
    }
}
