//! The environment of a GitLab flow that a project has, and what a person approved of it.
//!
//! ```text
//!  PROJECT/.gitlab/duo/agent-config.yml ──read_flow──▶ image, setup script ─┬─ trust: shown with the image's digest ─▶ ApprovedFlow
//!                                                                           └─ run: the same texts, the same image? ─▶ runs
//! ```

use std::path::Path;

use netpolicy::diagnostic::render;
use netpolicy::load::{FlowEnvironment, MAX_FLOW, read_flow};
use netpolicy::policy::Layer;
use serde::{Deserialize, Serialize};

use super::{AGENT_CONFIG, file, trust};
use crate::term::{COULD_NOT_RUN, Failure};

/// Image and script as a person approved them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApprovedFlow {
    /// Name of the image, as the project writes it.
    pub(crate) image: String,
    /// The engine's id of the image: a digest of its content.
    pub(crate) id: String,
    /// Commands of the setup script.
    pub(crate) setup_script: Vec<String>,
}

/// Reads the environment that a project's file gives a flow; none where there is no such file.
///
/// # Errors
/// When the file leads out of the project, or cannot be used.
pub(crate) fn of_project(folder: &Path) -> Result<Option<FlowEnvironment>, Failure> {
    let Some(path) = file::present(&folder.join(AGENT_CONFIG))? else { return Ok(None) };
    let cannot = || {
        Failure::new(COULD_NOT_RUN, format!("image and setup script of {path} cannot be used"))
            .hint("put the file right, or name an image on the command line")
    };
    let caused = |why: String| Failure { causes: vec![why], ..cannot() };
    let bytes = file::read(Layer::Project, &path, Some(folder)).map_err(caused)?;
    if bytes.len() > MAX_FLOW {
        return Err(caused(format!("the file is larger than {} KiB", MAX_FLOW / 1024)));
    }
    let text = String::from_utf8(bytes).map_err(|_| caused("the file is no UTF-8 text".to_owned()))?;
    read_flow(&path, &text).map(Some).map_err(|errors| {
        let causes = errors.iter().map(|error| render(std::slice::from_ref(error)));
        Failure { causes: causes.collect(), ..cannot() }
    })
}

/// Returns the approved environment of a project for a run that names no image.
///
/// # Errors
/// When the project has no image, or when what it has is not what was approved.
pub(crate) fn approved(folder: &Path) -> Result<ApprovedFlow, Failure> {
    let none = || {
        Failure::new(COULD_NOT_RUN, format!("no image is named, and {} has none", file_of(folder)))
            .hint("name an image after the options")
    };
    let flow = of_project(folder)?.ok_or_else(none)?;
    let image = flow.image.as_ref().ok_or_else(none)?;
    let approval = trust::approved(folder)?.and_then(|approval| approval.flow);
    let unapproved = |what: &str| {
        Failure::new(COULD_NOT_RUN, format!("image and setup script of {} {what}", file_of(folder)))
            .hint(format!("look at them with `ringfence trust {}`", folder.display()))
    };
    match approval {
        None => Err(unapproved("are not approved")),
        Some(approved) if approved.image == *image && approved.setup_script == flow.setup_script => {
            Ok(approved)
        }
        Some(_) => Err(unapproved("have changed since they were approved")),
    }
}

/// Returns the path of the file that an environment is read from.
pub(crate) fn file_of(folder: &Path) -> String {
    folder.join(AGENT_CONFIG).display().to_string()
}

impl ApprovedFlow {
    /// Refuses an image that has the approved name and another content.
    pub(crate) fn check_image(&self, id: &str) -> Result<(), Failure> {
        if id == self.id {
            return Ok(());
        }
        let what = format!("the image `{}` is not the one that was approved", self.image);
        Err(Failure {
            causes: vec![format!("approved: {}; the engine has: {id}", self.id)],
            ..Failure::new(COULD_NOT_RUN, what)
        }
        .hint("look at the image, then approve it with `ringfence trust`"))
    }
}
