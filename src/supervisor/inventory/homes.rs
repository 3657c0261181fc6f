//! Homes on the engine: the volume that is one, who has it, and its removal.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, Volume};
use bollard::query_parameters::{ListContainersOptions, RemoveVolumeOptions};

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::records::homes::HeldHome;
use crate::supervisor::spec::home::HomeIdentity;
use crate::supervisor::spec::part::Part;
use crate::term::{COULD_NOT_RUN, Failure};

/// Volume of a home's name on the engine.
pub(crate) enum HomeVolume {
    /// There is none.
    Absent,
    /// The home's.
    Own,
    /// Somebody else's.
    Foreign,
}

/// Looks at the volume of a home's name.
pub(crate) async fn volume(engine: &Engine, home: &HomeIdentity) -> Result<HomeVolume, Failure> {
    match engine.api.inspect_volume(&home.volume()).await {
        Ok(found) => Ok(judged(home, &found)),
        Err(error) if engine::is_missing(&error) => Ok(HomeVolume::Absent),
        Err(error) => Err(engine::refused(format!("cannot look for the home `{}`", home.name), &error)),
    }
}

fn judged(home: &HomeIdentity, found: &Volume) -> HomeVolume {
    if home.is_of(found) { HomeVolume::Own } else { HomeVolume::Foreign }
}

/// Refuses a home that a running container has. The agent of a killed supervisor goes on, and holds
/// no lock.
pub(crate) async fn check_is_free(engine: &Engine, home: &HomeIdentity) -> Result<(), Failure> {
    let listed = users(engine, home).await?;
    // Engines differ in the states that a filter may name.
    let Some(container) = listed.iter().find(|container| may_run(container)) else { return Ok(()) };
    let (who, hint) = match Part::of_container(container) {
        Some(part) => {
            let id = part.claim.workflow;
            let name = part.claim.name.map(|name| format!(" ({name})")).unwrap_or_default();
            (
                format!("the run {id}{name}"),
                format!("wait for its end, end it by `ringfence stop {id}`, or choose another name"),
            )
        }
        None => {
            let name =
                container.names.iter().flatten().next().map_or("?", |name| name.trim_start_matches('/'));
            (format!("the container {name}"), "end that container, or choose another name".to_owned())
        }
    };
    Err(Failure::new(COULD_NOT_RUN, format!("the home `{}` is in use by {who}", home.name)).hint(hint))
}

/// Lists the containers that have a home, whatever they do.
async fn users(engine: &Engine, home: &HomeIdentity) -> Result<Vec<ContainerSummary>, Failure> {
    let filters = HashMap::from([("volume".to_owned(), vec![home.volume()])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
    let listed = engine.list_containers(options).await;
    listed.map_err(|error| engine::refused("cannot list the engine's containers", &error))
}

/// Returns what to do where a volume is not removed: a kept container has it until it is stopped
/// for good, and `gc` leaves that one alone.
fn still_used(listed: &[ContainerSummary]) -> String {
    let kept = listed.iter().filter_map(Part::of_container).find(|part| part.keep);
    match kept {
        Some(part) => {
            let id = part.claim.workflow;
            format!("the kept container of the run {id} has it: `ringfence stop {id}` removes that one")
        }
        None => "`ringfence gc` removes what a killed run left; then try again".to_owned(),
    }
}

/// Tells whether a container runs, or may. A state that is not known counts.
fn may_run(container: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum::{CREATED, DEAD, EXITED};
    !matches!(container.state, Some(CREATED | DEAD | EXITED))
}

/// Removes a home: its volume, then its record. A volume that is not the home's stays, and that is
/// told.
pub(crate) async fn remove_home(engine: &Engine, held: HeldHome) -> Result<(), Failure> {
    let home = held.record.identity.clone();
    if held.record.engine != engine.host {
        let what = format!("the home `{}` is on the engine at {}", home.name, held.record.engine);
        return Err(Failure::new(COULD_NOT_RUN, what).hint("name that engine: --engine HOST"));
    }
    match volume(engine, &home).await? {
        HomeVolume::Absent => {}
        HomeVolume::Foreign => crate::term::talk(format_args!(
            "the volume {} is not the one that ringfence made for the home `{}`: it stays",
            home.volume(),
            home.name
        )),
        HomeVolume::Own => {
            check_is_free(engine, &home).await?;
            let removed = engine.api.remove_volume(&home.volume(), None::<RemoveVolumeOptions>).await;
            if let Err(error) = removed
                && !engine::is_missing(&error)
            {
                let hint = still_used(&users(engine, &home).await.unwrap_or_default());
                return Err(
                    engine::refused(format!("cannot remove the home `{}`", home.name), &error).hint(hint)
                );
            }
        }
    }
    held.forget()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::spec::part::tests::listed;

    #[test]
    fn a_home_that_a_kept_container_has_is_freed_by_stop_and_not_by_gc() {
        let kept = listed("/ringfence-00112233-agent", &[("dev.ringfence.keep", "yes")]);
        let other = listed("/ringfence-00112233-agent", &[]);
        let hint = still_used(&[other.clone(), kept]);
        assert!(hint.contains("`ringfence stop 00112233`") && !hint.contains("gc"), "{hint}");
        assert!(still_used(&[other]).contains("`ringfence gc`"));
        assert!(still_used(&[]).contains("`ringfence gc`"));
    }
}
