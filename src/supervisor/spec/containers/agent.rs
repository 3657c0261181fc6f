//! The agent's container.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, Mount, MountType};

use super::{log_config, no_restart, open_files, own_volume};
use crate::supervisor::spec::agent::AgentSpec;
use crate::supervisor::spec::home::HomePlace;
use crate::supervisor::spec::limits::for_engine;
use crate::supervisor::spec::places::{AUTHORITIES, NOTICE, SECRETS, WORKSPACE};
use crate::supervisor::spec::workflow::{
    KEPT, LABEL_DISK, LABEL_IMAGE, LABEL_IMAGE_DIGEST, LABEL_KEEP, LABEL_TIME, Role, Workflow,
};
use crate::supervisor::spec::{etc, image_volumes, init};

/// By it an image says to Podman which capabilities it needs: it can only take some away, and empty
/// it would take all.
pub(super) const LABEL_CAPABILITIES: &str = "io.containers.capabilities";

/// Returns the agent: in the fence's namespace, with few capabilities and limits on. `filter`: see
/// [`Surface::lay_on`](crate::supervisor::spec::surface::Surface::lay_on). `fence`: its id. A name
/// could be another container's later, when a kept agent is started again.
pub(crate) fn agent(
    workflow: &Workflow,
    agent: &AgentSpec,
    filter: &str,
    fence: &str,
) -> ContainerCreateBody {
    let mut host = HostConfig {
        network_mode: Some(format!("container:{fence}")),
        runtime: agent.runtime.clone(),
        // What the engine would begin before it can be led elsewhere by the image's links.
        init: Some(agent.by_init.is_none()),
        nano_cpus: Some(agent.limits.nano_cpus),
        memory: Some(for_engine(agent.limits.memory)),
        memory_swap: Some(for_engine(agent.limits.memory)),
        pids_limit: Some(for_engine(agent.limits.pids)),
        ulimits: Some(vec![open_files(agent.limits.open_files)]),
        storage_opt: agent.quota.then(|| HashMap::from([("size".to_owned(), agent.limits.disk.to_string())])),
        restart_policy: Some(no_restart()),
        log_config: Some(log_config("64m")),
        mounts: Some(mounts(workflow, agent)),
        readonly_paths: agent.names_read_only.then(etc::read_only_paths),
        ..Default::default()
    };
    agent.surface.lay_on(&mut host, agent.limits.memory, filter, agent.is_root(), agent.empty_memory);
    let (entrypoint, cmd) = words(agent);
    ContainerCreateBody {
        image: Some(agent.image.id.clone()),
        cmd,
        entrypoint,
        env: Some(agent.env.clone()),
        user: agent.user.clone(),
        healthcheck: Some(no_health_check()),
        working_dir: agent.workdir.clone().or_else(|| agent.has_project().then(|| WORKSPACE.to_owned())),
        tty: Some(agent.tty),
        open_stdin: Some(agent.interactive),
        // The stdin of a detached agent stays open from one attachment to the next.
        stdin_once: Some(agent.interactive && !agent.detached),
        attach_stdin: Some(agent.interactive && !agent.detached),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(labels_of_agent(workflow, agent)),
        host_config: Some(host),
        ..Default::default()
    }
}

/// Returns the agent's mounts, those that are laid over others behind them.
fn mounts(workflow: &Workflow, agent: &AgentSpec) -> Vec<Mount> {
    let served = agent.served.iter().map(|served| Mount {
        target: Some(served.target.clone()),
        source: Some(served.source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Default::default()
    });
    let handed = agent.handed.then(|| own_volume(workflow, Role::Secrets, SECRETS, true));
    let trust = agent.trust.then(|| own_volume(workflow, Role::Trust, AUTHORITIES, true));
    agent
        .binds
        .for_agent(workflow)
        .into_iter()
        .chain(served)
        .chain([own_volume(workflow, Role::Notice, NOTICE, true)])
        .chain(trust)
        .chain(handed)
        .chain(image_volumes::for_agent(workflow, agent.first_volume, &agent.data))
        .chain(agent.home.as_ref().map(HomePlace::mount))
        .collect()
}

/// Returns a service beside the agent: all that holds for the agent's container holds for it.
pub(crate) fn service(
    workflow: &Workflow,
    service: &AgentSpec,
    filter: &str,
    fence: &str,
) -> ContainerCreateBody {
    let labels = labels(workflow, service, Role::Service);
    ContainerCreateBody { labels: Some(labels), ..agent(workflow, service, filter, fence) }
}

/// Returns the agent's labels.
fn labels_of_agent(workflow: &Workflow, agent: &AgentSpec) -> HashMap<String, String> {
    let mut labels = labels(workflow, agent, Role::Agent);
    // The engine knows the other limits itself.
    labels.insert(LABEL_DISK.to_owned(), agent.limits.disk.to_string());
    labels.insert(LABEL_TIME.to_owned(), agent.limits.time.as_secs().to_string());
    if agent.keep {
        labels.insert(LABEL_KEEP.to_owned(), KEPT.to_owned());
    }
    labels
}

/// Returns the labels that ringfence reads, and the image's without their values.
fn labels(workflow: &Workflow, agent: &AgentSpec, role: Role) -> HashMap<String, String> {
    // Without a value the image's own steer no program that acts on containers by their labels
    // (podman auto-update, compose, proxies).
    let images = agent.image.labels.keys().filter(|name| *name != LABEL_CAPABILITIES);
    let mut labels: HashMap<String, String> = images.map(|name| (name.clone(), String::new())).collect();
    labels.extend(workflow.labels(role));
    labels.insert(LABEL_IMAGE.to_owned(), agent.image.name.clone());
    labels.insert(LABEL_IMAGE_DIGEST.to_owned(), agent.image.digest.clone().unwrap_or_default());
    labels
}

/// Returns the entrypoint and the command that the engine is asked for; none: the image's.
fn words(agent: &AgentSpec) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match &agent.by_init {
        Some(first) => {
            (Some(vec![first.place.program().to_owned()]), Some(init::arguments(agent, &first.keys)))
        }
        None => (
            agent.entrypoint.clone().map(|program| vec![program]),
            (!agent.command.is_empty()).then(|| agent.command.clone()),
        ),
    }
}

/// Switches the image's health check off: the engine would run it beside the first program, before
/// the covers were looked at.
fn no_health_check() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }
}
