//! Containers as the engine is asked for them, as plain data: the agent, the services beside it,
//! and the helpers around it.
//!
//! Nothing here acts, so what each container may do can be read and tested without an engine.

mod agent;
mod helpers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use bollard::models::{
    HostConfigLogConfig, Mount, MountType, MountVolumeOptions, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

pub(crate) use self::agent::{agent, service};
pub(crate) use self::helpers::{Counted, GUARD_ID, disk, fence, guard, host, probe};
use super::limits::for_engine;
use super::workflow::{Role, Workflow};

/// Returns the mount of one of the workflow's volumes, of which there is one in that role.
fn own_volume(workflow: &Workflow, role: Role, path: &str, read_only: bool) -> Mount {
    labelled(volume(workflow.object(role), path, read_only), workflow, role)
}

/// Gives the mount of a workflow's volume the volume's labels: an engine that creates a container
/// late, when the volume was removed already, makes the volume anew, and what has no label is found
/// by nobody.
pub(super) fn labelled(mut mount: Mount, workflow: &Workflow, role: Role) -> Mount {
    mount.volume_options.get_or_insert_default().labels = Some(workflow.labels(role));
    mount
}

/// Returns the mount of a volume at a path. What is only read there is not filled from the image
/// first.
pub(super) fn volume(name: String, path: &str, read_only: bool) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        source: Some(name),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        volume_options: Some(MountVolumeOptions { no_copy: Some(read_only), ..Default::default() }),
        ..Default::default()
    }
}

/// Returns the policy of a container that is never started anew.
pub(super) fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() }
}

/// Returns a limit of open files, soft and hard alike: what a process may raise is no limit.
fn open_files(limit: u64) -> ResourcesUlimits {
    let limit = Some(for_engine(limit));
    ResourcesUlimits { name: Some("nofile".to_owned()), soft: limit, hard: limit }
}

/// Returns how an engine keeps a container's output. Explicit, since an engine's default driver may
/// keep nothing that can be read back.
fn log_config(max_size: &str) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), max_size.to_owned()),
            ("max-file".to_owned(), "2".to_owned()),
        ])),
    }
}
