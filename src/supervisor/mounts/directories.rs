//! Directories of this machine on their way to the agent: volumes for those that the engine mounts
//! once, and a last look at the paths of the others.

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::binds::Binds;
use crate::supervisor::spec::workflow::Workflow;
use crate::term::Failure;
use crate::workspace::mounts::Bind;

/// Makes the volumes; nothing is mounted yet.
pub(crate) async fn create(engine: &Engine, workflow: &Workflow, binds: &Binds) -> Result<(), Failure> {
    for (bind, request) in binds.volumes(workflow) {
        engine.create_volume(request).await.map_err(|error| {
            engine::refused(format!("cannot create the volume for {}", bind.source.display()), &error)
        })?;
    }
    Ok(())
}

/// Returns the first that an engine may have mounted anew for the agent, and whose path leads
/// elsewhere by now.
pub(crate) fn swapped(binds: &Binds) -> Option<&Bind> {
    binds.all.iter().find(|bind| !binds.is_shared(bind) && !bind.is_still_there())
}
