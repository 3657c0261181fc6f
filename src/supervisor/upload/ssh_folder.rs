//! The folder of an ssh agent's helper, in the volume that the agent has read-only: known hosts,
//! and room for the helper's socket.

use super::files::{File, Folder, archive_with, upload};
use crate::supervisor::engine::Engine;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::Failure;
use crate::wire::handover::NOTICE;
use crate::wire::ssh_agent::{FOLDER, HELPER_ID, KNOWN_HOSTS};

/// Makes the folder through the fence's container, which does not run yet.
///
/// # Errors
/// When the engine does not take it.
pub(crate) async fn install(engine: &Engine, workflow: &Workflow, known_hosts: &str) -> Result<(), Failure> {
    let folder = Folder { name: FOLDER, owner: HELPER_ID };
    let name = format!("{FOLDER}/{KNOWN_HOSTS}");
    let known = File { name: &name, content: known_hosts.as_bytes(), mode: 0o644, owner: 0 };
    upload(engine, &workflow.object(Role::Fence), NOTICE, archive_with(&[folder], &[known])?).await
}
