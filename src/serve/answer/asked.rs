//! The wishes of a client that the engine does not get, remembered in a label.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Label of a member that holds what its client asked for.
pub(crate) const LABEL_ASKED: &str = "dev.ringfence.asked";

/// Wishes of a client that inspect, list and events answer again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AskedFor {
    /// Image as it was written.
    pub(crate) image: String,
    /// Number of words of the whole command that are the entrypoint's. (The words themselves are on
    /// the engine: labels are in its events, and command lines have passwords.)
    pub(crate) entrypoint: usize,
    /// Host name; empty: the engine's, of the id.
    pub(crate) hostname: String,
    /// Domain name.
    pub(crate) domainname: String,
    /// `NetworkMode`.
    pub(crate) network_mode: String,
    /// Networks by name.
    pub(crate) networks: BTreeMap<String, NetworkAsked>,
    /// Ports that are exposed, as `80/tcp`.
    pub(crate) exposed: Vec<String>,
    /// Ports that are published.
    pub(crate) ports: Vec<PortAsked>,
    /// Set when every exposed port is published.
    pub(crate) publish_all: bool,
    /// `Binds`.
    pub(crate) binds: Vec<String>,
    /// Places of all mounts that the client knows.
    pub(crate) targets: Vec<String>,
    /// `ExtraHosts`.
    pub(crate) extra_hosts: Vec<String>,
    /// `Links`.
    pub(crate) links: Vec<String>,
    /// `CapAdd`.
    pub(crate) cap_add: Vec<String>,
    /// `CapDrop`.
    pub(crate) cap_drop: Vec<String>,
    /// `SecurityOpt`, without profiles.
    pub(crate) security: Vec<String>,
    /// `RestartPolicy.Name`.
    pub(crate) restart: String,
    /// `RestartPolicy.MaximumRetryCount`.
    pub(crate) retries: i64,
    /// `AutoRemove`.
    pub(crate) auto_remove: bool,
}

/// Membership of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkAsked {
    /// Id of its record; empty for the default network.
    pub(crate) id: String,
    /// Names there.
    pub(crate) aliases: Vec<String>,
}

/// A port that is published.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PortAsked {
    /// Port in the container.
    pub(crate) container: u16,
    /// Address on this machine as it was written.
    pub(crate) host_ip: String,
    /// Port on this machine; 0: a free one.
    pub(crate) host: u16,
}

impl AskedFor {
    /// Reads the label.
    pub(crate) fn read(label: &str) -> Option<AskedFor> {
        serde_json::from_str(label).ok()
    }

    /// Returns the label's value.
    pub(crate) fn label(&self) -> String {
        serde_json::to_value(self).unwrap_or(Value::Null).to_string()
    }

    /// Lists the TCP ports that the container is known to have, exposed or published.
    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        let mut ports = crate::supervisor::spec::image::tcp_ports(&self.exposed);
        ports.extend(self.ports.iter().map(|port| port.container));
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}
