//! The policy file that names are put into: the one that a person names, else the run's own.

use std::path::{Path, PathBuf};

use netpolicy::load::preset_reference;

use super::LARGEST;
use crate::host::replace::Original;
use crate::layers::record::Record;
use crate::layers::{ORGANISATION, PROJECT};
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Advice for the case that no file is meant.
const NAME_IT: &str =
    "name the file: a policy of yours, or the project's .ringfence.yml (`ringfence init` writes one)";

/// A policy file, as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyFile(PathBuf);

impl PolicyFile {
    /// Takes a file that a person named.
    ///
    /// # Errors
    /// When it is a preset.
    pub(crate) fn named(path: &Path) -> Result<PolicyFile, Failure> {
        match path.to_str().and_then(preset_reference) {
            Some(name) => {
                let what = format!("`{name}` names a preset, which is not written into");
                Err(Failure::new(COULD_NOT_RUN, what).hint(format!("give a file by a path: ./{name}")))
            }
            None => Ok(PolicyFile(path.to_owned())),
        }
    }

    /// Takes a project's policy.
    pub(crate) fn of_project(folder: &Path) -> PolicyFile {
        PolicyFile(folder.join(PROJECT))
    }

    /// Takes the file that a run was given: its one `--policy FILE`, else its project's policy.
    ///
    /// # Errors
    /// When there are several, or none.
    pub(crate) fn of_run(record: &Record) -> Result<PolicyFile, Failure> {
        let files = files(&record.wanted.policies);
        match (files.as_slice(), &record.wanted.project) {
            ([file], _) => Ok(PolicyFile(record.directory.join(file))),
            ([], Some(project)) => Ok(PolicyFile::of_project(&record.directory.join(project))),
            ([], None) => Err(Failure::new(COULD_NOT_RUN, "the run has no policy file").hint(NAME_IT)),
            _ => {
                let all: Vec<&str> = files.iter().map(|file| file.as_str()).collect();
                let what = format!("the run has several policy files: {}", all.join(", "));
                Err(Failure::new(COULD_NOT_RUN, what).hint("name the one that is meant"))
            }
        }
    }

    /// Returns the path in words.
    pub(crate) fn shown(&self) -> String {
        self.0.display().to_string()
    }

    /// Returns the path as the loader takes it: with a slash, so that it is no preset.
    pub(super) fn entry(&self) -> String {
        match self.0.to_str() {
            Some(text) if text.contains('/') => text.to_owned(),
            _ => format!("./{}", self.shown()),
        }
    }

    /// Tells whether it is a project's policy.
    pub(crate) fn is_of_project(&self) -> bool {
        self.0.file_name().is_some_and(|name| name == PROJECT)
    }

    /// Reads the file, to be replaced later.
    ///
    /// # Errors
    /// When it is the organisation's, no regular file, or behind a link.
    pub(super) fn open(&self) -> Result<Original, Failure> {
        let shown = self.shown();
        let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write into {shown}"));
        let original = Original::read(&self.0, LARGEST).map_err(|refused| {
            let failure = refused.explain(cannot());
            if refused.is_missing() { failure.hint(NAME_IT) } else { failure }
        })?;
        let organisation = Path::new(ORGANISATION);
        let is_below = organisation.parent().is_some_and(|folder| original.path().starts_with(folder));
        if is_below || original.is_at(organisation) {
            let what = format!("{shown} is the organisation's policy, which only its owner changes");
            return Err(Failure::new(COULD_NOT_RUN, what).hint("name a policy of yours"));
        }
        Ok(original)
    }

    /// Says what has to happen for the file to count.
    pub(super) fn next(&self) -> Option<String> {
        if !self.is_of_project() {
            return None;
        }
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = term::in_shell(&folder.unwrap_or(Path::new(".")).to_string_lossy());
        Some(format!(
            "the project's policy has changed, so nothing of it counts until it is approved again: ringfence trust {folder}"
        ))
    }
}

/// Lists the entries of `--policy` that are files. The one of a run, else the project's, is its
/// own.
pub(crate) fn files(policies: &[String]) -> Vec<&String> {
    policies.iter().filter(|entry| preset_reference(entry).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Wanted;

    fn of_run(policies: &[&str], project: Option<&str>) -> Result<String, String> {
        let wanted = Wanted {
            policies: policies.iter().map(|entry| (*entry).to_owned()).collect(),
            project: project.map(PathBuf::from),
            ..Wanted::default()
        };
        let record = Record { wanted, directory: PathBuf::from("/run/here") };
        PolicyFile::of_run(&record).map(|file| file.shown()).map_err(|failure| failure.message)
    }

    #[test]
    fn a_run_has_one_file_or_says_what_it_has() {
        assert_eq!(of_run(&["gitlab", "p.yml"], Some("/p")).unwrap(), "/run/here/p.yml");
        assert_eq!(of_run(&["/a/p.yml"], None).unwrap(), "/a/p.yml");

        assert_eq!(of_run(&["gitlab"], Some("sub")).unwrap(), "/run/here/sub/.ringfence.yml");
        assert_eq!(of_run(&["gitlab"], None).unwrap_err(), "the run has no policy file");
        assert_eq!(
            of_run(&["a.yml", "b.yml"], None).unwrap_err(),
            "the run has several policy files: a.yml, b.yml"
        );
    }

    #[test]
    fn a_preset_is_no_file() {
        assert!(PolicyFile::named(Path::new("gitlab")).is_err());
        assert!(PolicyFile::named(Path::new("./gitlab")).is_ok());
    }
}
