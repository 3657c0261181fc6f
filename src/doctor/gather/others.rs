//! The containers on the engine that are not ringfence's: what they open to the machine, and what
//! of it they hold.

use bollard::models::{ContainerInspectResponse, ContainerSummary, HostConfig};
use bollard::query_parameters::ListContainersOptions;
use futures_util::{StreamExt, stream};

use crate::doctor::facts::{Learned, Other, Others};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::part::Part;

/// The most containers that are looked at; the rest is counted.
const MOST: usize = 200;
/// Containers that are looked at at once.
const AT_ONCE: usize = 8;

/// Looks at those that run.
pub(crate) async fn look(engine: &Engine) -> Learned<Others> {
    let options = ListContainersOptions { all: false, ..Default::default() };
    let running = engine
        .list_containers(options)
        .await
        .map_err(|error| format!("the engine does not list its containers: {}", engine::describe(&error)))?;
    let mut foreign: Vec<ContainerSummary> = running.into_iter().filter(|one| !is_ours(one)).collect();
    let images = foreign.iter().filter_map(|one| one.image.as_deref());
    let builders =
        images.filter_map(|image| image.strip_prefix("moby/buildkit:")).map(str::to_owned).collect();
    let left_out = foreign.len().saturating_sub(MOST);
    foreign.truncate(MOST);
    let mut looked_at = Vec::new();
    let mut answers = stream::iter(foreign).map(|one| inspect(engine, one)).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        looked_at.extend(answer?);
    }
    Ok(Others { looked_at, left_out, builders })
}

fn is_ours(container: &ContainerSummary) -> bool {
    Part::of_container(container).is_some()
}

/// Inspects one of the containers; returns none where it ended meanwhile.
async fn inspect(engine: &Engine, listed: ContainerSummary) -> Result<Option<Other>, String> {
    let id = listed.id.clone().unwrap_or_default();
    match engine.inspect_container(&id, None).await {
        Ok(found) => Ok(Some(describe(listed, found))),
        Err(error) if engine::is_missing(&error) => Ok(None),
        Err(error) => {
            Err(format!("the engine does not tell of the container {id}: {}", engine::describe(&error)))
        }
    }
}

fn describe(listed: ContainerSummary, found: ContainerInspectResponse) -> Other {
    let mut ports: Vec<String> = listed.ports.unwrap_or_default().iter().filter_map(published).collect();
    ports.sort();
    ports.dedup();
    let mounts = found.mounts.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    Other {
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        ports,
        sockets: mounts
            .into_iter()
            .filter_map(|mount| mount.source)
            .filter(|path| is_engine_socket(path))
            .collect(),
        privileged: host.privileged.unwrap_or(false),
        host_namespaces: host_namespaces(&host),
    }
}

fn published(port: &bollard::models::PortSummary) -> Option<String> {
    let outside = port.public_port?;
    let address = port.ip.as_deref().unwrap_or("0.0.0.0");
    Some(if address.contains(':') {
        format!("[{address}]:{outside}")
    } else {
        format!("{address}:{outside}")
    })
}

/// Tells whether a path is a socket by which an engine can be asked for anything, or a folder that
/// holds one.
fn is_engine_socket(path: &str) -> bool {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    matches!(name, "docker.sock" | "podman.sock" | "containerd.sock" | "crio.sock" | "buildkitd.sock")
        || matches!(path.trim_end_matches('/'), "/run" | "/var/run" | "/run/podman" | "/run/containerd" | "")
}

fn host_namespaces(host: &HostConfig) -> Vec<&'static str> {
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    [
        ("network", is_host(&host.network_mode)),
        ("processes", is_host(&host.pid_mode)),
        ("ipc", is_host(&host.ipc_mode)),
    ]
    .into_iter()
    .filter_map(|(name, shared)| shared.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_opens_is_read_from_what_the_engine_says() {
        let listed = serde_json::json!({"Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 9000, "Type": "tcp"},
        ]});
        let found = serde_json::json!({
            "Name": "/web",
            "Mounts": [{"Type": "bind", "Source": "/run/user/1000/docker.sock", "Destination": "/s"},
                       {"Type": "bind", "Source": "/srv/docker.sock.d", "Destination": "/d"}],
            "HostConfig": {"Privileged": true, "NetworkMode": "host", "PidMode": ""},
        });
        let other = describe(serde_json::from_value(listed).unwrap(), serde_json::from_value(found).unwrap());
        assert_eq!(
            other,
            Other {
                name: "web".to_owned(),
                ports: vec!["0.0.0.0:8080".to_owned(), "[::]:8080".to_owned()],
                sockets: vec!["/run/user/1000/docker.sock".to_owned()],
                privileged: true,
                host_namespaces: vec!["network"],
            }
        );
    }
}
