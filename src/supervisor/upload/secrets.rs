//! Secrets and prompts on their way to the agent: never in a container's configuration, never on a
//! disk.
//!
//! ```text
//!  --secret, --prompt ──exec's stdin──▶ `fence put` ──▶ volume of type tmpfs ──read-only──▶ agent: /run/secrets/NAME
//! ```
//! A volume in memory is mounted while a container uses it: the fence has it first, and the agent's
//! is the same. The writer runs in the fence's container as the agent's user, so that the files are
//! its own.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::VolumeCreateRequest;

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live::Exec;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::HandedFile;
use crate::workspace::secrets::Handed;

/// Time that writing may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Creates the volume in memory.
pub(crate) async fn create_volume(engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=16m,mode=1777,nosuid,nodev,noexec")];
    let request = VolumeCreateRequest {
        name: Some(workflow.object(Role::Secrets)),
        labels: Some(workflow.labels(Role::Secrets)),
        driver: Some("local".to_owned()),
        driver_opts: Some(HashMap::from(options.map(|(key, value)| (key.to_owned(), value.to_owned())))),
        ..Default::default()
    };
    let created = engine.create_volume(request).await;
    created.map_err(|error| engine::refused("cannot create a volume in memory for secrets", &error))
}

/// Writes the files, once the fence's container runs. `user` is the agent's, if it is known by
/// number.
pub(crate) async fn hand_over(
    engine: &Engine,
    workflow: &Workflow,
    files: &[Handed],
    user: Option<&str>,
) -> Result<(), Failure> {
    // A user of whom nobody knows the number: everything in the agent's container may read the
    // files.
    let mode = if user.is_some() { 0o400 } else { 0o444 };
    let line: Vec<HandedFile> = files
        .iter()
        .map(|file| HandedFile { name: file.name.clone(), mode, content: STANDARD.encode(&file.content) })
        .collect();
    let fence = workflow.object(Role::Fence);
    let mut exec = Exec::start_as(engine, &fence, ["fence", "put"], user).await?;
    exec.say(&line).await?;
    let said = tokio::time::timeout(PATIENCE, exec.rest()).await.unwrap_or_default();
    if exec.status(engine).await? == Some(0) {
        return Ok(());
    }
    let mut failure =
        Failure::new(COULD_NOT_RUN, "secrets could not be handed over, so the agent was not started");
    failure.causes = said;
    Err(failure)
}
