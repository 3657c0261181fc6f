//! The agent's filter of system calls, as its engine takes it.

use std::path::Path;

use crate::supervisor::engine::dialect::TakesProfile;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::seccomp;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::upload::files::{self, File, upload};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::{FILTER, SHARED};

/// Returns what follows `seccomp=` in the agent's options: the profile, or the path of one that was
/// sent into the workflow's volume.
///
/// # Errors
/// When the engine does not say where its volume is: its own profile may leave more open.
pub(super) async fn filter_for_agent(engine: &Engine, workflow: &Workflow) -> Result<String, Failure> {
    match engine.dialect.takes_profile {
        TakesProfile::Inline => Ok(seccomp::PROFILE.to_owned()),
        TakesProfile::ByPathInVolume => {
            upload(engine, &workflow.object(Role::Fence), SHARED, archive()?).await?;
            path(engine, workflow).await
        }
    }
}

fn archive() -> Result<Vec<u8>, Failure> {
    let content = seccomp::PROFILE.as_bytes();
    files::archive(&[File { name: "seccomp.json", content, mode: 0o644, owner: 0 }])
}

/// Returns where the filter lies on the engine's machine.
async fn path(engine: &Engine, workflow: &Workflow) -> Result<String, Failure> {
    let volume = engine
        .api
        .inspect_volume(&workflow.object(Role::Volume))
        .await
        .map_err(|error| engine::refused("cannot find the agent's filter of system calls", &error))?;
    let (place, name) = (Path::new(&volume.mountpoint), Path::new(FILTER).file_name());
    match name {
        Some(name) if place.is_absolute() => Ok(place.join(name).to_string_lossy().into_owned()),
        _ => Err(Failure::new(
            COULD_NOT_RUN,
            format!(
                "the engine does not say where the agent's filter of system calls is: `{}`",
                volume.mountpoint
            ),
        )),
    }
}
