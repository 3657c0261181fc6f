//! Networks: records that ringfence keeps. No bridge is made, since nobody would join it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::serve::decide::facts::FoundNetwork;
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;

/// Id of the default network, as clients see it.
pub(crate) const BRIDGE_ID: &str = "b000000000000000000000000000000000000000000000000000000000000001";
const HOST_ID: &str = "b000000000000000000000000000000000000000000000000000000000000002";
const NONE_ID: &str = "b000000000000000000000000000000000000000000000000000000000000003";
/// The time at which the engine's own networks were made, as far as clients know.
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    /// The client's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Set when it was asked for without a way out. It changes nothing: the policy says what is
    /// reached.
    pub(crate) internal: bool,
    /// As it was asked for.
    pub(crate) attachable: bool,
    /// `IPAM` as it was asked for.
    pub(crate) ipam: Option<Value>,
    /// Time of its creation, RFC 3339.
    pub(crate) created: String,
}

/// A member of a network, as the network's answer shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkMember {
    /// The engine's id.
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    /// Address, with its prefix.
    pub(crate) address: String,
}

impl NetworkRecord {
    /// Returns it as a fact for decisions.
    pub(crate) fn found(&self) -> FoundNetwork {
        FoundNetwork { id: self.id.clone(), name: self.name.clone(), labels: self.labels.clone() }
    }

    /// Returns the answer. A list of networks shows no members.
    pub(crate) fn answer(&self, members: &[NetworkMember]) -> Value {
        let members: Map<String, Value> = members
            .iter()
            .map(|member| {
                let shown = json!({
                    "Name": member.name, "EndpointID": member.id, "MacAddress": "",
                    "IPv4Address": member.address, "IPv6Address": "",
                });
                (member.id.clone(), shown)
            })
            .collect();
        let gateway = json!({ "Driver": "default", "Options": null, "Config": [{ "Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1" }] });
        json!({
            "Name": self.name,
            "Id": self.id,
            "Created": if self.created.is_empty() { LONG_AGO } else { &self.created },
            "Scope": "local",
            "Driver": self.driver(),
            "EnableIPv4": true,
            "EnableIPv6": false,
            "IPAM": self.ipam_shown(gateway),
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": members,
            "Options": {},
            "Labels": self.labels,
        })
    }

    /// Returns `IPAM` as it was asked for; without a wish, what leads clients in containers to
    /// their own loopback.
    fn ipam_shown(&self, usual: Value) -> Value {
        let has_config =
            |ipam: &&Value| ipam.get("Config").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
        self.ipam.as_ref().filter(has_config).cloned().unwrap_or(usual)
    }

    fn driver(&self) -> &str {
        match self.id.as_str() {
            HOST_ID => "host",
            NONE_ID => "null",
            _ => "bridge",
        }
    }

    fn is_builtin(&self) -> bool {
        [BRIDGE_ID, HOST_ID, NONE_ID].contains(&self.id.as_str())
    }
}

/// Returns the engine's own networks, without their containers.
pub(crate) fn builtin() -> [NetworkRecord; 3] {
    [("bridge", BRIDGE_ID), ("host", HOST_ID), ("none", NONE_ID)].map(|(name, id)| NetworkRecord {
        id: id.to_owned(),
        name: name.to_owned(),
        created: LONG_AGO.to_owned(),
        ..NetworkRecord::default()
    })
}

/// Finds the network that a word means: by id, by name, by the beginning of one id.
pub(crate) fn find<'a>(records: &'a [NetworkRecord], word: &str) -> Option<&'a NetworkRecord> {
    let whole = records.iter().find(|record| record.id == word);
    let named = || records.iter().find(|record| record.name == word);
    let begun = || {
        let mut all = records.iter().filter(|record| !word.is_empty() && record.id.starts_with(word));
        all.next().filter(|_| all.next().is_none())
    };
    whole.or_else(named).or_else(begun)
}

/// Filters of a list of networks. Others are refused.
const KNOWN: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Refuses filters of networks that nobody answers.
///
/// # Errors
/// With the first of them.
pub(crate) fn known_filters(filters: &Filters) -> Result<(), Denied> {
    filters.only(&KNOWN)?;
    let types = filters.values("type").find(|word| !["custom", "builtin"].contains(word));
    match types {
        Some(word) => Err(Denied::plain(400, format!("invalid filter: 'type'='{word}'"))),
        None => Ok(()),
    }
}

/// Tells whether a network fits a client's filters.
pub(crate) fn fits(filters: &Filters, record: &NetworkRecord, in_use: bool) -> bool {
    let dangling = |word: &str| match word {
        "true" | "1" => !in_use && !record.is_builtin(),
        "false" | "0" => in_use || record.is_builtin(),
        _ => false,
    };
    filters.admits("name", |word| record.name.contains(word))
        && filters.admits("id", |word| record.id.starts_with(word))
        && filters.admits("driver", |word| record.driver() == word)
        && filters.admits("scope", |word| word == "local")
        && filters.admits("type", |word| (word == "builtin") == record.is_builtin())
        && filters.admits("dangling", dangling)
        && filters.admits_labels(&record.labels)
}
