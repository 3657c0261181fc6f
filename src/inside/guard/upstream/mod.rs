//! The way out: names to real addresses, addresses to the policy, connections to those that pass.
//!
//! ```text
//!  name ──resolve──▶ real addresses ──decide, each──▶ permitted ──dial, a little apart──▶ the first that connects
//!    │ nobody knows it                   │ one refused ▶ nothing dialled  └─ behind a proxy: CONNECT name:port
//!    └─ `resolved-by: proxy` ────────────┼──────────────────────────────▶ CONNECT name:port
//!  host alias ──────▶ the host's address ┘   or the supervisor's loopback ▶ the supervisor dials it
//! ```
//! Without a proxy, addresses that are refused are left out and the others dialled. With one, a
//! single refused address refuses the name: which of them the proxy would dial is not ours to
//! choose.

mod dial;
mod proxy;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use crate::wire::event::Kind;
use netpolicy::decide::{Reason, Target, Verdict};
use netpolicy::floor;
use netpolicy::host::HostName;
use netpolicy::host_access::LOOPBACK_ADDRESS;
use netpolicy::policy::{Policy, ResolvedBy};
use netpolicy::settings::Server;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use self::dial::keep_alive;
pub(crate) use self::proxy::Credentials;
use self::proxy::Proxy;
use super::gate::{Link, Refusal};
use super::live;
use crate::host::resolve::{self, Patience, Resolution, Resolvers};

/// Inputs that the guard needs to follow a policy and that the policy does not have.
#[derive(Debug, Default)]
pub(crate) struct UpstreamInputs {
    /// Authorities whose certificates encrypted upstreams may show.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// Credentials for the proxy.
    pub(crate) credentials: Option<Credentials>,
    /// Addresses of the host. It is reached at the first.
    pub(crate) hosts: Vec<IpAddr>,
}

/// The world outside the fence.
pub(crate) enum Outside {
    /// The world.
    World(World),
    /// A stage for tests: fixed names, and every dial goes to one place.
    #[cfg(test)]
    Stage(tests::Stage),
}

/// The world, as a policy wants it reached.
pub(crate) struct World {
    resolvers: RwLock<Arc<Resolvers>>,
    proxy: Option<Proxy>,
    host: Option<IpAddr>,
}

/// Way to a target, once everything about the target has been decided.
enum DialRoute<'o> {
    /// One of these addresses, directly.
    Direct(Vec<SocketAddr>),
    /// The loopback of the supervisor's machine, by the supervisor; the name of the host.
    Loopback(HostName),
    /// Through the proxy; who resolved the name, or would, and the permission.
    Proxy(&'o Proxy, ResolvedBy, Box<Verdict>),
}

impl Outside {
    /// Makes the world, reached as this policy says. To be called within a runtime.
    pub(crate) fn world(policy: &Policy, means: &UpstreamInputs) -> Result<Outside, resolve::Unusable> {
        Ok(Outside::World(World {
            resolvers: RwLock::new(Arc::new(Resolvers::new(&policy.dns, &means.roots)?)),
            proxy: policy.proxy.as_ref().map(|proxy| Proxy::new(proxy, means.credentials.clone())),
            host: means.hosts.first().copied(),
        }))
    }

    /// Asks these name servers first where the policy says `system`. Questions under way go on as
    /// they began.
    pub(crate) fn follow(&self, servers: &[IpAddr]) -> Result<(), String> {
        match self {
            Outside::World(world) => {
                let next = world.resolvers().following(servers).map_err(|error| error.to_string())?;
                *world.resolvers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
                Ok(())
            }
            #[cfg(test)]
            Outside::Stage(_) => Ok(()),
        }
    }

    /// Tells whether a name exists, as far as the upstreams know. They need not know a name that a
    /// proxy may resolve (`by_proxy`).
    pub(crate) async fn exists(&self, name: &HostName, by_proxy: bool) -> Result<bool, String> {
        let by_proxy = by_proxy && self.proxy().is_some_and(|proxy| !proxy.leaves_out(name));
        match self.resolve(name, by_proxy).await {
            Ok(Resolution::Addresses(_) | Resolution::NoAddress) => Ok(true),
            Ok(Resolution::NoName) => Ok(by_proxy),
            Err(_) if by_proxy => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Connects to a target: resolves, has every address decided, dials only what is permitted.
    pub(crate) async fn connect(&self, link: &Link) -> Result<TcpStream, Refusal> {
        let way = self.way(link).await?;
        if let Some(reason) = link.guard.closed() {
            return Err(Refusal::new(Kind::Connect, reason));
        }
        let failed = |error: String| Refusal::failed(Reason::ConnectFailed, error);
        match way {
            DialRoute::Direct(addresses) => {
                let is_host =
                    matches!(&link.target, Target::Name(name) if floor::refused_name(name).is_some());
                let shown = addresses.first().map(SocketAddr::ip).filter(|_| is_host);
                let dialled = self.dial(addresses).await;
                let (stream, address) = dialled.map_err(|error| failed(not_connected(&error, shown)))?;
                // Dialling takes seconds, and a change in the meantime knew nothing of this
                // address.
                let verdict = live::at_address(link, address.ip());
                if !verdict.allowed {
                    let _ = stream.set_zero_linger();
                    return Err(Refusal::of_address(address.ip(), verdict));
                }
                link.opened(Some(address.ip()), ResolvedBy::Guard, &verdict).await;
                Ok(stream)
            }
            DialRoute::Loopback(name) => {
                let stream = link.guard.host_loopback.connect(&name, link.port, &link.guard.attached).await?;
                let verdict = live::at_address(link, LOOPBACK_ADDRESS);
                if !verdict.allowed {
                    let _ = stream.set_zero_linger();
                    return Err(Refusal::of_address(LOOPBACK_ADDRESS, verdict));
                }
                link.opened(Some(LOOPBACK_ADDRESS), ResolvedBy::Guard, &verdict).await;
                Ok(stream)
            }
            DialRoute::Proxy(proxy, resolver, verdict) => {
                let stream = self.dial_proxy(proxy).await.map_err(failed)?;
                let target = match &link.target {
                    Target::Name(name) => Server::Name(name.clone()),
                    Target::Address(address) => Server::Address(*address),
                };
                let stream = proxy
                    .tunnel(stream, &target, link.port)
                    .await
                    .map_err(|error| failed(error.to_string()))?;
                link.opened(None, resolver, &verdict).await;
                Ok(stream)
            }
        }
    }

    /// Decides everything that can be decided before anything is dialled.
    async fn way(&self, link: &Link) -> Result<DialRoute<'_>, Refusal> {
        let (addresses, proxy) = match &link.target {
            Target::Address(address) => (vec![*address], self.proxy()),
            // Only a rule with `host-access` permits one of these, and it means this one address,
            // or the supervisor's loopback. Where both are permitted it is the loopback: servers
            // that listen everywhere answer there too.
            Target::Name(name) if floor::refused_name(name).is_some() => {
                if live::at_address(link, LOOPBACK_ADDRESS).allowed {
                    return Ok(DialRoute::Loopback(name.clone()));
                }
                let unknown = "the engine did not tell the guard where the host is".to_owned();
                let host = self.host().ok_or_else(|| Refusal::failed(Reason::ConnectFailed, unknown))?;
                (vec![host], None)
            }
            Target::Name(name) => {
                let proxy = self.proxy().filter(|proxy| !proxy.leaves_out(name));
                let (by_proxy, refused) = match proxy.map(|proxy| (proxy, live::by_proxy(link))) {
                    Some((_, verdict)) if !verdict.allowed => (None, Some(verdict)),
                    permitted => (permitted, None),
                };
                // The rule that permits it demands another check than the one that was made.
                let refused = refused.filter(|verdict| verdict.reason == Reason::Protocol);
                let failed = |error: String| Refusal::failed(Reason::ResolveFailed, error);
                match self.resolve(name, by_proxy.is_some()).await {
                    Ok(Resolution::Addresses(addresses)) => (addresses, proxy),
                    other => match (by_proxy, refused, other) {
                        (Some((proxy, verdict)), ..) => {
                            return Ok(DialRoute::Proxy(proxy, ResolvedBy::Proxy, verdict.into()));
                        }
                        (None, Some(verdict), _) => return Err(Refusal::by(verdict)),
                        (None, None, Err(error)) => return Err(failed(only_the_proxy(error, proxy))),
                        (None, None, Ok(answer)) => {
                            return Err(failed(only_the_proxy(answer.to_string(), proxy)));
                        }
                    },
                }
            }
        };
        let (mut permitted, mut by) = (Vec::new(), None);
        let mut refused = None;
        for address in addresses {
            let verdict = live::at_address(link, address);
            if verdict.allowed {
                by.get_or_insert(verdict);
                permitted.push(address);
            } else if refused.is_none() {
                refused = Some((address, verdict));
            }
        }
        let behind =
            proxy.filter(|proxy| !permitted.iter().any(|address| proxy.leaves_out_address(*address)));
        match (behind, refused) {
            (_, Some((address, verdict))) if permitted.is_empty() || behind.is_some() => {
                Err(Refusal::of_address(address, verdict))
            }
            (Some(proxy), _) => {
                let by = by.unwrap_or_else(|| link.verdict.clone());
                Ok(DialRoute::Proxy(proxy, ResolvedBy::Guard, by.into()))
            }
            (None, _) => {
                // With a proxy, what it is not for is dialled, and nothing beside it.
                if let Some(proxy) = proxy {
                    permitted.retain(|address| proxy.leaves_out_address(*address));
                }
                Ok(DialRoute::Direct(
                    permitted.into_iter().map(|ip| SocketAddr::new(ip, link.port)).collect(),
                ))
            }
        }
    }

    /// Connects to the proxy. The proxy's address is the policy's business alone: the floor is for
    /// the agent.
    async fn dial_proxy(&self, proxy: &Proxy) -> Result<TcpStream, String> {
        let on_host = proxy.is_on_the_host();
        let addresses = match proxy.server() {
            // Seen from the guard's container, the person's loopback is the host.
            _ if on_host => vec![self.host().ok_or_else(|| {
                format!("the proxy {proxy} is on this machine, and the engine did not tell the guard where that is")
            })?],
            Server::Address(address) => vec![*address],
            Server::Name(name) => match self.resolve_for_guard(name).await {
                Ok(Resolution::Addresses(addresses)) => addresses,
                Ok(answer) => return Err(format!("the proxy {proxy}: {answer}")),
                Err(error) => return Err(format!("the proxy {proxy}: {error}")),
            },
        };
        let addresses: Vec<SocketAddr> =
            addresses.into_iter().map(|address| SocketAddr::new(address, proxy.port())).collect();
        let shown = addresses.first().map(SocketAddr::to_string).unwrap_or_default();
        self.dial(addresses).await.map(|(stream, _)| stream).map_err(|error| {
            let hint = if on_host { "; it must listen where containers reach the host" } else { "" };
            format!("the proxy {proxy} at {shown}: {error}{hint}")
        })
    }

    /// Dials the addresses, the better ones first; the first that answers wins.
    async fn dial(&self, addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
        let addresses = dial::order(addresses, |address| self.has_route(address));
        let (stream, address) = timeout(dial::LIMIT, dial::race(&addresses, |to| self.dial_one(to)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        Ok((stream, address))
    }

    fn proxy(&self) -> Option<&Proxy> {
        match self {
            Outside::World(world) => world.proxy.as_ref(),
            #[cfg(test)]
            Outside::Stage(stage) => stage.proxy.as_ref(),
        }
    }

    fn host(&self) -> Option<IpAddr> {
        match self {
            Outside::World(world) => world.host,
            #[cfg(test)]
            Outside::Stage(stage) => stage.host,
        }
    }

    /// Asks the upstreams about a name, without much patience where the proxy may be asked instead.
    async fn resolve(&self, name: &HostName, by_proxy: bool) -> Result<Resolution, String> {
        let patience = if by_proxy { Patience::Little } else { Patience::Full };
        match self {
            Outside::World(world) => world.resolvers().resolve(name, patience).await,
            #[cfg(test)]
            Outside::Stage(stage) => stage.resolve(name),
        }
    }

    /// Asks the upstreams about a name that the policy itself needs.
    async fn resolve_for_guard(&self, name: &HostName) -> Result<Resolution, String> {
        match self {
            Outside::World(world) => world.resolvers().resolve_for_guard(name).await,
            #[cfg(test)]
            Outside::Stage(stage) => stage.resolve(name),
        }
    }

    fn has_route(&self, address: IpAddr) -> bool {
        match self {
            Outside::World(_) => dial::has_route(address),
            #[cfg(test)]
            Outside::Stage(_) => address.is_ipv4(),
        }
    }

    /// Makes one attempt at one address.
    async fn dial_one(&self, to: SocketAddr) -> io::Result<TcpStream> {
        match self {
            Outside::World(_) => TcpStream::connect(to).await,
            #[cfg(test)]
            Outside::Stage(stage) => stage.dial(to).await,
        }
    }
}

impl World {
    /// Returns the upstreams of the moment.
    fn resolvers(&self) -> Arc<Resolvers> {
        Arc::clone(&self.resolvers.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Explains why a server was not connected to; one of the host may listen where no container
/// reaches it.
fn not_connected(error: &io::Error, host: Option<IpAddr>) -> String {
    match host.filter(|_| error.kind() == io::ErrorKind::ConnectionRefused) {
        Some(host) => format!(
            "refused: nothing listens there; a server that listens on 127.0.0.1 only is not reached: permit its port with /loopback, or have it listen on {host} too"
        ),
        None => error.to_string(),
    }
}

/// Explains why a name does not resolve; where there is a proxy, with the rule that would let the
/// proxy try.
fn only_the_proxy(error: String, proxy: Option<&Proxy>) -> String {
    match proxy {
        Some(_) => {
            format!("{error}; if only the proxy can resolve it, the rule must say `resolved-by: proxy`")
        }
        None => error,
    }
}

#[cfg(test)]
pub(crate) mod tests;
