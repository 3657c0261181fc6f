//! Record of the policy options of a run's command line, for a reload:
//! `$XDG_STATE_HOME/ringfence/layers/ID.json`.
//!
//! Kept on the machine that the paths in it belong to, from before the agent's start until the
//! workflow is removed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// The words, and where they were said: relative paths begin there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The words.
    pub(crate) wanted: Wanted,
    /// The working directory.
    pub(crate) directory: PathBuf,
}

impl Record {
    /// Records the options together with the present working directory.
    pub(crate) fn of(wanted: Wanted) -> Result<Record, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot tell the working directory").caused_by(&error)
        })?;
        Ok(Record { wanted, directory })
    }

    /// Keeps it for a workflow.
    pub(crate) fn keep(&self, id: WorkflowId) -> Result<(), Failure> {
        let path = path(id)?;
        let text = serde_json::to_vec(self).map_err(std::io::Error::from);
        text.and_then(|text| std::fs::write(&path, text)).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(&error)
        })
    }

    /// Reads the record of a workflow, if this machine has it.
    pub(crate) fn of_workflow(id: WorkflowId) -> Result<Option<Record>, Failure> {
        let path = path(id)?;
        let unusable = |error: &dyn std::error::Error| {
            Failure::new(COULD_NOT_RUN, format!("cannot use {}", path.display())).caused_by(error)
        };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| unusable(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&error)),
        }
    }
}

/// Forgets that of a workflow, if this machine has it.
pub(crate) fn forget(id: WorkflowId) -> Result<(), Failure> {
    let path = path(id)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(COULD_NOT_RUN, format!("cannot remove {}", path.display())).caused_by(&error))
        }
        _ => Ok(()),
    }
}

fn path(id: WorkflowId) -> Result<PathBuf, Failure> {
    Ok(state::folder("layers")?.join(format!("{id}.json")))
}
