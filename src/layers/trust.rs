//! Approvals of projects' own policies by a person: one file a project, in ringfence's state
//! directory.
//!
//! The approval pins the digest of every text that the project's policy is made of, presets
//! included; the texts are kept so that a later difference can be shown. It lies outside the
//! project, where no agent can write.

use std::fs;
use std::path::{Path, PathBuf};

use netpolicy::load::SourceFile;
use serde::{Deserialize, Serialize};

use super::flow::ApprovedFlow;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approval {
    /// The project's folder, resolved.
    pub(crate) project: PathBuf,
    /// Digest of the texts.
    pub(crate) digest: String,
    /// The texts, with their names.
    pub(crate) files: Vec<(String, String)>,
    /// The environment of a flow, where one was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<ApprovedFlow>,
}

impl Approval {
    /// Makes the approval of a project's texts as they are now.
    pub(crate) fn of(project: &Path, digest: String, files: &[SourceFile]) -> Result<Approval, Failure> {
        let files = files.iter().map(|file| (file.name.clone(), file.text.clone())).collect();
        Ok(Approval { project: resolved(project)?, digest, files, flow: None })
    }
}

/// Reads the approval of a project, if there is one.
pub(crate) fn approved(project: &Path) -> Result<Option<Approval>, Failure> {
    let path = place(project)?;
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path).caused_by(&error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(&path).caused_by(&error))
}

/// Returns every approval, by project.
pub(crate) fn all() -> Result<Vec<Approval>, Failure> {
    let folder = state::folder("trust")?;
    let cannot = |error: std::io::Error| unreadable(&folder).caused_by(&error);
    let mut approvals = Vec::new();
    for entry in fs::read_dir(&folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        // What is being written has another name.
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).map_err(|error| unreadable(&path).caused_by(&error))?;
            let approval: Approval =
                serde_json::from_slice(&text).map_err(|error| unreadable(&path).caused_by(&error))?;
            approvals.push(approval);
        }
    }
    approvals.sort_by(|a, b| a.project.cmp(&b.project));
    Ok(approvals)
}

/// Keeps an approval, in the place of an older one.
pub(crate) fn keep(approval: &Approval) -> Result<(), Failure> {
    let path = place(&approval.project)?;
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot keep the approval in {}", path.display()));
    let text = serde_json::to_vec(approval).map_err(|error| cannot().caused_by(&error))?;
    // Whole or not at all: half an approval would be an error at the next run.
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        std::io::Write::write_all(&mut file, &text)?;
        file.persist(&path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| cannot().caused_by(&error))
}

/// Forgets an approval; whether there was one.
pub(crate) fn forget(project: &Path) -> Result<bool, Failure> {
    let path = place(project)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(Failure::new(COULD_NOT_RUN, format!("cannot remove {}", path.display())).caused_by(&error))
        }
    }
}

fn place(project: &Path) -> Result<PathBuf, Failure> {
    let project = resolved(project)?;
    let digest = netpolicy::digest::of(&project.display().to_string());
    let name = digest.strip_prefix("sha256:").unwrap_or(&digest);
    Ok(state::folder("trust")?.join(format!("{name}.json")))
}

fn resolved(project: &Path) -> Result<PathBuf, Failure> {
    project.canonicalize().map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("cannot find the project {}", project.display()))
            .caused_by(&error)
    })
}

fn unreadable(path: &Path) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot read the approval {}", path.display()))
        .hint("remove the file, and approve the project again with `ringfence trust`")
}
