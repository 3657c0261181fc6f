//! `ringfence stop`: ends workflows and removes what is theirs.

use bollard::query_parameters::StopContainerOptions;

use crate::error::Failure;
use crate::supervisor::{engine, inventory};
use crate::wire::Role;

/// Ends each workflow: the agent is asked (TERM), after 10 s it is made to; the id on stdout.
pub async fn stop(engine_host: Option<&str>, wanted: &[String]) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    // All words are understood before the first workflow is touched.
    let picked = wanted.iter().map(|word| inventory::pick(&all, word)).collect::<Result<Vec<_>, _>>()?;
    let mut failures = Vec::new();
    for found in picked {
        let options = StopContainerOptions { t: Some(10), ..Default::default() };
        if let Some(agent) = found.container(Role::Agent)
            && let Err(error) = engine.api.stop_container(agent, Some(options)).await
            && !engine::is_missing(&error)
            && !engine::describe(&error).contains("not modified")
        {
            failures.push(engine::refused(format!("cannot stop the agent of {}", found.id), &error));
            continue;
        }
        match inventory::end(&engine, found).await {
            Ok(()) => {
                super::tell_what_is_not_kept(found);
                super::print(&format!("{}\n", found.id))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    super::all_or_last(failures)
}
