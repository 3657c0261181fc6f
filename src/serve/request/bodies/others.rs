//! The bodies beside that of `POST /containers/create`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::create::{EndpointBody, Words};
use crate::serve::request::fields::ApiBody;
use crate::serve::rules::BodyOf;

/// `EndpointConfig` of a connect.
pub(crate) type ConnectEndpoint = EndpointBody;

/// A new exec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct ExecBody {
    pub(crate) attach_stdin: Option<bool>,
    pub(crate) attach_stdout: Option<bool>,
    pub(crate) attach_stderr: Option<bool>,
    pub(crate) tty: Option<bool>,
    pub(crate) console_size: Option<Vec<u32>>,
    pub(crate) detach_keys: Option<String>,
    pub(crate) cmd: Option<Words>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) user: Option<String>,
    pub(crate) working_dir: Option<String>,
}

impl ApiBody for ExecBody {
    const OF: BodyOf = BodyOf::Exec;
}

/// The start of an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct ExecStartBody {
    pub(crate) detach: Option<bool>,
    pub(crate) tty: Option<bool>,
    pub(crate) console_size: Option<Vec<u32>>,
}

impl ApiBody for ExecStartBody {
    const OF: BodyOf = BodyOf::ExecStart;
}

/// New limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct UpdateBody {
    pub(crate) memory: Option<i64>,
    pub(crate) memory_reservation: Option<i64>,
    pub(crate) nano_cpus: Option<i64>,
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) cpu_period: Option<i64>,
    pub(crate) cpu_shares: Option<i64>,
    pub(crate) cpuset_cpus: Option<String>,
    pub(crate) cpuset_mems: Option<String>,
    pub(crate) pids_limit: Option<i64>,
}

impl ApiBody for UpdateBody {
    const OF: BodyOf = BodyOf::Update;
}

/// A new network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct NetworkBody {
    pub(crate) name: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, Option<String>>>,
    pub(crate) driver: Option<String>,
    pub(crate) internal: Option<bool>,
    pub(crate) attachable: Option<bool>,
    #[serde(rename = "IPAM")]
    pub(crate) ipam: Option<Value>,
    pub(crate) scope: Option<String>,
}

impl ApiBody for NetworkBody {
    const OF: BodyOf = BodyOf::Network;
}

/// A container that is connected to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct ConnectBody {
    pub(crate) container: Option<String>,
    pub(crate) endpoint_config: Option<ConnectEndpoint>,
}

impl ApiBody for ConnectBody {
    const OF: BodyOf = BodyOf::Connect;
}

/// A container that is disconnected from a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisconnectBody {
    /// The container.
    pub(crate) container: Option<String>,
}

impl ApiBody for DisconnectBody {
    const OF: BodyOf = BodyOf::Disconnect;
}

/// A new volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct VolumeBody {
    pub(crate) name: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, Option<String>>>,
    pub(crate) driver: Option<String>,
}

impl ApiBody for VolumeBody {
    const OF: BodyOf = BodyOf::Volume;
}
