//! Where Podman's Docker API says something else than Docker's.

use std::path::Path;

use bollard::models::ContainerCreateBody;
use netpolicy::host::HostName;
use netpolicy::policy::Policy;
use netpolicy::virtual_names::VirtualNames;

use super::engine::{self, Engine, Product};
use crate::supervisor::spec::etc::HOSTNAME;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::FILTER;

/// Names that it writes into every hosts file, with the host's address.
const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];
/// What an init says that cannot start its program: `ERROR (catatonit:2): failed to exec pid1: No such file or directory`.
const INIT: (&str, &str) = ("ERROR (catatonit:", ": failed to exec pid1: ");

/// The first version that keeps an image's annotations from the OCI runtime.
const WITHOUT_ANNOTATIONS: (u32, u32) = (4, 6);

/// Refuses a Podman that passes an image's annotations on to the OCI runtime: by them an image can replace the agent's filter of system
/// calls (crun), start hooks of the machine, and change limits that systemd keeps.
///
/// # Errors
/// When its version is older, or is not told.
pub fn check(engine: &Engine) -> Result<(), Failure> {
    if engine.product == Product::Docker || keeps_annotations_back(&engine.version) {
        return Ok(());
    }
    let what = format!(
        "{} lets an image's annotations change how the OCI runtime confines the agent",
        engine.version.trim()
    );
    Err(Failure::new(COULD_NOT_RUN, what).hint("use Podman 4.6 or later, or Docker"))
}

fn keeps_annotations_back(version: &str) -> bool {
    let number = version.split(' ').next_back().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten());
    major.zip(minor).is_some_and(|version| version >= WITHOUT_ANNOTATIONS)
}

/// docker's exit status for a command that could not be started. Docker's init ends with it; Podman's ends with 1, and what
/// happened is only in its words. An agent that prints them itself changes nothing but its own status.
pub async fn status(engine: &Engine, status: i64, last_words: impl AsyncFnOnce() -> Vec<String>) -> i64 {
    if engine.product != Product::Podman || status != 1 {
        return status;
    }
    last_words().await.last().and_then(|line| not_started(line)).unwrap_or(status)
}

/// Gives the agent's hosts file, which is the fence's, lines for the host's names. Podman writes the host's own address there, so
/// programs do not ask the filter for a name that the policy permits, and what they then connect to is refused. Its lines give way
/// to ones that are asked for.
pub fn name_host(engine: &Engine, policy: &Policy, fence: &mut ContainerCreateBody) {
    if engine.product == Product::Podman {
        fence.host_config.get_or_insert_default().extra_hosts = Some(aliases(policy));
    }
}

/// Names the agent's machine as its hosts file does. On Docker the agent shares the fence's name; Podman makes a name for each container.
pub fn name_agent(engine: &Engine, agent: &mut ContainerCreateBody) {
    if engine.product == Product::Podman {
        agent.hostname = Some(HOSTNAME.to_owned());
    }
}

/// Where the agent's filter of system calls lies on Podman's machine. Its API takes a path there and no profile; what was sent into
/// a volume has one, wherever the engine is.
///
/// # Errors
/// When Podman does not say where its volume is: its own default leaves sockets open that no fence sees (AF_VSOCK).
pub async fn filter(engine: &Engine, workflow: &Workflow) -> Result<String, Failure> {
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
                "Podman does not say where the agent's filter of system calls is: `{}`",
                volume.mountpoint
            ),
        )),
    }
}

fn aliases(policy: &Policy) -> Vec<String> {
    let names = VirtualNames::new(policy);
    let address = |name: &str| names.address_of(&HostName::parse(name).ok()?);
    HOST_NAMES.iter().filter_map(|name| Some(format!("{name}:{}", address(name)?))).collect()
}

fn not_started(line: &str) -> Option<i64> {
    let (_, why) = line.trim().strip_prefix(INIT.0)?.split_once(INIT.1)?;
    match why {
        "No such file or directory" => Some(127),
        "Permission denied" | "Is a directory" | "Exec format error" => Some(126),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{keeps_annotations_back, not_started};

    #[test]
    fn a_podman_that_believes_an_images_annotations_is_refused() {
        for (version, expected) in [
            ("Podman 3.4.4", false),
            ("Podman 4.3.1", false),
            ("Podman 4.5.1", false),
            ("Podman ", false),
            ("Podman 4", false),
            ("Podman 4.6.0", true),
            ("Podman 4.9.3", true),
            ("Podman 5.4.2", true),
            ("Podman 6.0.0-dev", true),
        ] {
            assert_eq!(keeps_annotations_back(version), expected, "{version}");
        }
    }

    #[test]
    fn the_words_of_an_init_are_told_from_those_of_a_program() {
        assert_eq!(
            not_started("ERROR (catatonit:6): failed to exec pid1: No such file or directory"),
            Some(127)
        );
        assert_eq!(not_started("ERROR (catatonit:2): failed to exec pid1: Permission denied"), Some(126));
        assert_eq!(not_started("ERROR: No such file or directory"), None);
    }
}
