//! The volumes that an agent's image declares (`VOLUME`).
//!
//! ```text
//!  declared path ─┬─ ringfence or the person mounts something there ─▶ that
//!                 └─ else a volume of the run's own ─┬─▶ agent, filled from the image by the engine
//!                                                    └─▶ the helper that counts, read-only
//! ```
//! An engine would make a volume without a name or label for each, on its own disk, that no limit counts.

use std::path::{Component, Path};

use bollard::models::{Mount, MountType, MountVolumeOptions, VolumeCreateRequest};

use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::COUNTED;

/// An image may declare as many.
const MOST: usize = 64;

/// Paths in the agent's container for which the run makes volumes. `mounted` are those where something else is mounted.
pub fn places(declared: &[String], mounted: &[&str]) -> Result<Vec<String>, Failure> {
    let refused = |what: String| {
        Err(Failure::new(COULD_NOT_RUN, what).hint("see VOLUME in the image's Dockerfile; build it without"))
    };
    let mut places = Vec::new();
    for path in declared {
        let Some(path) = cleaned(path) else {
            return refused(format!("the image declares a volume at {path:?}, which is no path for one"));
        };
        if !mounted.contains(&&*path) && !places.contains(&path) {
            places.push(path);
        }
    }
    if places.len() > MOST {
        return refused(format!("the image declares {} volumes, more than {MOST}", places.len()));
    }
    places.sort();
    Ok(places)
}

/// A path as engines read it; none for what can be no place of a volume.
fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => _ = parts.pop(),
            Component::RootDir | Component::CurDir => {}
            Component::Prefix(_) => return None,
        }
    }
    let is_one = path.starts_with('/') && !parts.is_empty() && !path.contains(char::is_control);
    is_one.then(|| format!("/{}", parts.join("/")))
}

/// Makes the volumes; the engine fills them from the image when the agent's container is created.
pub async fn create(engine: &Engine, workflow: &Workflow, agent: &AgentSpec) -> Result<(), Failure> {
    for (number, place) in agent.data.iter().enumerate() {
        let request = VolumeCreateRequest {
            name: Some(name(workflow, number)),
            labels: Some(workflow.labels(Role::Data)),
            ..Default::default()
        };
        engine.create_volume(request).await.map_err(|error| {
            engine::refused(format!("cannot create the volume that the image declares at {place}"), &error)
        })?;
    }
    Ok(())
}

/// Their mounts in the agent's container.
pub fn for_agent(workflow: &Workflow, places: &[String]) -> Vec<Mount> {
    let mount = |(number, place): (usize, &String)| mount(workflow, number, place.clone(), false);
    places.iter().enumerate().map(mount).collect()
}

/// Their mounts where they are counted.
pub fn for_counting(workflow: &Workflow, how_many: usize) -> Vec<Mount> {
    (0..how_many).map(|number| mount(workflow, number, format!("{COUNTED}/{number}"), true)).collect()
}

fn mount(workflow: &Workflow, number: usize, target: String, read_only: bool) -> Mount {
    Mount {
        target: Some(target),
        source: Some(name(workflow, number)),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        // What is only read is not filled from an image.
        volume_options: Some(MountVolumeOptions { no_copy: Some(read_only), ..Default::default() }),
        ..Default::default()
    }
}

/// The engine's name of one volume.
fn name(workflow: &Workflow, number: usize) -> String {
    format!("{}-{number}", workflow.object(Role::Data))
}

/// Refuses an agent's container for which the engine made a volume of its own: nobody would count it.
pub async fn check(engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
    let agent = workflow.object(Role::Agent);
    let about = engine.inspect_container(&agent, None).await;
    let about = about.map_err(|error| engine::refused("cannot look at the agent's mounts", &error))?;
    let volumes = about.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
    for mount in volumes {
        if mount.name.as_deref().is_some_and(is_nameless) {
            let place = mount.destination.as_deref().unwrap_or("a place that it does not tell");
            let what = format!("the engine made a volume of its own for the agent, at {place}");
            return Err(Failure::new(COULD_NOT_RUN, what)
                .hint("see VOLUME in the image's Dockerfile; build it without"));
        }
    }
    Ok(())
}

/// Tells whether an engine made the name up.
fn is_nameless(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(declared: &[&str], mounted: &[&str]) -> Result<Vec<String>, Failure> {
        let declared: Vec<String> = declared.iter().map(|path| (*path).to_owned()).collect();
        places(&declared, mounted)
    }

    #[test]
    fn every_declared_path_has_one_volume_unless_something_is_mounted_there() {
        let declared = ["/var/lib/db/", "/data", "/a/../data", "//data", "/workspace", "/run/./secrets"];
        let mounted = ["/workspace", "/run/secrets"];
        assert_eq!(of(&declared, &mounted).unwrap(), ["/data", "/var/lib/db"]);
        // What is mounted above or below is another place.
        assert_eq!(of(&["/workspace/x", "/run"], &mounted).unwrap(), ["/run", "/workspace/x"]);
        assert_eq!(of(&[], &mounted).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_place_for_a_volume_ends_the_start() {
        for bad in ["/", "", ".", "..", "data", "../data", "/..", "/a/..", "/a\nb", "/a\0b"] {
            assert!(of(&[bad], &[]).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=MOST).map(|number| format!("/{number}")).collect();
        assert!(places(&many, &[]).is_err());
        assert!(places(&many[1..], &[]).is_ok());
    }

    #[test]
    fn a_name_that_an_engine_makes_up_is_known() {
        assert!(is_nameless(&"0123456789abcdef".repeat(4)));
        for other in ["ringfence-00112233-data-0", "", "0123", &"g".repeat(64)] {
            assert!(!is_nameless(other), "{other}");
        }
    }
}
