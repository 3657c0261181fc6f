//! The volumes that the images of an agent and its services declare, on the engine.

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::image_volumes::{is_nameless, requests};
use crate::supervisor::spec::workflow::Workflow;
use crate::term::{COULD_NOT_RUN, Failure};

/// Makes the volumes; the engine fills them from the image when the agent's container is created.
pub(crate) async fn create(engine: &Engine, workflow: &Workflow, agent: &AgentSpec) -> Result<(), Failure> {
    for (place, request) in requests(workflow, agent.first_volume, &agent.data) {
        engine.create_volume(request).await.map_err(|error| {
            engine::refused(format!("cannot create the volume that the image declares at {place}"), &error)
        })?;
    }
    Ok(())
}

/// Refuses a container, `whose` in words, for which the engine made a volume of its own: nobody
/// would count it.
pub(crate) async fn check(engine: &Engine, container: &str, whose: &str) -> Result<(), Failure> {
    let about = engine.inspect_container(container, None).await;
    let about =
        about.map_err(|error| engine::refused(format!("cannot look at the mounts of {whose}"), &error))?;
    let volumes = about.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
    for mount in volumes {
        if mount.name.as_deref().is_some_and(is_nameless) {
            let place = mount.destination.as_deref().unwrap_or("a place that it does not tell");
            let what = format!("the engine made a volume of its own for {whose}, at {place}");
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("see VOLUME in the image's Dockerfile; build it without"));
        }
    }
    Ok(())
}
