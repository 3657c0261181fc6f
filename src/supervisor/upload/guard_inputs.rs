//! Inputs of the guard from this machine, beside the policy: authorities for encrypted upstreams,
//! the proxy's credentials, the way to the host.
//!
//! ```text
//!  policy ─┬─ tls://, https:// ──▶ this machine's authorities ──▶ roots.pem ──────────┐
//!          ├─ credentials-env ───▶ the variable's value ────────▶ proxy-credentials ──┴─▶ volume, through the guard
//!          └─ host-access, a proxy on loopback ──▶ the engine is asked to tell the guard where the host is
//! ```
//! The credentials are in no label, no container's configuration, no argument and no log: one file
//! that only the guard's user can read.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bollard::models::Network;
use ipnet::IpNet;
use netpolicy::floor;
use netpolicy::host_access::HostAccess;
use netpolicy::policy::Policy;
use netpolicy::settings::{Ca, Proxy, Server, Upstream};

use super::files::{File, archive, upload};
use crate::host::authorities;
use crate::host::proxy::proxy_credentials;
use crate::supervisor::engine::Engine;
use crate::supervisor::spec::containers::GUARD_ID;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::handover::{GUARD_CREDENTIALS, GUARD_ROOTS, SHARED};

/// Time that a program on this machine may take to accept a connection.
const LOCAL_CONNECT: Duration = Duration::from_secs(1);
/// Ports of this machine that are tried before a run.
const MOST_TRIED: usize = 32;

/// Inputs that were gathered; nothing has been created yet.
#[derive(Default)]
pub(crate) struct Means {
    roots: Option<String>,
    credentials: Option<String>,
    /// Tells whether the engine must tell the guard where the host is.
    pub(crate) knows_host: bool,
}

impl Means {
    /// Gathers what a policy needs. The corporate authorities count for the upstreams too.
    pub(crate) fn gather(policy: &Policy, corporate: Option<&Ca>) -> Result<Means, Failure> {
        let roots = roots(policy, corporate)?.map(|all| authorities::pem(&all));
        let credentials = policy.proxy.as_ref().and_then(|proxy| proxy.credentials_env.as_deref());
        Ok(Means {
            roots,
            credentials: credentials.map(proxy_credentials).transpose()?,
            knows_host: policy.allow.iter().any(|rule| rule.host_access == HostAccess::Address)
                || policy.proxy.as_ref().is_some_and(is_on_this_machine),
        })
    }

    /// Hands the files to the guard's container, which does not run yet.
    pub(crate) async fn hand_over(&self, engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
        let mut files = Vec::new();
        if let Some(roots) = &self.roots {
            files.push(File {
                name: base(GUARD_ROOTS),
                content: roots.as_bytes(),
                mode: 0o644,
                owner: GUARD_ID,
            });
        }
        if let Some(credentials) = &self.credentials {
            let content = credentials.as_bytes();
            files.push(File { name: base(GUARD_CREDENTIALS), content, mode: 0o600, owner: GUARD_ID });
        }
        if files.is_empty() {
            return Ok(());
        }
        upload(engine, &workflow.object(Role::Guard), SHARED, archive(&files)?).await
    }
}

/// Returns the authorities whose certificates encrypted upstreams may show, where there are such
/// upstreams.
pub(crate) fn roots(
    policy: &Policy,
    corporate: Option<&Ca>,
) -> Result<Option<authorities::Certificates>, Failure> {
    let mut upstreams =
        policy.dns.upstreams.iter().chain(policy.dns.domains.iter().flat_map(|domain| &domain.upstreams));
    if !upstreams.any(|one| matches!(one, Upstream::Tls { .. } | Upstream::Https { .. })) {
        return Ok(None);
    }
    let mut all = authorities::of_this_machine()?;
    if let Some(file @ Ca::File(_)) = corporate {
        all.extend(authorities::read(file)?);
    }
    Ok(Some(all))
}

/// Returns the name of a file in the volume.
fn base(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Tells whether a proxy is a program on the person's own machine.
fn is_on_this_machine(proxy: &Proxy) -> bool {
    match &proxy.server {
        Server::Address(address) => address.is_loopback(),
        Server::Name(name) => floor::refused_name(name).is_some(),
    }
}

/// A proxy on this machine's loopback: where the engine shares this machine's network, containers
/// reach the host by the bridge's address only, and the proxy must listen there. Said before
/// anything is created. An engine in a virtual machine (Docker Desktop, OrbStack, Colima) passes
/// connections on to the loopback itself, so there is nothing to try.
pub(crate) async fn check_proxy(
    policy: &Policy,
    networks: &[Network],
    own: &[IpAddr],
) -> Result<(), Failure> {
    let Some(proxy) = policy.proxy.as_ref().filter(|proxy| is_on_this_machine(proxy)) else { return Ok(()) };
    let Some(bridge) = default_gateway(networks).filter(|address| own.contains(address)) else {
        return Ok(());
    };
    let at = SocketAddr::new(bridge, proxy.port);
    let tried = tokio::time::timeout(LOCAL_CONNECT, tokio::net::TcpStream::connect(at)).await;
    let cause = match tried {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let mut failure = Failure::new(
        COULD_NOT_RUN,
        format!(
            "the proxy {}:{} does not listen where containers reach this machine",
            proxy.server, proxy.port
        ),
    );
    failure.causes.push(format!("{at}: {cause}"));
    Err(failure.hint(format!("have it listen on {bridge} too, or name a proxy that is not on the loopback")))
}

/// Warns of permitted servers of the host that listen on the loopback alone, where no container
/// reaches them. Only where the engine shares this machine's network can that be seen from here.
pub(crate) async fn warn_of_loopback(policy: &Policy, networks: &[Network], own: &[IpAddr]) {
    let Some(bridge) = default_gateway(networks).filter(|address| own.contains(address)) else { return };
    let rules = policy.allow.iter().filter(|rule| rule.host_access == HostAccess::Address);
    let ports: BTreeSet<u16> = rules.flat_map(|rule| rule.ports.iter().copied()).collect();
    for port in ports.into_iter().take(MOST_TRIED) {
        let loopback = listens(Ipv4Addr::LOCALHOST.into(), port).await
            || listens(Ipv6Addr::LOCALHOST.into(), port).await;
        if loopback && !listens(bridge, port).await {
            crate::term::warn(Warning::OnLoopbackOnly { port, address: bridge });
        }
    }
}

/// Tells whether a server takes connections at an address of this machine.
async fn listens(address: IpAddr, port: u16) -> bool {
    let connecting = tokio::net::TcpStream::connect(SocketAddr::new(address, port));
    matches!(tokio::time::timeout(LOCAL_CONNECT, connecting).await, Ok(Ok(_)))
}

/// The host's address on the engine's default network: what it says, else the first of its subnet
/// (Docker 20.10 does not say).
fn default_gateway(networks: &[Network]) -> Option<IpAddr> {
    let bridge = networks.iter().find(|network| network.name.as_deref() == Some("bridge"))?;
    bridge.ipam.as_ref()?.config.as_ref()?.iter().find_map(|config| {
        let given = config.gateway.as_deref().and_then(|address| address.parse().ok());
        given.or_else(|| config.subnet.as_deref()?.parse::<IpNet>().ok()?.hosts().next())
    })
}
