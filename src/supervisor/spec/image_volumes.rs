//! The volumes that an agent's image declares (`VOLUME`).
//!
//! ```text
//!  declared path ─┬─ ringfence or the person mounts something there ─▶ that
//!                 └─ else a volume of the run's own ─┬─▶ agent, filled from the image by the engine
//!                                                    └─▶ the helper that counts, read-only
//! ```
//! An engine would make a volume without a name or label for each, on its own disk, that no limit
//! counts.

use std::path::{Component, Path};

use bollard::models::{Mount, VolumeCreateRequest};

use super::containers::{labelled, volume};
use super::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::COUNTED;
use crate::workspace::mounts::hides_init;

/// An image may declare as many.
const MOST: usize = 64;

/// Returns the paths in the agent's container for which the run makes volumes. `mounted` are those
/// where something else is mounted.
pub(crate) fn places(declared: &[String], mounted: &[&str]) -> Result<Vec<String>, Failure> {
    let refused = |what: String| {
        Err(Failure::new(COULD_NOT_RUN, what).hint("see VOLUME in the image's Dockerfile; build it without"))
    };
    let mut places = Vec::new();
    for path in declared {
        let Some(path) = cleaned(path) else {
            return refused(format!("the image declares a volume at {path:?}, which is no path for one"));
        };
        // Many images declare `/run`, above Podman's init.
        if hides_init(Path::new(&path)) && path != "/run" {
            return refused(format!(
                "the image declares a volume at {path}, which hides the container's init"
            ));
        }
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
pub(crate) fn cleaned(path: &str) -> Option<String> {
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

/// Returns what the engine is asked for as volumes, each with its place. `first`: the number of the
/// first one; services have numbers behind the agent's.
pub(crate) fn requests<'a>(
    workflow: &'a Workflow,
    first: usize,
    places: &'a [String],
) -> impl Iterator<Item = (&'a String, VolumeCreateRequest)> {
    places.iter().enumerate().map(move |(number, place)| {
        let request = VolumeCreateRequest {
            name: Some(name(workflow, first + number)),
            labels: Some(workflow.labels(Role::Data)),
            ..Default::default()
        };
        (place, request)
    })
}

/// Returns their mounts in the container whose image declares them.
pub(crate) fn for_agent(workflow: &Workflow, first: usize, places: &[String]) -> Vec<Mount> {
    let mount = |(number, place): (usize, &String)| mount(workflow, first + number, place.clone(), false);
    places.iter().enumerate().map(mount).collect()
}

/// Returns their mounts where they are counted, and that of a home, which is counted like them.
pub(super) fn for_counting(
    workflow: &Workflow,
    first: usize,
    how_many: usize,
    home: Option<&str>,
) -> Vec<Mount> {
    let declared =
        (0..how_many).map(|number| mount(workflow, first + number, format!("{COUNTED}/{number}"), true));
    let home = home.map(|home| volume(home.to_owned(), &format!("{COUNTED}/{how_many}"), true));
    declared.chain(home).collect()
}

fn mount(workflow: &Workflow, number: usize, target: String, read_only: bool) -> Mount {
    labelled(volume(name(workflow, number), &target, read_only), workflow, Role::Data)
}

/// The engine's name of one volume.
fn name(workflow: &Workflow, number: usize) -> String {
    format!("{}-{number}", workflow.object(Role::Data))
}

/// Tells whether an engine made the name up.
pub(crate) fn is_nameless(name: &str) -> bool {
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
        for init in ["/sbin", "/usr", "/usr/sbin/", "/sbin/docker-init", "/run/podman-init"] {
            assert!(of(&[init], &[]).unwrap_err().message.contains("init"), "{init:?}");
        }
        assert!(of(&["/usr/local", "/usr/share/nginx/html", "/sbin/x"], &[]).is_ok());
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
