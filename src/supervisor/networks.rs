//! The two networks: each workflow's own internal one, and the uplink that all guards share.
//!
//! Subnets are given, never left to the engine's pools, which hold about 31 networks. A workflow's is
//! a free /29 of 198.18.0.0/16; nothing is ever routed there.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use ipnet::{IpNet, Ipv4Net};

use super::engine::{self, Engine};
use super::workflow::{LABEL_ROLE, LABEL_VERSION, Role, Workflow};
use crate::error::{COULD_NOT_RUN, Failure};

/// Where workflows' networks are taken from: benchmarking range, RFC 2544.
const WORKFLOW_POOL: &str = "198.18.0.0/16";
/// Where the uplink is taken from.
const UPLINK_POOL: &str = "198.19.0.0/16";
/// Name of the uplink; it is always used by id.
pub const UPLINK: &str = "ringfence-uplink";
/// Other supervisors choose at the same time: as many clashes are borne before giving up.
const TRIES: usize = 64;

/// All networks of the engine.
pub async fn list(engine: &Engine) -> Result<Vec<Network>, Failure> {
    engine
        .api
        .list_networks(None)
        .await
        .map_err(|error| engine::refused("cannot list the engine's networks", &error))
}

/// The subnets of networks.
pub fn subnets(networks: &[Network]) -> Vec<IpNet> {
    networks
        .iter()
        .filter_map(|network| network.ipam.as_ref()?.config.as_ref())
        .flatten()
        .filter_map(|config| config.subnet.as_deref()?.parse().ok())
        .collect()
}

/// The subnets of `prefix` length in `pool` that clash with none of `taken`, beginning at a place
/// that differs from workflow to workflow, so that simultaneous starts seldom choose the same.
fn free_subnets<'a>(
    pool: Ipv4Net,
    prefix: u8,
    taken: &'a [IpNet],
    seed: u32,
) -> impl Iterator<Item = Ipv4Net> + 'a {
    let step = 1u32 << (32 - prefix);
    let count = 1u32 << (prefix - pool.prefix_len());
    (0..count).filter_map(move |index| {
        let offset = (seed.wrapping_add(index)) % count;
        let base = u32::from(pool.network()) + offset * step;
        let subnet = Ipv4Net::new(base.into(), prefix).ok()?;
        let clashes = taken.iter().any(|net| match net {
            IpNet::V4(net) => net.contains(&subnet) || subnet.contains(net),
            IpNet::V6(_) => false,
        });
        (!clashes).then_some(subnet)
    })
}

/// Creates the workflow's own network; its id and its subnet.
pub async fn create_own(
    engine: &Engine,
    workflow: &Workflow,
    taken: &[IpNet],
) -> Result<(String, IpNet), Failure> {
    let seed = workflow.id.number();
    let pool = pool(WORKFLOW_POOL)?;
    create_in(engine, free_subnets(pool, 29, taken, seed), |subnet| own_request(workflow, subnet)).await
}

/// Finds the uplink, or creates it; its id and subnet. Of several that racing supervisors made, the
/// oldest stays and is used by all.
pub async fn ensure_uplink(
    engine: &Engine,
    networks: &[Network],
) -> Result<(String, Option<IpNet>), Failure> {
    if let Some(network) = oldest_uplink(networks) {
        return Ok((
            network.id.clone().unwrap_or_default(),
            subnets(std::slice::from_ref(network)).first().copied(),
        ));
    }
    let taken = subnets(networks);
    let (mine, subnet) =
        create_in(engine, free_subnets(pool(UPLINK_POOL)?, 22, &taken, 0), uplink_request).await?;
    let now = list(engine).await?;
    match oldest_uplink(&now) {
        Some(oldest) if oldest.id.as_deref() != Some(mine.as_str()) => {
            // Somebody was faster. Mine has no user yet, so removing it takes nothing from anybody.
            engine
                .api
                .remove_network(&mine)
                .await
                .map_err(|error| engine::refused("cannot remove a surplus uplink network", &error))?;
            let subnet = subnets(std::slice::from_ref(oldest)).first().copied();
            Ok((oldest.id.clone().unwrap_or_default(), subnet))
        }
        _ => Ok((mine, Some(subnet))),
    }
}

/// Whether dockerd has the bridge of its own, by whose address containers find the host.
pub fn has_default_bridge(networks: &[Network]) -> bool {
    networks.iter().any(|network| network.name.as_deref() == Some("bridge"))
}

/// Removes every uplink, by its id: a start that was broken off may have left a second one of the same name.
pub async fn remove_uplinks(engine: &Engine) -> Result<(), Failure> {
    let mut tried = Ok(());
    for id in uplinks(&list(engine).await?).filter_map(|network| network.id.as_deref()) {
        match engine.api.remove_network(id).await {
            // One in use keeps none of the others.
            Err(error) if !engine::is_missing(&error) => {
                let what = "cannot remove the uplink network; are workflows running?";
                tried = Err(engine::refused(what, &error));
            }
            _ => {}
        }
    }
    tried
}

fn oldest_uplink(networks: &[Network]) -> Option<&Network> {
    uplinks(networks).min_by_key(|network| (network.created.clone(), network.id.clone()))
}

fn uplinks(networks: &[Network]) -> impl Iterator<Item = &Network> {
    networks.iter().filter(|network| {
        let role = network.labels.as_ref().and_then(|labels| labels.get(LABEL_ROLE)?.parse().ok());
        role == Some(Role::Uplink) && network.name.as_deref() == Some(UPLINK)
    })
}

fn pool(text: &str) -> Result<Ipv4Net, Failure> {
    text.parse().map_err(|_| Failure::new(COULD_NOT_RUN, format!("{text} is no network")))
}

async fn create_in(
    engine: &Engine,
    candidates: impl Iterator<Item = Ipv4Net>,
    request: impl Fn(Ipv4Net) -> NetworkCreateRequest,
) -> Result<(String, IpNet), Failure> {
    let mut clashes = 0;
    for subnet in candidates {
        match engine.create_network(request(subnet)).await {
            Ok(id) => return Ok((id, IpNet::V4(subnet))),
            Err(error) if overlaps(&engine::describe(&error)) && clashes < TRIES => clashes += 1,
            Err(error) => {
                let failure = engine::refused(format!("cannot create a network on {subnet}"), &error);
                // A rootless engine cannot load it itself.
                let lacks_module = failure.causes.iter().any(|cause| cause.contains("br_netfilter"));
                return Err(if lacks_module {
                    failure.hint("load the module on the engine's machine: sudo modprobe br_netfilter")
                } else {
                    failure
                });
            }
        }
    }
    Err(Failure::new(COULD_NOT_RUN, "no free subnet is left for the workflow's network")
        .hint("`ringfence gc` removes what ended workflows left"))
}

fn overlaps(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("overlap") || text.contains("already used") || text.contains("conflicts with network")
}

/// The workflow's own network: internal, so that even the engine routes nothing from it.
fn own_request(workflow: &Workflow, subnet: Ipv4Net) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: workflow.object(Role::Network),
        driver: Some("bridge".to_owned()),
        internal: Some(true),
        attachable: Some(false),
        enable_ipv6: Some(false),
        ipam: ipam(subnet),
        labels: Some(workflow.labels(Role::Network)),
        ..Default::default()
    }
}

/// The uplink: guards go out by it, listen on nothing there, and cannot reach each other.
fn uplink_request(subnet: Ipv4Net) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: UPLINK.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(false),
        enable_ipv6: Some(false),
        ipam: ipam(subnet),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        )])),
        labels: Some(HashMap::from([
            (LABEL_ROLE.to_owned(), Role::Uplink.to_string()),
            (LABEL_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ])),
        ..Default::default()
    }
}

fn ipam(subnet: Ipv4Net) -> Option<Ipam> {
    Some(Ipam {
        config: Some(vec![IpamConfig { subnet: Some(subnet.to_string()), ..Default::default() }]),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_that_clashes_in_either_direction_is_passed_over() {
        let pool: Ipv4Net = "198.18.0.0/28".parse().unwrap();
        let taken = ["198.18.0.0/30".parse().unwrap()];
        let free: Vec<_> = free_subnets(pool, 29, &taken, 0).collect();
        assert_eq!(free, ["198.18.0.8/29".parse::<Ipv4Net>().unwrap()]);
        let all = ["198.16.0.0/12".parse().unwrap()];
        assert_eq!(free_subnets(pool, 29, &all, 0).count(), 0);
    }

    #[test]
    fn every_subnet_is_tried_wherever_the_search_begins() {
        let pool: Ipv4Net = "198.18.0.0/16".parse().unwrap();
        assert_eq!(free_subnets(pool, 29, &[], u32::MAX).count(), 8192);
    }
}
