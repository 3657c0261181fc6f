//! The resolvers of this machine, followed while a run goes on.
//!
//! ```text
//!  resolv.conf, every two seconds ─ it names others ─▶ guard's control socket: `system` means these first
//! ```
//! An engine reads the file when it starts a container. After a change of Wi-Fi or VPN the guard
//! would ask servers that are gone. An engine elsewhere, or in a virtual machine, has resolvers of
//! its own.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::host::Recipe;
use crate::host::{nameservers::nameservers, network};
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::mounts::nonce;
use crate::wire::host_network::HostNetwork;

/// Time between two looks at the file.
const EVERY: Duration = Duration::from_secs(2);

/// Tells the guard of other resolvers, as long as the run goes on. A guard that cannot be told now
/// is told at the next look: until then it asks those that it knows. `known`: those from before the
/// guard started, so that a change during the start is one.
pub(super) async fn follow(recipe: Recipe, machine: HostNetwork, mut known: Vec<IpAddr>) -> Infallible {
    if !is_here(&recipe.engine, &machine) {
        return std::future::pending().await;
    }
    loop {
        sleep(EVERY).await;
        let now = nameservers();
        // None: a file that is being written, or a machine without a network.
        if now.is_empty() || now == known {
            continue;
        }
        if live::resolvers(&recipe.engine, &recipe.workflow.helpers(), now.clone()).await.is_ok() {
            known = now;
        }
    }
}

/// Tells whether the engine's machine is this one: a socket of this machine leads to it, its kernel
/// is this one's, and an address of one is an address of the other. The address alone shows little:
/// two machines with Docker both have 172.17.0.1.
fn is_here(engine: &Engine, machine: &HostNetwork) -> bool {
    let is_shared = |address: &IpAddr| !address.is_loopback() && machine.addresses.contains(address);
    engine.local
        && !nonce::is_needed(engine.info.kernel_version.as_deref())
        && network::read().is_ok_and(|own| own.addresses.iter().any(is_shared))
}
