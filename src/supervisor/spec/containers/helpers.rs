//! The helpers of a run: fence, guard, probe, and those that look at the engine's machine and at
//! the agent's disk.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig};

use super::{log_config, no_restart, open_files, own_volume};
use crate::supervisor::spec::binds::Binds;
use crate::supervisor::spec::etc::{HOSTNAME, OWN_NAME};
use crate::supervisor::spec::image_volumes;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::wire::handover::{HANDED, HOST_ALIAS, NOTICE, SHARED, TRUST};

/// The guard's user: no root, and in no passwd file.
pub(super) const GUARD_USER: &str = "65532:65532";
/// Number of that user.
pub(crate) const GUARD_ID: u64 = 65532;
/// The fence keeps sockets and waits.
const FENCE_MEMORY: i64 = 256 << 20;
const FENCE_NANO_CPUS: i64 = 1_000_000_000;
/// The guard with every table full: its own part, and what the kernel keeps for twenty thousand
/// sockets and holds in them.
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
pub(super) const GUARD_LEAST_CPUS: i64 = 1_000_000_000;
/// Size of a helper's output from which an engine rotates its beginning away. The guard stops
/// long before: an engine writes a line as JSON again, with all quotes escaped, which takes up to
/// twice its bytes.
const HELPERS_OUTPUT: &str = "1g";

/// Returns the fence: root with `NET_ADMIN` in its own namespace only, and no other power. The
/// engine gives that namespace nothing, and the fence makes the one device in it. The volumes of
/// the agent's notice and authorities (`trust`) are filled by it, since the agent has them
/// read-only; what the agent is given of this machine (`binds`) is looked at by it.
pub(crate) fn fence(
    workflow: &Workflow,
    image: &str,
    resolver: Ipv4Addr,
    trust: bool,
    handed: bool,
    binds: &Binds,
) -> ContainerCreateBody {
    let mut host = helper_host(workflow, "none", FENCE_MEMORY);
    host.mounts.get_or_insert_default().extend(binds.for_fence(workflow));
    host.mounts.get_or_insert_default().push(own_volume(workflow, Role::Notice, NOTICE, false));
    if trust {
        host.mounts.get_or_insert_default().push(own_volume(workflow, Role::Trust, TRUST, false));
    }
    if handed {
        host.mounts.get_or_insert_default().push(own_volume(workflow, Role::Secrets, HANDED, false));
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
    // Any address will do, port 53 leads to the filter; set, so that the engine does not give its
    // own.
    host.dns = Some(vec![resolver.to_string()]);
    host.dns_search = Some(vec![".".to_owned()]);
    host.dns_options = Some(vec!["ndots:1".to_owned()]);
    // Without a network an engine writes no line for the host name, and programs ask for their own.
    host.extra_hosts = Some(vec![format!("{HOSTNAME}:{OWN_NAME}")]);
    ContainerCreateBody {
        hostname: Some(HOSTNAME.to_owned()),
        // By it the fence gets the files that the run begins with.
        attach_stdin: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        ..helper(workflow, Role::Fence, image, host, ["fence", "hold"], "0:0")
    }
}

/// Returns the guard: no capability, no root, on the uplink. Where it needs the host's address, the
/// engine writes it into its hosts file (`knows_host`). It works for its agent alone, and gets as
/// much CPU time: an agent that floods it takes no more from other runs than its own limit.
pub(crate) fn guard(
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
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(uplink.to_owned(), EndpointSettings::default())])),
        }),
        ..helper(workflow, Role::Guard, image, host, ["guard", "run"], GUARD_USER)
    }
}

/// Returns the probe: in the fence's namespace like the agent, under the agent's runtime, with no
/// power at all.
pub(crate) fn probe(
    workflow: &Workflow,
    image: &str,
    runtime: &str,
    filter: Ipv4Addr,
) -> ContainerCreateBody {
    let network = format!("container:{}", workflow.object(Role::Fence));
    let mut host = helper_host(workflow, &network, FENCE_MEMORY);
    host.mounts = None;
    host.runtime = Some(runtime.to_owned());
    let mut body = helper(workflow, Role::Probe, image, host, ["fence", "ask"], GUARD_USER);
    body.cmd.get_or_insert_default().push(filter.to_string());
    body
}

/// Returns the helper in the network of the engine's machine: it sees that network and can do
/// nothing with it. With user ids of their own (`remapped`) no container may be in that network, so
/// this one has the machine's; its user owns nothing there.
pub(crate) fn host(workflow: &Workflow, image: &str, remapped: bool) -> ContainerCreateBody {
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
        ..helper(workflow, Role::Host, image, host, ["host", "watch"], GUARD_USER)
    }
}

/// A container whose files are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted<'a> {
    /// The engine's name of the container.
    pub(crate) container: &'a str,
    /// Number of the first volume that its image declares.
    pub(crate) first_volume: usize,
    /// Number of these volumes.
    pub(crate) volumes: usize,
    /// The engine's name of the volume with the agent's home.
    pub(crate) home: Option<&'a str>,
}

/// Returns the helper that counts what the agent, or a service, has on the engine's disk. It is
/// among the processes of that container, may read all that they have, and has no network. More
/// rights than theirs keep them from tracing it.
pub(crate) fn disk(workflow: &Workflow, image: &str, counted: Counted<'_>) -> ContainerCreateBody {
    let mut host = helper_host(workflow, "none", DISK_MEMORY);
    let Counted { container, first_volume, volumes, home } = counted;
    host.mounts = Some(image_volumes::for_counting(workflow, first_volume, volumes, home));
    host.nano_cpus = Some(DISK_NANO_CPUS);
    host.pids_limit = Some(16);
    host.ulimits = Some(vec![open_files(DISK_OPEN_FILES)]);
    host.log_config = Some(log_config("1m"));
    host.pid_mode = Some(format!("container:{container}"));
    host.cap_add = Some(vec!["DAC_READ_SEARCH".to_owned(), "SYS_PTRACE".to_owned()]);
    ContainerCreateBody {
        // It ends when nobody holds the other end.
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        ..helper(workflow, Role::Disk, image, host, ["disk", "watch"], "0:0")
    }
}

/// Returns what all helpers have in common.
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
        mounts: Some(vec![own_volume(workflow, Role::Volume, SHARED, false)]),
        ..Default::default()
    }
}

/// Returns a container that runs one of ringfence's own programs.
fn helper(
    workflow: &Workflow,
    role: Role,
    image: &str,
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
        ..Default::default()
    }
}
