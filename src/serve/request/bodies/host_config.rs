//! `HostConfig` of a new container.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::mounts::MountBody;

/// `HostConfig`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API, and explained by the table of rules")]
pub(crate) struct HostBody {
    pub(crate) network_mode: Option<String>,
    pub(crate) port_bindings: Option<BTreeMap<String, Option<Vec<PortBody>>>>,
    pub(crate) publish_all_ports: Option<bool>,
    pub(crate) links: Option<Vec<String>>,
    pub(crate) extra_hosts: Option<Vec<String>>,
    pub(crate) binds: Option<Vec<String>>,
    pub(crate) mounts: Option<Vec<MountBody>>,
    pub(crate) tmpfs: Option<BTreeMap<String, String>>,
    pub(crate) cap_add: Option<Vec<String>>,
    pub(crate) cap_drop: Option<Vec<String>>,
    pub(crate) security_opt: Option<Vec<String>>,
    pub(crate) pid_mode: Option<String>,
    pub(crate) ipc_mode: Option<String>,
    #[serde(rename = "UTSMode")]
    pub(crate) uts_mode: Option<String>,
    pub(crate) userns_mode: Option<String>,
    pub(crate) cgroupns_mode: Option<String>,
    pub(crate) sysctls: Option<BTreeMap<String, String>>,
    pub(crate) group_add: Option<Vec<String>>,
    pub(crate) readonly_rootfs: Option<bool>,
    pub(crate) memory: Option<i64>,
    pub(crate) memory_reservation: Option<i64>,
    pub(crate) nano_cpus: Option<i64>,
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) cpu_period: Option<i64>,
    pub(crate) cpu_shares: Option<i64>,
    pub(crate) cpuset_cpus: Option<String>,
    pub(crate) cpuset_mems: Option<String>,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) shm_size: Option<i64>,
    pub(crate) ulimits: Option<Vec<UlimitBody>>,
    pub(crate) oom_score_adj: Option<i64>,
    pub(crate) auto_remove: Option<bool>,
    pub(crate) restart_policy: Option<RestartBody>,
    pub(crate) log_config: Option<LogBody>,
    pub(crate) init: Option<bool>,
    pub(crate) console_size: Option<Vec<u32>>,
}

/// Binding of one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct PortBody {
    pub(crate) host_ip: Option<String>,
    pub(crate) host_port: Option<String>,
}

/// `RestartPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct RestartBody {
    pub(crate) name: Option<String>,
    pub(crate) maximum_retry_count: Option<i64>,
}

/// `LogConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogBody {
    /// Driver.
    #[serde(rename = "Type")]
    pub(crate) driver: Option<String>,
}

/// One of `Ulimits`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct UlimitBody {
    pub(crate) name: Option<String>,
    pub(crate) soft: Option<i64>,
    pub(crate) hard: Option<i64>,
}
