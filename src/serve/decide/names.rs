//! Names in the fence.

use std::net::IpAddr;

use super::facts::{CreateAsk, Found, FoundMember};
use super::group::Networks;
use super::member::GroupKey;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::HostBody;
use crate::serve::request::names::is_name;
use crate::serve::text::shown;
use crate::wire::EngineId;

/// The most names of one container.
const MOST: usize = 100;
/// The longest name of a host.
const LONGEST: usize = 253;
/// Names that always mean something else.
const RESERVED: [&str; 4] =
    ["localhost", "host.docker.internal", "gateway.docker.internal", "ringfence.invalid"];

/// Names of a container, and those that it gives to others.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Its own.
    pub(super) own: Vec<String>,
    /// Those of others.
    pub(super) of_others: Vec<(String, EngineId)>,
}

/// Decides the names.
///
/// # Errors
/// When there are too many, or a link names no own container.
pub(super) fn decide(
    ask: &CreateAsk,
    host: &HostBody,
    networks: &Networks,
    found: &Found,
    warnings: &mut Vec<String>,
) -> Result<Names, Denied> {
    let mut names = Names::default();
    let many = networks.asked.by_name.values().map(|network| network.aliases.len()).sum::<usize>()
        + host.links.as_ref().map_or(0, Vec::len)
        + host.extra_hosts.as_ref().map_or(0, Vec::len);
    if many > MOST {
        return Err(Denied::field("Aliases", format!("a container has at most {MOST} names; give fewer")));
    }
    let aliases = networks.asked.by_name.values().flat_map(|network| &network.aliases);
    let hostname = ask.taken.body.hostname.iter();
    let name = ask.name.as_ref().map(ToString::to_string);
    for name in aliases.chain(hostname).cloned().chain(name).filter(|name| !name.is_empty()) {
        match usable(&name) {
            Some(name) if !names.own.contains(&name) => names.own.push(name),
            Some(_) => {}
            None => {
                warnings.push(format!("ringfence: {} is no name for a fence; it was left out", shown(&name)))
            }
        }
    }
    links(host, &networks.group, found, &mut names, warnings)?;
    extra_hosts(host, &networks.group, found, &mut names, warnings);
    Ok(names)
}

/// Returns a name as the fence has it, in lower case; none for what is no host's name.
pub(crate) fn usable(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // Digits and dots alone are an address to every program.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_one = name.len() <= LONGEST && name.split('.').all(label) && !is_number;
    (is_one && !RESERVED.contains(&name.as_str())).then_some(name)
}

/// Lists the containers that links name.
pub(super) fn containers_of_links(host: &HostBody) -> Vec<String> {
    let names = host.links.iter().flatten().filter_map(|link| link.split(':').next());
    names.map(|name| name.trim_start_matches('/').to_owned()).filter(|name| is_name(name)).collect()
}

/// `Links`: another name of a container of the same group.
fn links(
    host: &HostBody,
    group: &GroupKey,
    found: &Found,
    names: &mut Names,
    warnings: &mut Vec<String>,
) -> Result<(), Denied> {
    for link in host.links.iter().flatten() {
        let (name, alias) = link.split_once(':').unwrap_or((link, link));
        let name = name.trim_start_matches('/');
        let alias = alias.rsplit('/').next().unwrap_or_default();
        let member = found.containers.get(name).ok_or_else(|| Denied::no_container(name))?;
        match usable(alias) {
            Some(alias) if *group == GroupKey::Joins(member.group.clone()) => {
                names.of_others.push((alias, member.id.clone()));
            }
            _ => warnings.push(format!(
                "ringfence: HostConfig.Links: {} is in another group, or its alias is no name; it was left out",
                shown(link)
            )),
        }
    }
    Ok(())
}

/// `ExtraHosts`: the address of a container of the same group becomes another name of it.
fn extra_hosts(
    host: &HostBody,
    group: &GroupKey,
    found: &Found,
    names: &mut Names,
    warnings: &mut Vec<String>,
) {
    for entry in host.extra_hosts.iter().flatten() {
        let pair = entry.split_once(['=', ':']);
        let address = pair.and_then(|(_, address)| address.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let name = pair.and_then(|(name, _)| usable(name));
        let in_group =
            |peer: &&FoundMember| peer.address == address && *group == GroupKey::Joins(peer.group.clone());
        let member = address.and_then(|_| found.peers.iter().find(in_group));
        match (name, member) {
            // The members of a group have one loopback, so that its address means all of them.
            (Some(name), _) if address.is_some_and(|address| address.is_loopback()) => {
                if !names.own.contains(&name) {
                    names.own.push(name);
                }
            }
            (Some(name), Some(member)) => names.of_others.push((name, member.id.clone())),
            _ => warnings.push(format!(
                "ringfence: HostConfig.ExtraHosts: {} was left out: the fence reaches names that the policy permits, \
                 and its own containers",
                shown(entry)
            )),
        }
    }
}
