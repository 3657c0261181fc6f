//! The body that the engine gets for a new container: written from the decision, field by field.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use netpolicy::settings::Capabilities;

use super::decide::member::{HealthAsk, MemberLimits, MemberMount, MemberSpec, MountSource};
use crate::supervisor::spec::limits::for_engine;
use crate::supervisor::spec::surface::Surface;
use crate::wire::EngineId;
use crate::wire::init::InitPlace;

/// Everything that a decision does not say and a body needs.
#[derive(Debug, Clone)]
pub(crate) struct Seam<'a> {
    /// The fence, by its id.
    pub(crate) fence: &'a EngineId,
    /// The filter of system calls, as the engine wants it.
    pub(crate) filter: &'a str,
    /// OCI runtime; none: the engine's own.
    pub(crate) runtime: Option<String>,
    /// All of ringfence's labels: laid over the client's and the image's.
    pub(crate) labels: HashMap<String, String>,
    /// All mounts, in their order.
    pub(crate) mounts: Vec<Mount>,
    /// All variables.
    pub(crate) env: Vec<String>,
    /// Place of ringfence's own first program, with which the container begins.
    pub(crate) by_init: Option<InitPlace>,
    /// Set when health checks run: they begin before the first program ends its wait.
    pub(crate) health: bool,
    /// Bytes of the container's layer, where the storage driver can hold the limit.
    pub(crate) disk: Option<u64>,
    /// Paths that are read-only; none: the engine's.
    pub(crate) readonly_paths: Option<Vec<String>>,
}

/// Returns the body for the engine.
pub(crate) fn create_body(spec: &MemberSpec, seam: Seam<'_>) -> ContainerCreateBody {
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.extend(seam.labels.clone());
    let (entrypoint, cmd) = match &seam.by_init {
        Some(place) => {
            let words = std::iter::once(place.words()).chain(spec.argv()).collect();
            (Some(vec![place.program().to_owned()]), Some(words))
        }
        None => (spec.entrypoint.clone(), spec.command.clone()),
    };
    ContainerCreateBody {
        image: Some(spec.image.id.clone()),
        entrypoint,
        cmd,
        env: Some(seam.env.clone()),
        user: spec.user.clone(),
        // The image's too: the engine may make another variant of it.
        working_dir: Some(spec.workdir_in_effect()).filter(|text| !text.is_empty()).map(str::to_owned),
        shell: spec.shell.clone(),
        tty: Some(spec.streams.tty),
        open_stdin: Some(spec.streams.open_stdin),
        stdin_once: Some(spec.streams.stdin_once),
        attach_stdin: Some(spec.streams.attach_stdin),
        attach_stdout: Some(spec.streams.attach_stdout),
        attach_stderr: Some(spec.streams.attach_stderr),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout,
        healthcheck: health(spec.health.as_ref(), seam.health),
        labels: Some(labels),
        host_config: Some(host(spec, seam)),
        ..Default::default()
    }
}

fn host(spec: &MemberSpec, seam: Seam<'_>) -> HostConfig {
    let limits = &spec.limits;
    let mut host = HostConfig {
        network_mode: Some(format!("container:{}", seam.fence)),
        runtime: seam.runtime,
        // What the engine would begin before ringfence's program can be led elsewhere. A container
        // that begins by itself has nothing that would have to be looked at first.
        init: Some(spec.init && seam.by_init.is_none()),
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() }),
        log_config: Some(log_config()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        storage_opt: seam.disk.map(|disk| HashMap::from([("size".to_owned(), disk.to_string())])),
        mounts: Some(seam.mounts),
        group_add: (!spec.groups.is_empty()).then(|| spec.groups.clone()),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        readonly_paths: seam.readonly_paths,
        ..limited(limits)
    };
    let surface = Surface {
        capabilities: Capabilities::Default,
        read_only: spec.read_only,
        tmpfs: Vec::new(),
        shm: limits.shm,
    };
    // The code of a run decides over rights; of its list a client can take some away.
    surface.lay_on(&mut host, limits.memory, seam.filter, spec.is_root(), None);
    if spec.is_root() {
        host.cap_add = Some(spec.capabilities.clone());
    }
    // An image that cannot be written has as many places in memory as its client asked for.
    host.tmpfs = Some(spec.tmpfs.clone().into_iter().collect());
    host
}

fn limited(limits: &MemberLimits) -> HostConfig {
    let ulimit = |(name, (soft, hard)): (&String, &(i64, i64))| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(*soft),
        hard: Some(*hard),
    };
    HostConfig {
        memory: Some(for_engine(limits.memory)),
        memory_swap: Some(for_engine(limits.memory)),
        memory_reservation: limits.reservation.map(for_engine),
        nano_cpus: Some(limits.nano_cpus),
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        pids_limit: Some(for_engine(limits.pids)),
        ulimits: Some(limits.ulimits.iter().map(ulimit).collect()),
        oom_score_adj: limits.oom_score,
        ..Default::default()
    }
}

/// Returns how the engine keeps the output: on its own disk, and so much of it.
fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "64m"), ("max-file", "2")];
    let config = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config.into_iter().collect()) }
}

/// Returns the health check; none: the image's.
fn health(asked: Option<&HealthAsk>, runs: bool) -> Option<HealthConfig> {
    if !runs {
        return Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() });
    }
    asked.map(|asked| HealthConfig {
        test: (!asked.test.is_empty()).then(|| asked.test.clone()),
        interval: asked.interval,
        timeout: asked.timeout,
        retries: asked.retries,
        start_period: asked.start_period,
        start_interval: asked.start_interval,
    })
}

/// Returns a mount as the engine gets it. `volume` is the engine's name of its volume, where it has
/// one.
pub(crate) fn mount(of: &MemberMount, volume: Option<&str>) -> Mount {
    let mount =
        Mount { target: Some(of.target.clone()), read_only: Some(!of.writable), ..Default::default() };
    match &of.source {
        MountSource::Path { path, alone, .. } => bind(mount, path, *alone),
        MountSource::Volume { name, no_copy, .. } => Mount {
            typ: Some(MountType::VOLUME),
            source: volume.map(str::to_owned).or_else(|| name.clone()),
            volume_options: Some(MountVolumeOptions { no_copy: Some(*no_copy), ..Default::default() }),
            ..mount
        },
        MountSource::Memory { size, mode } => Mount {
            typ: Some(MountType::TMPFS),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: Some(for_engine(*size)),
                mode: mode.map(i64::from),
                ..Default::default()
            }),
            ..mount
        },
    }
}

fn bind(mount: Mount, path: &Path, alone: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(path.to_string_lossy().into_owned()),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            non_recursive: alone.then_some(true),
            create_mountpoint: Some(false),
            ..Default::default()
        }),
        ..mount
    }
}
