//! `POST /containers/create`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::host_config::HostBody;
use crate::serve::request::fields::ApiBody;
use crate::serve::rules::BodyOf;

/// Words of a command: a list, or one text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    /// A list.
    Many(Vec<String>),
    /// One text, which engines take as the one word of a list.
    One(String),
}

impl Words {
    /// Returns them as a list.
    pub(crate) fn list(&self) -> Vec<String> {
        match self {
            Words::Many(words) => words.clone(),
            Words::One(word) => vec![word.clone()],
        }
    }
}

/// A new container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API, and explained by the table of rules")]
pub(crate) struct CreateBody {
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) attach_stdin: Option<bool>,
    pub(crate) attach_stdout: Option<bool>,
    pub(crate) attach_stderr: Option<bool>,
    pub(crate) exposed_ports: Option<BTreeMap<String, Value>>,
    pub(crate) tty: Option<bool>,
    pub(crate) open_stdin: Option<bool>,
    pub(crate) stdin_once: Option<bool>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) cmd: Option<Words>,
    pub(crate) healthcheck: Option<HealthBody>,
    pub(crate) image: Option<String>,
    pub(crate) volumes: Option<BTreeMap<String, Value>>,
    pub(crate) working_dir: Option<String>,
    pub(crate) entrypoint: Option<Words>,
    pub(crate) labels: Option<BTreeMap<String, Option<String>>>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) stop_timeout: Option<i64>,
    pub(crate) shell: Option<Words>,
    pub(crate) host_config: Option<HostBody>,
    pub(crate) networking_config: Option<NetworkingBody>,
}

impl ApiBody for CreateBody {
    const OF: BodyOf = BodyOf::Create;
}

/// `Healthcheck`. Times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "named as in the API")]
pub(crate) struct HealthBody {
    pub(crate) test: Option<Vec<String>>,
    pub(crate) interval: Option<i64>,
    pub(crate) timeout: Option<i64>,
    pub(crate) retries: Option<i64>,
    pub(crate) start_period: Option<i64>,
    pub(crate) start_interval: Option<i64>,
}

/// `NetworkingConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct NetworkingBody {
    /// Networks by name or id.
    pub(crate) endpoints_config: Option<EndpointsBody>,
}

/// Networks by name or id.
pub(crate) type EndpointsBody = BTreeMap<String, Option<EndpointBody>>;

/// Membership of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EndpointBody {
    /// Names of the container there.
    pub(crate) aliases: Option<Vec<String>>,
}

/// Returns the keys of a map whose values say nothing (`{"80/tcp": {}}`).
pub(crate) fn empty_values(map: Option<&BTreeMap<String, Value>>) -> Vec<String> {
    map.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}
