//! The engine and the images of the agent and its services, before a run begins.

use crate::cli::run::RunArgs;
use crate::commands::gc;
use crate::doctor::require;
use crate::supervisor::engine::{Choice, Engine};
use crate::supervisor::image;
use crate::supervisor::run::RunRequest;
use crate::supervisor::spec::image::Images;
use crate::term::{COULD_NOT_RUN, Failure, trace};

/// Connects to the engine, removes what earlier runs left there, and makes sure that it meets the
/// policy and has the images.
///
/// # Errors
/// When no engine answers, when it cannot give what was asked for, or when an image cannot be had.
pub(crate) async fn ready(
    choice: &Choice,
    args: &RunArgs,
    request: &RunRequest,
) -> Result<(Engine, Images), Failure> {
    let mut step = trace::step("engine");
    let engine = choice.connect().await?;
    if !request.agent.binds.is_empty() && !engine.local {
        let what = format!("--project, --mount: {} may not see this machine's files", engine.host);
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint("this version mounts files only for an engine on a local socket"));
    }
    step.then("earlier runs");
    gc::quietly(&engine).await;
    require::refuse_unmet(&engine, &request.policy).await?;
    step.then("image");
    let agent = image::ready(&engine, args.image(), args.pull).await?;
    let mut services = Vec::new();
    for service in &request.services {
        services.push(image::ready(&engine, &service.image, args.pull).await?);
    }
    Ok((engine, Images { agent, services }))
}
