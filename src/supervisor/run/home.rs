//! The home of a run that asked for one: where it is in the image, its volume on the engine, its
//! owner.
//!
//! ```text
//!  a still container of the agent's image ─▶ /etc/passwd ─▶ HomePlace        before anything exists
//!  lock on the record ─▶ volume, the home's own ─▶ no running agent has it ─▶ owner set through another still container ─▶ agent
//! ```

use bollard::query_parameters::RemoveContainerOptions;

use super::account;
use super::prepared::RunPlan;
use super::request::RunRequest;
use crate::host::clock::unix_seconds;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::homes::{self, HomeVolume};
use crate::supervisor::spec::agent::user_asked;
use crate::supervisor::spec::home::{HomeIdentity, HomePlace, still};
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::image_volumes::cleaned;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::upload::files::upload;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::UnixTime;

/// Finds where the home of this run will be; none where none was asked for.
///
/// # Errors
/// When no home can be there.
pub(super) async fn find(
    engine: &Engine,
    image: &Image,
    request: &RunRequest,
) -> Result<Option<HomePlace>, Failure> {
    let Some(home) = &request.home else { return Ok(None) };
    let asked = &request.agent;
    if asked.runtime.is_some() {
        let what =
            format!("--home {}: under another runtime nobody counts what the agent writes there", home.name);
        return Err(Failure::new(COULD_NOT_RUN, what).hint("leave out --home, or --runtime"));
    }
    let user = user_asked(asked, &engine.dialect).unwrap_or_else(|| image.user.clone());
    // As for an engine, the last one counts.
    let variable =
        |env: &[String]| env.iter().rev().find_map(|pair| pair.strip_prefix("HOME=").map(str::to_owned));
    let variable = variable(&asked.env).or_else(|| variable(&image.env));
    let place = look_into(engine, image, async |still| {
        let accounts = account::accounts(engine, still).await?.unwrap_or_default();
        let place = HomePlace::of(&home.name, &user, &accounts, variable.as_deref())?;
        check_way(engine, still, &place).await?;
        Ok(place)
    })
    .await?;
    let memory = asked.surface.places_in_memory();
    let binds = asked.binds.iter().map(|bind| &*bind.target);
    let declared = image.volumes.iter().filter_map(|path| cleaned(path)).filter(|at| *at != place.path);
    let declared: Vec<String> = declared.collect();
    let others = memory.iter().map(|at| &**at).chain(declared.iter().map(|at| &**at));
    place.check_is_free(&binds.chain(others).collect::<Vec<_>>())?;
    Ok(Some(place))
}

/// Looks at the image's files. Engines show them only in a container; one that a killed supervisor
/// leaves is removed by `gc`.
async fn look_into<T>(
    engine: &Engine,
    image: &Image,
    look: impl AsyncFnOnce(&str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let workflow = Workflow::new(None, None, UnixTime(unix_seconds())).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot make an id for a container").caused_by(&error)
    })?;
    let name = workflow.object(Role::Probe);
    let created = engine.create_container(name.clone(), still(&workflow, &image.id, Vec::new())).await;
    created.map_err(|error| engine::refused("cannot look into the agent's image", &error))?;
    let seen = look(&name).await;
    remove_still(engine, &name).await?;
    seen
}

/// Refuses a home that the image leads elsewhere by a link: the volume would lie where the link
/// leads, over the project or over ringfence's own files.
async fn check_way(engine: &Engine, still: &str, place: &HomePlace) -> Result<(), Failure> {
    for path in place.way() {
        if !account::is_no_folder(engine, still, path).await? {
            continue;
        }
        let what =
            format!("--home: the home would be mounted at {}, and {path} is a link or no folder", place.path);
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint("choose another place: -e HOME=/home/agent, or build the image without that link"));
    }
    Ok(())
}

/// Makes the home ready for the agent: the volume, and its owner.
///
/// # Errors
/// When the volume of that name is somebody else's, or a running agent has it.
pub(super) async fn make_ready(plan: &RunPlan) -> Result<(), Failure> {
    let (Some(home), Some(place)) = (&plan.home, &plan.agent.home) else { return Ok(()) };
    let RunPlan { engine, workflow, agent, .. } = plan;
    if let HomeVolume::Absent = homes::volume(engine, home).await? {
        let created = engine.create_volume(home.request()).await;
        created
            .map_err(|error| engine::refused(format!("cannot create the home `{}`", home.name), &error))?;
    }
    // An engine answers with success where the name is taken by now.
    if !matches!(homes::volume(engine, home).await?, HomeVolume::Own) {
        return Err(foreign(home));
    }
    homes::check_is_free(engine, home).await?;
    let name = workflow.object(Role::Probe);
    let created = engine.create_container(name.clone(), place.keeper(workflow, &agent.image.id)).await;
    created.map_err(|error| engine::refused(format!("cannot mount the home `{}`", home.name), &error))?;
    let archive = archive(place).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot write down the owner of the home").caused_by(&error)
    })?;
    let owned = upload(engine, &name, "/", archive).await;
    owned.and(remove_still(engine, &name).await)
}

fn foreign(home: &HomeIdentity) -> Failure {
    let what = format!(
        "--home {}: the engine has a volume {} that is not the one that ringfence made for this home",
        home.name,
        home.volume()
    );
    Failure::new(COULD_NOT_RUN, what).hint(format!(
        "choose another name, or remove that volume if nobody needs it: docker volume rm {}",
        home.volume()
    ))
}

/// Packs the home's own directory, by which an engine sets owner and mode of the volume.
fn archive(place: &HomePlace) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o700);
    header.set_uid(place.user.into());
    header.set_gid(place.group.into());
    header.set_size(0);
    tar.append_data(&mut header, format!("{}/", place.path.trim_start_matches('/')), std::io::empty())?;
    tar.into_inner()
}

/// Removes a container that was never started, and volumes without a name with it.
async fn remove_still(engine: &Engine, name: &str) -> Result<(), Failure> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match engine.api.remove_container(name, Some(options)).await {
        Err(error) if !engine::is_missing(&error) => {
            Err(engine::refused(format!("cannot remove the container {name}"), &error))
        }
        _ => Ok(()),
    }
}
