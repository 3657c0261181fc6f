//! Questions to the engine and this machine before anything is created.

use std::net::IpAddr;

use bollard::models::SystemInfo;
use ipnet::IpNet;
use netpolicy::floor::Surroundings;
use netpolicy::policy::Policy;

use crate::host::network;
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowName;
use crate::wire::host_network::HostNetwork;

pub(super) async fn check_name_is_free(engine: &Engine, name: Option<&WorkflowName>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    if inventory::workflows(engine).await?.iter().any(|found| found.name.as_ref() == Some(name)) {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("a workflow named `{name}` is on this engine already"),
        )
        .hint(format!("choose another name, or end it: ringfence stop {name}")));
    }
    Ok(())
}

/// Tells whether the engine's storage driver may hold a limit for one container. It has the last
/// word when the container is created.
pub(super) fn may_hold_quotas(info: &SystemInfo) -> bool {
    let backing = |word: &str| {
        info.driver_status.iter().flatten().any(
            |pair| matches!(pair.as_slice(), [name, value] if name == "Backing Filesystem" && value == word),
        )
    };
    match info.driver.as_deref() {
        Some("btrfs" | "zfs") => true,
        Some("overlay2") => backing("xfs"),
        _ => false,
    }
}

/// Returns the number of CPUs that the engine has: it refuses more.
pub(crate) fn cpus(info: &SystemInfo) -> f64 {
    info.ncpu.unwrap_or(1).max(1) as f64
}

/// Refuses an engine whose machine cannot be asked: without root, its host network is a namespace
/// of its own, and what goes out from there arrives at the machine's addresses all the same. On
/// this machine the supervisor knows them.
pub(super) fn check_machine_is_known(engine: &Engine) -> Result<(), Failure> {
    if engine.local || !engine.dialect.rootless {
        return Ok(());
    }
    let what = "the engine is on another machine and runs without root, so it cannot say which addresses that machine has";
    Err(Failure::new(COULD_NOT_RUN, what)
        .hint("run ringfence on the engine's machine, or use an engine there that runs as root"))
}

/// The network of this machine.
fn own_network() -> Result<HostNetwork, Failure> {
    network::read().map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot list this machine's addresses").caused_by(&error)
    })
}

/// Every address of this machine.
pub(super) fn own_addresses() -> Result<Vec<IpAddr>, Failure> {
    Ok(own_network()?.addresses.into_iter().collect())
}

/// The addresses on which this machine or the engine answers, for the floor; `engines` is the
/// network of the engine's machine.
pub(crate) fn surroundings(
    policy: &Policy,
    engine_subnets: Vec<IpNet>,
    engines: HostNetwork,
) -> Result<Surroundings, Failure> {
    let own = own_network()?;
    let known =
        Surroundings { engine_subnets, virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    Ok([own, engines]
        .into_iter()
        .fold(known, |known, network| known.and_host(network.addresses, network.ranges, network.on_link)))
}
