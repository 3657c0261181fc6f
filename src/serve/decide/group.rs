//! The group of a container: containers of one group share a fence.

use std::collections::BTreeMap;

use super::facts::{Found, FoundNetwork};
use super::member::GroupKey;
use crate::serve::answer::asked::NetworkAsked;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{CreateBody, EndpointBody, HostBody};
use crate::serve::request::names::is_name;
use crate::serve::text::shown;
use crate::wire::EngineId;

/// The engine's own network, by the names under which clients ask for it.
const DEFAULT: [&str; 3] = ["", "default", "bridge"];
/// The longest part of a key that is shown as it is.
const LONGEST_KEY: usize = 120;

/// `NetworkMode`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NetworkWord {
    /// The default network.
    Default,
    /// No network.
    Nothing,
    /// A container's.
    Container(String),
    /// A named network.
    Named(String),
}

impl NetworkWord {
    /// Reads the word.
    ///
    /// # Errors
    /// When it is the machine's network, or nothing that is known.
    pub(super) fn read(word: Option<&str>) -> Result<NetworkWord, Denied> {
        let word = word.unwrap_or_default();
        let field = "HostConfig.NetworkMode";
        match word {
            word if DEFAULT.contains(&word) => Ok(NetworkWord::Default),
            "none" => Ok(NetworkWord::Nothing),
            "host" => Err(Denied::field(
                field,
                "the machine's network is given to no container; leave it out, and permit names in the policy",
            )),
            word => {
                if let Some(of) = word.strip_prefix("container:").filter(|of| is_name(of)) {
                    return Ok(NetworkWord::Container(of.to_owned()));
                }
                if is_name(word) {
                    return Ok(NetworkWord::Named(word.to_owned()));
                }
                Err(Denied::field(
                    field,
                    format!("{} is no network of this socket's; create one", shown(word)),
                ))
            }
        }
    }
}

/// Lists the networks that a body names, without the default one.
pub(super) fn endpoints(body: &CreateBody) -> Vec<(String, EndpointBody)> {
    let all = body.networking_config.as_ref().and_then(|config| config.endpoints_config.as_ref());
    let all = all.into_iter().flatten().filter(|(name, _)| !is_builtin(name));
    all.map(|(name, endpoint)| (name.clone(), endpoint.clone().unwrap_or_default())).collect()
}

/// Tells whether a network is one of the engine's own.
fn is_builtin(name: &str) -> bool {
    DEFAULT.contains(&name) || name == "none" || name == "host"
}

/// Networks of a container as its client asked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NetworksAsked {
    /// `NetworkMode`.
    pub(super) mode: String,
    /// Networks by name.
    pub(super) by_name: BTreeMap<String, NetworkAsked>,
}

/// The decision about networks.
#[derive(Debug)]
pub(super) struct Networks {
    /// The group.
    pub(super) group: GroupKey,
    /// The member in whose very fence the container is to be.
    pub(super) beside: Option<EngineId>,
    /// Set when the container reaches nothing.
    pub(super) cut_off: bool,
    /// The client's words.
    pub(super) asked: NetworksAsked,
}

impl Networks {
    /// Decides which group a container joins.
    ///
    /// # Errors
    /// When it asks for a network that is not this socket's.
    pub(super) fn decide(
        body: &CreateBody,
        host: &HostBody,
        found: &Found,
        warnings: &mut Vec<String>,
    ) -> Result<Networks, Denied> {
        let mode = host.network_mode.clone().unwrap_or_default();
        let word = NetworkWord::read(host.network_mode.as_deref())?;
        let networks = named(&word, body, found)?;
        let by_name = networks
            .iter()
            .map(|(network, aliases)| {
                let asked = NetworkAsked { id: network.id.clone(), aliases: aliases.clone() };
                (network.name.clone(), asked)
            })
            .collect::<BTreeMap<_, _>>();
        let asked = NetworksAsked { mode, by_name };
        let mut beside = None;
        let group = match &word {
            NetworkWord::Container(of) => {
                let member = found.containers.get(of).ok_or_else(|| Denied::no_container(of))?;
                beside = Some(member.id.clone());
                GroupKey::Joins(member.group.clone())
            }
            NetworkWord::Nothing => GroupKey::Alone,
            _ => by_labels(&label_map(body))
                .or_else(|| networks.first().map(|(network, _)| key_of(network)))
                .map_or(GroupKey::Alone, GroupKey::Joins),
        };
        for (network, _) in &networks {
            if group != GroupKey::Joins(key_of(network)) {
                warnings.push(format!(
                    "ringfence: the network {} belongs to another group; containers there are not reached",
                    shown(&network.name)
                ));
            }
        }
        Ok(Networks { group, beside, cut_off: word == NetworkWord::Nothing, asked })
    }
}

/// Returns the own networks that a body names, that of `NetworkMode` first, with the aliases there.
fn named(
    word: &NetworkWord,
    body: &CreateBody,
    found: &Found,
) -> Result<Vec<(FoundNetwork, Vec<String>)>, Denied> {
    let mut asked = endpoints(body);
    if let NetworkWord::Named(first) = word {
        let at = asked.iter().position(|(name, _)| name == first);
        let first = at.map_or_else(|| (first.clone(), EndpointBody::default()), |at| asked.remove(at));
        asked.insert(0, first);
    }
    let mut networks: Vec<(FoundNetwork, Vec<String>)> = Vec::new();
    for (name, endpoint) in asked {
        let network = found.networks.get(&name).ok_or_else(|| Denied::no_network(&name))?;
        let aliases = endpoint.aliases.unwrap_or_default();
        // A network may be named by its id too.
        match networks.iter_mut().find(|(other, _)| other.id == network.id) {
            Some((_, others)) => others.extend(aliases),
            None => networks.push((network.clone(), aliases)),
        }
    }
    Ok(networks)
}

fn label_map(body: &CreateBody) -> BTreeMap<String, String> {
    let labels = body.labels.iter().flatten();
    labels.map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect()
}

/// Returns the key of the group that labels name.
fn by_labels(labels: &BTreeMap<String, String>) -> Option<String> {
    let label = |name: &str| labels.get(name).filter(|value| !value.is_empty());
    if let Some(project) = label("com.docker.compose.project") {
        return Some(key("compose", &[project]));
    }
    if let Some(job) = label("com.gitlab.gitlab-runner.job.id") {
        let runner = label("com.gitlab.gitlab-runner.runner.local_id").map_or("", String::as_str);
        return Some(key("job", &[runner, job]));
    }
    if let Some(folder) = label("devcontainer.local_folder") {
        return Some(key("devcontainer", &[folder]));
    }
    label("org.testcontainers.session-id").map(|session| key("session", &[session]))
}

/// Returns the key of a network's group: that of its labels, where they name one.
pub(crate) fn key_of(network: &FoundNetwork) -> String {
    by_labels(&network.labels).unwrap_or_else(|| key("network", &[&network.id]))
}

/// Makes a key. Long or odd parts are in it by their hash, and no two lists of parts have one key.
fn key(kind: &str, parts: &[&str]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let is_plain = |part: &str| part.len() <= LONGEST_KEY && part.chars().all(plain);
    if parts.iter().all(|part| is_plain(part)) {
        return format!("{kind}:{}", parts.join(":"));
    }
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{kind}:#{}", hex::encode(hash.finalize()))
}
