//! The uplink: the one network that ringfence has, shared by all guards. A fence has none.
//!
//! Its subnet is given, never left to the engine's pools, which hold about 31 networks: a free /22
//! of 198.19.0.0/16. Free means: of no network of the engine, and on no link of this machine. Two
//! engines of one machine do not know each other's networks; of two links with one range, the
//! kernel uses one.

use std::collections::{HashMap, HashSet};

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListContainersOptions;
use ipnet::{IpNet, Ipv4Net};

use crate::host::network;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::workflow::{LABEL_ROLE, LABEL_VERSION, Role};
use crate::term::{COULD_NOT_RUN, Failure};

/// Pool of the uplink, of the range for benchmarks (RFC 2544).
const UPLINK_POOL: &str = "198.19.0.0/16";
/// Name of the uplink; it is always used by id.
pub(super) const UPLINK: &str = "ringfence-uplink";
/// Link between that name and the largest packet, where an engine's default network has an unusual
/// one.
const WITH_MTU: &str = "-mtu-";
/// Options by which Docker and Podman say how large a packet may be.
const MTU_OPTIONS: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];
/// Largest packet that Docker names where nobody configured anything.
const USUAL_MTU: u16 = 1500;
/// The smallest that IPv4 allows.
const LEAST_MTU: u16 = 68;
/// Other supervisors choose at the same time: as many clashes are borne before giving up.
const TRIES: usize = 64;

/// All networks of the engine.
pub(crate) async fn list(engine: &Engine) -> Result<Vec<Network>, Failure> {
    engine
        .api
        .list_networks(None)
        .await
        .map_err(|error| engine::refused("cannot list the engine's networks", &error))
}

/// The subnets of networks.
pub(crate) fn subnets(networks: &[Network]) -> Vec<IpNet> {
    networks
        .iter()
        .filter_map(|network| network.ipam.as_ref()?.config.as_ref())
        .flatten()
        .filter_map(|config| config.subnet.as_deref()?.parse().ok())
        .collect()
}

/// The subnets of `prefix` length in `pool` that clash with none of `taken`, beginning at a place
/// that differs from engine to engine: those of one machine do not know each other's networks.
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
        (!clashes(&subnet, taken)).then_some(subnet)
    })
}

fn clashes(subnet: &Ipv4Net, nets: &[IpNet]) -> bool {
    nets.iter().any(|net| match net {
        IpNet::V4(net) => net.contains(subnet) || subnet.contains(net),
        IpNet::V6(_) => false,
    })
}

/// Returns the free subnets in the order in which they are tried: last come those that are on a
/// link of this machine, where a route covers the whole pool.
fn candidates(
    pool: Ipv4Net,
    prefix: u8,
    taken: &[IpNet],
    on_link: &[IpNet],
    seed: u32,
) -> impl Iterator<Item = Ipv4Net> + use<> {
    let (last, first): (Vec<Ipv4Net>, Vec<Ipv4Net>) =
        free_subnets(pool, prefix, taken, seed).partition(|subnet| clashes(subnet, on_link));
    first.into_iter().chain(last)
}

/// Returns the ranges on the links of this machine, as far as they can be seen: those of another
/// engine's networks are among them. An engine elsewhere has other links.
fn on_link(engine: &Engine) -> Vec<IpNet> {
    match engine.local {
        true => network::read().map(|found| found.on_link.into_iter().collect()).unwrap_or_default(),
        false => Vec::new(),
    }
}

/// Returns a number that differs from engine to engine.
fn seed_of(engine: &Engine) -> u32 {
    let id = engine.info.id.as_deref().unwrap_or(&engine.host);
    let digest = netpolicy::digest::of(id);
    let digits = digest.trim_start_matches("sha256:").get(..8);
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Finds the uplink, or creates it; its id and subnet. Of several that racing supervisors made, the
/// oldest stays and is used by all.
///
/// Its packets are as large as those of the engine's default network: where a path drops larger
/// ones without a word, connections would hang. A network cannot change that, so each size has an
/// uplink with a name of its own.
pub(super) async fn ensure_uplink(
    engine: &Engine,
    networks: &[Network],
) -> Result<(String, Option<IpNet>), Failure> {
    let mtu = default_mtu(networks);
    let name = uplink_name(mtu);
    if let Some(network) = oldest_uplink(networks, &name) {
        return Ok((
            network.id.clone().unwrap_or_default(),
            subnets(std::slice::from_ref(network)).first().copied(),
        ));
    }
    let taken = subnets(networks);
    let request = |subnet| uplink_request(subnet, &name, mtu);
    let free = candidates(pool(UPLINK_POOL)?, 22, &taken, &on_link(engine), seed_of(engine));
    let (mine, subnet) = create_in(engine, free, request).await?;
    let now = list(engine).await?;
    remove_unused(engine, &now, &name).await;
    match oldest_uplink(&now, &name) {
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

/// Tells whether dockerd has the bridge of its own, by whose address containers find the host.
pub(super) fn has_default_bridge(networks: &[Network]) -> bool {
    networks.iter().any(|network| network.name.as_deref() == Some("bridge"))
}

/// Makes the uplink for runs that will start side by side: where each of them makes one, an older
/// engine finds its name ambiguous until the surplus ones are removed.
pub(crate) async fn prepare_uplink(engine: &Engine) -> Result<(), Failure> {
    ensure_uplink(engine, &list(engine).await?).await.map(|_| ())
}

/// Removes every uplink, by its id: a start that was broken off may have left a second one of the
/// same name.
pub(crate) async fn remove_uplinks(engine: &Engine) -> Result<(), Failure> {
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

/// Removes uplinks of other sizes that no container has. An engine keeps one that a running
/// container uses; one of a container that is about to start is left alone.
async fn remove_unused(engine: &Engine, networks: &[Network], name: &str) {
    let mut others = uplinks(networks).filter(|network| network.name.as_deref() != Some(name)).peekable();
    if others.peek().is_none() {
        return;
    }
    let options = ListContainersOptions { all: true, ..Default::default() };
    let Ok(containers) = engine.list_containers(options).await else { return };
    let used: HashSet<String> = containers
        .into_iter()
        .flat_map(|container| {
            let mode = container.host_config.and_then(|host| host.network_mode);
            let networks = container.network_settings.and_then(|settings| settings.networks);
            let networks = networks.into_iter().flatten();
            networks
                .flat_map(|(name, endpoint)| std::iter::once(name).chain(endpoint.network_id))
                .chain(mode)
                .collect::<Vec<_>>()
        })
        .collect();
    for other in others {
        let is_used = [&other.id, &other.name].into_iter().flatten().any(|known| used.contains(known));
        if let (Some(id), false) = (&other.id, is_used) {
            // It costs nobody anything to leave it to `gc --all`.
            let _ = engine.api.remove_network(id).await;
        }
    }
}

/// The largest packet of the engine's default network, where it is not the usual one.
fn default_mtu(networks: &[Network]) -> Option<u16> {
    let bridge = networks.iter().find(|network| network.name.as_deref() == Some("bridge"))?;
    let options = bridge.options.as_ref()?;
    let mtu = MTU_OPTIONS.iter().find_map(|option| options.get(*option)?.parse::<u16>().ok())?;
    (mtu >= LEAST_MTU && mtu != USUAL_MTU).then_some(mtu)
}

/// The name of the uplink whose packets are so large.
fn uplink_name(mtu: Option<u16>) -> String {
    mtu.map_or(UPLINK.to_owned(), |mtu| format!("{UPLINK}{WITH_MTU}{mtu}"))
}

/// Tells whether ringfence gives that name to an uplink.
fn is_uplink_name(name: &str) -> bool {
    let size = name.strip_prefix(UPLINK).map(|rest| rest.strip_prefix(WITH_MTU).unwrap_or(rest));
    size.is_some_and(|size| {
        let mtu = size.parse().ok();
        (size.is_empty() || mtu.is_some()) && uplink_name(mtu) == name
    })
}

fn oldest_uplink<'a>(networks: &'a [Network], name: &str) -> Option<&'a Network> {
    uplinks(networks)
        .filter(|network| network.name.as_deref() == Some(name))
        .min_by_key(|network| (network.created.clone(), network.id.clone()))
}

fn uplinks(networks: &[Network]) -> impl Iterator<Item = &Network> {
    networks.iter().filter(|network| {
        let role = network.labels.as_ref().and_then(|labels| labels.get(LABEL_ROLE)?.parse().ok());
        role == Some(Role::Uplink) && network.name.as_deref().is_some_and(is_uplink_name)
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
    Err(Failure::new(COULD_NOT_RUN, "no free subnet is left for the uplink network")
        .hint(format!("remove networks of the engine that take up {UPLINK_POOL}: docker network ls")))
}

fn overlaps(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("overlap") || text.contains("already used") || text.contains("conflicts with network")
}

/// The uplink: guards go out by it, listen on nothing there, and cannot reach each other.
fn uplink_request(subnet: Ipv4Net, name: &str, mtu: Option<u16>) -> NetworkCreateRequest {
    let mut options =
        HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())]);
    options.extend(mtu.map(|mtu| (MTU_OPTIONS[0].to_owned(), mtu.to_string())));
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(false),
        enable_ipv6: Some(false),
        ipam: ipam(subnet),
        options: Some(options),
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
    fn a_range_on_a_link_of_this_machine_comes_last() {
        let pool: Ipv4Net = "198.19.0.0/20".parse().unwrap();
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
        let chosen = |taken: &[&str], on_link: &[&str], seed| {
            candidates(pool, 22, &nets(taken), &nets(on_link), seed)
                .map(|net| net.network().octets()[2])
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[], &[], 0), [0, 4, 8, 12]);
        // Another engine's uplink is on a link, this one's own networks are taken.
        assert_eq!(chosen(&["198.19.4.0/22"], &["198.19.0.0/22"], 0), [8, 12, 0]);
        assert_eq!(chosen(&[], &["198.19.8.0/24"], 2), [12, 0, 4, 8]);
        // A route that covers all of it keeps no run from starting.
        assert_eq!(chosen(&["198.19.0.0/22"], &["198.16.0.0/12"], 1), [4, 8, 12]);
    }

    fn network(name: &str, options: &[(&str, &str)]) -> Network {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Network { name: Some(name.to_owned()), options: Some(options), ..Network::default() }
    }

    #[test]
    fn the_uplink_carries_packets_of_the_default_networks_size() {
        for (options, expected) in [
            (&[][..], "ringfence-uplink"),
            (&[("com.docker.network.driver.mtu", "1500")], "ringfence-uplink"),
            (&[("com.docker.network.driver.mtu", "1400")], "ringfence-uplink-mtu-1400"),
            (&[("mtu", "1280")], "ringfence-uplink-mtu-1280"),
            (&[("com.docker.network.driver.mtu", "9000")], "ringfence-uplink-mtu-9000"),
            (&[("com.docker.network.driver.mtu", "0")], "ringfence-uplink"),
            (&[("com.docker.network.driver.mtu", "-1400; x")], "ringfence-uplink"),
        ] {
            // Another network's size says nothing.
            let all = [network("other", &[("mtu", "1300")]), network("bridge", options)];
            assert_eq!(uplink_name(default_mtu(&all)), expected, "{options:?}");
            assert!(is_uplink_name(expected));
        }
        let subnet = "198.19.0.0/22".parse().unwrap();
        let asked = |mtu| uplink_request(subnet, UPLINK, mtu).options.unwrap();
        assert_eq!(asked(Some(1400))["com.docker.network.driver.mtu"], "1400");
        assert!(!asked(None).contains_key("com.docker.network.driver.mtu"), "the engine's own default stays");
    }

    #[test]
    fn only_names_that_ringfence_gives_are_uplinks() {
        for other in [
            "ringfence-uplink2",
            "ringfence-uplink-mtu-",
            "ringfence-uplink-mtu-01400",
            "ringfence-uplink-1400",
            "x",
        ] {
            assert!(!is_uplink_name(other), "{other}");
        }
    }

    #[test]
    fn every_subnet_is_tried_wherever_the_search_begins() {
        let pool: Ipv4Net = "198.18.0.0/16".parse().unwrap();
        assert_eq!(free_subnets(pool, 29, &[], u32::MAX).count(), 8192);
    }
}
