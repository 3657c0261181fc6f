//! What the engine is asked for, as plain data: the fence, the guard and the agent.
//!
//! Nothing here acts, so what each container may do can be read and tested without an engine.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, NetworkingConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::agent::AgentSpec;
use super::etc::HOSTNAME;
use super::limits::for_engine;
use super::places::{AUTHORITIES, SECRETS, WORKSPACE};
use super::workflow::{LABEL_DISK, LABEL_IMAGE, LABEL_IMAGE_DIGEST, LABEL_TIME, Role, Workflow};
use super::{etc, init};
use crate::supervisor::mounts::binds::Binds;
use crate::supervisor::mounts::declared;
use crate::wire::handover::{HANDED, HOST_ALIAS, SHARED, TRUST};

/// The guard's user: no root, and in no passwd file.
pub const GUARD_USER: &str = "65532:65532";
/// The same as a number.
pub const GUARD_ID: u64 = 65532;
/// The fence keeps sockets and waits.
const FENCE_MEMORY: i64 = 256 << 20;
const FENCE_NANO_CPUS: i64 = 1_000_000_000;
/// The guard with every table full: its own part, and what the kernel keeps for twenty thousand sockets and holds in them.
const GUARD_MEMORY: i64 = 512 << 20;
/// The helper in the host's network holds a list of addresses.
const HOST_MEMORY: i64 = 64 << 20;
const HOST_NANO_CPUS: i64 = 500_000_000;
/// The helper that counts remembers each file that has several names.
const DISK_MEMORY: i64 = 512 << 20;
const DISK_NANO_CPUS: i64 = 500_000_000;
/// It holds a descriptor for each folder on its way down.
const DISK_OPEN_FILES: u64 = 4096;
/// An agent with a small part of a CPU still has a prompt guard.
const GUARD_LEAST_CPUS: i64 = 1_000_000_000;
/// What an engine keeps of a helper's output before it rotates its beginning away. The guard stops long before: an engine writes a
/// line as JSON again, with all quotes escaped, which takes up to twice its bytes.
const HELPERS_OUTPUT: &str = "1g";
/// By it an image says to Podman which capabilities it needs: it can only take some away, and empty it would take all.
const LABEL_CAPABILITIES: &str = "io.containers.capabilities";

/// The fence: root with `NET_ADMIN` in its own namespace only, and no other power. The volume of the agent's authorities
/// (`trust`) is filled through it, since the agent has it read-only; what the agent is given of this machine (`binds`) is looked at by it.
pub fn fence(
    workflow: &Workflow,
    image: &str,
    network: &str,
    resolver: Ipv4Addr,
    trust: bool,
    handed: bool,
    binds: &Binds,
) -> ContainerCreateBody {
    let mut host = helper_host(workflow, network, FENCE_MEMORY);
    host.mounts.get_or_insert_default().extend(binds.for_fence(workflow));
    if trust {
        host.mounts.get_or_insert_default().push(volume(workflow.object(Role::Trust), TRUST, false));
    }
    if handed {
        host.mounts.get_or_insert_default().push(volume(workflow.object(Role::Secrets), HANDED, false));
    }
    host.cap_add = Some(vec!["NET_ADMIN".to_owned()]);
    // Far more than it needs: a limit of every kind that the agent gets, to be seen from within.
    host.nano_cpus = Some(FENCE_NANO_CPUS);
    // /proc/sys is read-only inside, so these can be set here only. `lo` too: with ::1 alone left,
    // a server and a client of `localhost` may miss each other.
    host.sysctls = Some(
        ["all", "default", "lo"]
            .map(|link| (format!("net.ipv6.conf.{link}.disable_ipv6"), "1".to_owned()))
            .into_iter()
            .collect(),
    );
    // Any address will do, port 53 leads to the filter; set, so that the engine does not give its own.
    host.dns = Some(vec![resolver.to_string()]);
    host.dns_search = Some(vec![".".to_owned()]);
    host.dns_options = Some(vec!["ndots:1".to_owned()]);
    ContainerCreateBody {
        hostname: Some(HOSTNAME.to_owned()),
        ..helper(workflow, Role::Fence, image, network, host, ["fence", "hold"], "0:0")
    }
}

/// The guard: no capability, no root, on the uplink. Where it needs the host's address, the engine writes it into its hosts file
/// (`knows_host`). It works for its agent alone, and gets as much CPU time: an agent that floods it takes no more from other runs than its
/// own limit.
pub fn guard(
    workflow: &Workflow,
    image: &str,
    uplink: &str,
    knows_host: bool,
    agent_cpus: i64,
) -> ContainerCreateBody {
    let mut host = helper_host(workflow, uplink, GUARD_MEMORY);
    host.nano_cpus = Some(agent_cpus.max(GUARD_LEAST_CPUS));
    host.extra_hosts = knows_host.then(|| vec![format!("{HOST_ALIAS}:host-gateway")]);
    ContainerCreateBody {
        // The supervisor holds it open: its end tells the guard that the supervisor is gone.
        attach_stdin: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        ..helper(workflow, Role::Guard, image, uplink, host, ["guard", "run"], GUARD_USER)
    }
}

/// The probe: in the fence's namespace like the agent, under the agent's runtime, with no power at all.
pub fn probe(workflow: &Workflow, image: &str, runtime: &str, filter: Ipv4Addr) -> ContainerCreateBody {
    let network = format!("container:{}", workflow.object(Role::Fence));
    let mut host = helper_host(workflow, &network, FENCE_MEMORY);
    host.mounts = None;
    host.runtime = Some(runtime.to_owned());
    let mut body = helper(workflow, Role::Probe, image, &network, host, ["fence", "ask"], GUARD_USER);
    body.cmd.get_or_insert_default().push(filter.to_string());
    body.networking_config = None;
    body
}

/// The helper in the network of the engine's machine: it sees that network and can do nothing with it. With user ids of their own
/// (`remapped`) no container may be in that network, so this one has the machine's; its user owns nothing there.
pub fn host(workflow: &Workflow, image: &str, remapped: bool) -> ContainerCreateBody {
    let mut host = helper_host(workflow, "host", HOST_MEMORY);
    host.mounts = None;
    host.nano_cpus = Some(HOST_NANO_CPUS);
    host.pids_limit = Some(16);
    host.log_config = Some(log_config("1m"));
    host.userns_mode = remapped.then(|| "host".to_owned());
    ContainerCreateBody {
        // It ends when nobody holds the other end.
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        networking_config: None,
        ..helper(workflow, Role::Host, image, "host", host, ["host", "watch"], GUARD_USER)
    }
}

/// The helper that counts what the agent has on the engine's disk. It is among the agent's processes, may read all that they have, and
/// has no network. More rights than the agent's own keep the agent from tracing it.
pub fn disk(workflow: &Workflow, image: &str, volumes: usize) -> ContainerCreateBody {
    let mut host = helper_host(workflow, "none", DISK_MEMORY);
    host.mounts = Some(declared::for_counting(workflow, volumes));
    host.nano_cpus = Some(DISK_NANO_CPUS);
    host.pids_limit = Some(16);
    host.ulimits = Some(vec![open_files(DISK_OPEN_FILES)]);
    host.log_config = Some(log_config("1m"));
    host.pid_mode = Some(format!("container:{}", workflow.object(Role::Agent)));
    host.cap_add = Some(vec!["DAC_READ_SEARCH".to_owned(), "SYS_PTRACE".to_owned()]);
    ContainerCreateBody {
        // It ends when nobody holds the other end.
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        networking_config: None,
        ..helper(workflow, Role::Disk, image, "none", host, ["disk", "watch"], "0:0")
    }
}

fn helper_host(workflow: &Workflow, network: &str, memory: i64) -> HostConfig {
    HostConfig {
        network_mode: Some(network.to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        memory: Some(memory),
        memory_swap: Some(memory),
        pids_limit: Some(64),
        restart_policy: Some(no_restart()),
        log_config: Some(log_config(HELPERS_OUTPUT)),
        mounts: Some(vec![volume(workflow.object(Role::Volume), SHARED, false)]),
        ..Default::default()
    }
}

/// A volume at a path. What is only read there is not filled from the image first.
fn volume(name: String, path: &str, read_only: bool) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        source: Some(name),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions { no_copy: Some(read_only), ..Default::default() }),
        ..Default::default()
    }
}

fn helper(
    workflow: &Workflow,
    role: Role,
    image: &str,
    network: &str,
    host: HostConfig,
    words: [&str; 2],
    user: &str,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some(user.to_owned()),
        entrypoint: Some(vec!["/usr/bin/ringfence".to_owned()]),
        cmd: Some(words.map(str::to_owned).to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(workflow.labels(role)),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.to_owned(), EndpointSettings::default())])),
        }),
        ..Default::default()
    }
}

/// Switches the image's health check off: the engine would run it beside the first program, before the covers were looked at.
fn no_health_check() -> HealthConfig {
    HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }
}

fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() }
}

/// Soft and hard limit alike: what a process may raise is no limit.
fn open_files(limit: u64) -> ResourcesUlimits {
    let limit = Some(for_engine(limit));
    ResourcesUlimits { name: Some("nofile".to_owned()), soft: limit, hard: limit }
}

/// Explicit, since an engine's default driver may keep nothing that can be read back.
fn log_config(max_size: &str) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), max_size.to_owned()),
            ("max-file".to_owned(), "2".to_owned()),
        ])),
    }
}

/// The agent: in the fence's namespace, with few capabilities and limits on. `filter`: see [`super::surface::Surface::lay_on`].
pub fn agent(workflow: &Workflow, agent: &AgentSpec, filter: &str) -> ContainerCreateBody {
    let served = agent.served.iter().map(|served| Mount {
        target: Some(served.target.clone()),
        source: Some(served.source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Default::default()
    });
    let handed = agent.handed.then(|| volume(workflow.object(Role::Secrets), SECRETS, true));
    let trust = agent.trust.then(|| volume(workflow.object(Role::Trust), AUTHORITIES, true));
    let mut host = HostConfig {
        network_mode: Some(format!("container:{}", workflow.object(Role::Fence))),
        runtime: agent.runtime.clone(),
        init: Some(true),
        nano_cpus: Some(agent.limits.nano_cpus),
        memory: Some(for_engine(agent.limits.memory)),
        memory_swap: Some(for_engine(agent.limits.memory)),
        pids_limit: Some(for_engine(agent.limits.pids)),
        ulimits: Some(vec![open_files(agent.limits.open_files)]),
        storage_opt: agent.quota.then(|| HashMap::from([("size".to_owned(), agent.limits.disk.to_string())])),
        restart_policy: Some(no_restart()),
        log_config: Some(log_config("64m")),
        mounts: Some(
            agent
                .binds
                .for_agent(workflow)
                .into_iter()
                .chain(served)
                .chain(trust)
                .chain(handed)
                .chain(declared::for_agent(workflow, &agent.data))
                .collect(),
        ),
        readonly_paths: agent.names_read_only.then(etc::read_only_paths),
        ..Default::default()
    };
    // Without a value the image's own steer no program that acts on containers by their labels (podman auto-update, compose, proxies).
    let images = agent.image.labels.iter().filter(|name| *name != LABEL_CAPABILITIES);
    let mut labels: HashMap<String, String> = images.map(|name| (name.clone(), String::new())).collect();
    labels.extend(workflow.labels(Role::Agent));
    labels.insert(LABEL_IMAGE.to_owned(), agent.image.name.clone());
    labels.insert(LABEL_IMAGE_DIGEST.to_owned(), agent.image.digest.clone().unwrap_or_default());
    // The engine knows the other limits itself.
    labels.insert(LABEL_DISK.to_owned(), agent.limits.disk.to_string());
    labels.insert(LABEL_TIME.to_owned(), agent.limits.time.as_secs().to_string());
    agent.surface.lay_on(&mut host, agent.limits.memory, filter, agent.is_root());
    let (entrypoint, cmd) = match agent.by_init {
        true => (Some(vec![crate::wire::init::PLACE.to_owned()]), Some(init::words(agent))),
        false => (
            agent.entrypoint.clone().map(|program| vec![program]),
            (!agent.command.is_empty()).then(|| agent.command.clone()),
        ),
    };
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
        stdin_once: Some(agent.interactive),
        attach_stdin: Some(agent.interactive),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(labels),
        host_config: Some(host),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::spec::image::Image;
    use crate::supervisor::spec::limits::Limits;
    use crate::supervisor::spec::surface::Surface;
    use crate::wire::UnixTime;

    fn workflow() -> Workflow {
        let digest = format!("sha256:{}", "d".repeat(64));
        Workflow {
            id: "0000002a".parse().unwrap(),
            name: None,
            digest: Some(digest.parse().unwrap()),
            created_at: UnixTime(1),
        }
    }

    fn plain() -> AgentSpec {
        AgentSpec {
            image: Image::default(),
            command: vec![],
            entrypoint: None,
            env: vec![],
            binds: Binds::default(),
            served: vec![],
            by_init: false,
            workdir: None,
            data: vec![],
            names_read_only: false,
            handed: true,
            trust: true,
            user: None,
            runtime: None,
            interactive: false,
            tty: false,
            limits: Limits { nano_cpus: 1, ..Limits::default() },
            quota: false,
            surface: Surface::default(),
        }
    }

    #[test]
    fn an_agent_is_asked_for_as_it_was_read() {
        let asked = AgentSpec { handed: false, ..plain() };
        // Labels and options are in no order.
        let shown = serde_json::to_value(super::agent(&workflow(), &asked, "PROFILE")).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
    }

    #[test]
    fn an_images_labels_have_no_value_and_ringfences_own_stay() {
        let labels = [LABEL_DISK, "io.containers.autoupdate", LABEL_CAPABILITIES].map(str::to_owned);
        let image = Image { labels: labels.to_vec(), ..Image::default() };
        let made = super::agent(&workflow(), &AgentSpec { image, ..plain() }, "PROFILE").labels.unwrap();
        assert_eq!(made["io.containers.autoupdate"], "");
        assert_eq!(made[LABEL_DISK], Limits::default().disk.to_string());
        assert!(!made.contains_key(LABEL_CAPABILITIES));
    }

    #[test]
    fn an_agent_that_waits_for_the_word_begins_as_the_engine_would_begin_it() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (entrypoint, command, expected) in [
            (None, &[][..], &["/entry", "-x", "default"][..]),
            (None, &["a", "b"], &["/entry", "-x", "a", "b"]),
            (Some("/mine"), &[], &["/mine"]),
            (Some("/mine"), &["a"], &["/mine", "a"]),
            (Some(""), &["a"], &["a"]),
        ] {
            let image = Image {
                entrypoint: list(&["/entry", "-x"]),
                command: list(&["default"]),
                ..Image::default()
            };
            let entrypoint = entrypoint.map(str::to_owned);
            let asked = AgentSpec { image, entrypoint, command: list(command), by_init: true, ..plain() };
            let made = super::agent(&workflow(), &asked, "PROFILE");
            assert_eq!(made.entrypoint.unwrap(), [crate::wire::init::PLACE]);
            assert_eq!(made.cmd.unwrap(), expected);
        }
    }

    #[test]
    fn no_engine_rotates_the_beginning_of_a_log_away() {
        let guard = guard(&workflow(), "img", "uplink", true, 5).host_config.unwrap().log_config.unwrap();
        assert_eq!(guard.typ.as_deref(), Some("json-file"));
        assert_eq!(guard.config.unwrap()["max-size"], "1g");
        // All lines twice, and as much again for what is open at the bound and what a supervisor has written down.
        const { assert!(3 * crate::wire::handover::EVENTS_BYTES < 1 << 30) };
    }

    #[test]
    fn only_the_fence_may_administer_a_network_and_only_its_own() {
        let fence = fence(&workflow(), "img", "net", Ipv4Addr::LOCALHOST, true, true, &Binds::default())
            .host_config
            .unwrap();
        let guard = guard(&workflow(), "img", "uplink", true, 5).host_config.unwrap();
        let agent = agent(&workflow(), &plain(), "PROFILE").host_config.unwrap();
        let asked = host(&workflow(), "img", false);
        assert_eq!((asked.user.as_deref(), asked.exposed_ports.is_none()), (Some(GUARD_USER), true));
        let host = asked.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert!(host.mounts.is_none() && host.cap_add.is_none() && host.readonly_rootfs == Some(true));
        assert!(host.userns_mode.is_none(), "only where the engine wants it");
        assert_eq!(guard.nano_cpus, Some(GUARD_LEAST_CPUS));
        let busy = super::guard(&workflow(), "img", "uplink", true, 4_000_000_000).host_config.unwrap();
        assert_eq!(busy.nano_cpus, Some(4_000_000_000), "as much as its agent");
        assert_eq!(fence.cap_add.as_deref(), Some(&["NET_ADMIN".to_owned()][..]));
        assert_eq!(fence.network_mode.as_deref(), Some("net"));
        assert_eq!(guard.cap_add, None);
        assert_eq!(agent.network_mode.as_deref(), Some("container:ringfence-0000002a-fence"));
        for host in [&fence, &guard, &agent, &host] {
            assert_eq!(host.cap_drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert_eq!(host.security_opt.as_deref().unwrap()[0], "no-new-privileges");
            assert!(host.privileged != Some(true) && host.devices.is_none() && host.pid_mode.is_none());
            assert!(host.binds.is_none());
        }
        assert_eq!(agent.security_opt.unwrap()[1], "seccomp=PROFILE");
        let powers = agent.cap_add.unwrap();
        for (user, images, own) in
            [(None, "", 7), (None, "node", 0), (Some("0:0"), "node", 7), (Some("1000:1000"), "", 0)]
        {
            let image = Image { user: images.to_owned(), ..Image::default() };
            let asked = AgentSpec { user: user.map(str::to_owned), image, ..plain() };
            let made = super::agent(&workflow(), &asked, "PROFILE").host_config.unwrap();
            assert_eq!(made.cap_add.unwrap().len(), own, "{user:?} {images}");
        }
        for never in ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "MKNOD", "ALL"] {
            assert!(!powers.iter().any(|power| power == never), "{never}");
        }
    }
}
