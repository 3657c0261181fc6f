//! The way out: names to real addresses, addresses to the policy, connections to those that pass.
//!
//! ```text
//!  name ──resolver──▶ real addresses ──decide, each──▶ permitted ones ──dial, a little apart──▶ first that connects
//!                                            └─ none ─▶ refused, nothing dialled
//! ```

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use netpolicy::decide::{Reason, Target};
use netpolicy::host::HostName;
use netpolicy::settings::Upstream;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::{Link, Refusal};

/// How long one question to an upstream may take.
const QUESTION: Duration = Duration::from_secs(3);
/// How long a name may take, all upstreams together.
const RESOLUTION: Duration = Duration::from_secs(6);
/// How long all dialling may take.
const DIAL: Duration = Duration::from_secs(10);
/// How much later the next address is dialled beside the one before.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 16;
/// Silence after which a peer is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What is outside the fence.
pub enum Outside {
    /// The world.
    World {
        /// Asks the upstreams.
        resolver: Box<TokioResolver>,
    },
    /// A stage for tests: fixed names, and every dial goes to one place.
    #[cfg(test)]
    Stage(tests::Stage),
}

impl Outside {
    /// The world, with these upstreams.
    pub fn world(upstreams: &[Upstream]) -> Result<Outside, NetError> {
        let mut servers: Vec<NameServerConfig> = Vec::new();
        for upstream in upstreams {
            match upstream {
                Upstream::System => {
                    // Without one, names do not resolve; ranges of addresses and refusals work.
                    match hickory_resolver::system_conf::read_system_conf() {
                        Ok((config, _)) => servers.extend(config.name_servers().iter().cloned()),
                        Err(error) => eprintln!("ringfence guard: no resolver in /etc/resolv.conf: {error}"),
                    }
                }
                // The loader refuses these until the guard can ask them.
                Upstream::Tls { .. } | Upstream::Https { .. } => {}
                Upstream::Plain(address) => {
                    let mut server = NameServerConfig::udp_and_tcp(address.ip());
                    for connection in &mut server.connections {
                        connection.port = address.port();
                    }
                    servers.push(server);
                }
            }
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        set(builder.options_mut());
        Ok(Outside::World { resolver: Box::new(builder.build()?) })
    }

    /// Whether the upstream knows a name.
    pub async fn exists(&self, name: &HostName) -> Result<bool, String> {
        match self {
            Outside::World { resolver } => {
                match timeout(RESOLUTION, resolver.lookup_ip(absolute(name)?)).await {
                    Err(_) => Err("no answer in time".to_owned()),
                    Ok(Ok(_)) => Ok(true),
                    Ok(Err(error)) if error.is_nx_domain() => Ok(false),
                    Ok(Err(error)) if error.is_no_records_found() => Ok(true),
                    Ok(Err(error)) => Err(error.to_string()),
                }
            }
            #[cfg(test)]
            Outside::Stage(stage) => stage.exists(name),
        }
    }

    /// The real addresses of a name.
    async fn resolve(&self, name: &HostName) -> Result<Vec<IpAddr>, String> {
        match self {
            Outside::World { resolver } => {
                match timeout(RESOLUTION, resolver.lookup_ip(absolute(name)?)).await {
                    Err(_) => Err("no answer in time".to_owned()),
                    Ok(Ok(found)) => Ok(found.iter().take(ADDRESSES).collect()),
                    Ok(Err(error)) => Err(error.to_string()),
                }
            }
            #[cfg(test)]
            Outside::Stage(stage) => stage.resolve(name),
        }
    }

    /// One attempt at one address.
    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        match self {
            Outside::World { .. } => TcpStream::connect(to).await,
            #[cfg(test)]
            Outside::Stage(stage) => stage.dial(to).await,
        }
    }

    /// Connects to a target: resolves, has every address decided, dials only what is permitted.
    pub async fn connect(&self, link: &Link) -> Result<TcpStream, Refusal> {
        let addresses = match &link.target {
            Target::Address(address) => vec![*address],
            Target::Name(name) => {
                self.resolve(name).await.map_err(|error| Refusal::failed(Reason::ResolveFailed, error))?
            }
        };
        let mut permitted = Vec::new();
        let mut refused = None;
        for address in addresses {
            let verdict = link.guard.names.decide(&link.target, Some(link.port), Some(address));
            if verdict.allowed {
                permitted.push(SocketAddr::new(address, link.port));
            } else if refused.is_none() {
                refused = Some((address, verdict));
            }
        }
        if permitted.is_empty() {
            return Err(match refused {
                Some((address, verdict)) => Refusal::of_address(address, verdict),
                None => Refusal::failed(Reason::ResolveFailed, "the name has no address".to_owned()),
            });
        }
        if let Some(reason) = link.guard.closed() {
            return Err(Refusal::new(super::events::Kind::Connect, reason));
        }
        let (stream, address) = timeout(DIAL, self.race(&permitted))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Refusal::failed(Reason::ConnectFailed, error.to_string()))?;
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        link.opened(address.ip());
        Ok(stream)
    }

    /// Dials the addresses one beside the other, each a little later; the first that answers wins.
    async fn race(&self, addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
        type Attempt<'a> = Pin<Box<dyn Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send + 'a>>;
        let mut attempts: FuturesUnordered<Attempt<'_>> = FuturesUnordered::new();
        let mut rest = addresses.iter().copied();
        let mut last: io::Error = io::ErrorKind::NotFound.into();
        let mut more = true;
        loop {
            if more {
                match rest.next() {
                    Some(to) => attempts.push(Box::pin(async move { Ok((self.dial(to).await?, to)) })),
                    None if attempts.is_empty() => return Err(last),
                    None => {}
                }
            }
            more = tokio::select! {
                Some(done) = attempts.next() => match done {
                    Ok(connected) => return Ok(connected),
                    Err(error) => { last = error; true }
                },
                () = tokio::time::sleep(STAGGER) => true,
            };
        }
    }
}

/// The options of the resolver: what it must not read, keep or hurry.
fn set(options: &mut ResolverOpts) {
    options.timeout = QUESTION;
    options.attempts = 1;
    options.case_randomization = true;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 64;
    options.positive_max_ttl = Some(Duration::from_secs(60));
    options.negative_max_ttl = Some(Duration::from_secs(5));
    options.num_concurrent_reqs = 1;
    // Both, even without a way to IPv6: a private address in either form is to be told as such.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// A name that no search list applies to.
fn absolute(name: &HostName) -> Result<Name, String> {
    let mut name = Name::from_ascii(name.as_str()).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

/// Has the kernel ask a silent peer whether it is still there.
pub fn keep_alive(stream: &TcpStream) {
    let socket = stream.as_fd();
    // Without it a dead peer is noticed later, no more.
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(socket, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(socket, 4);
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Fixed names; every dial goes to one place, and is remembered.
    #[derive(Default)]
    pub struct Stage {
        /// Names and their addresses.
        pub names: HashMap<String, Vec<IpAddr>>,
        /// Where every dial goes.
        pub server: Option<SocketAddr>,
        /// What was dialled.
        pub dialled: Mutex<Vec<SocketAddr>>,
        /// How often the upstream was asked.
        pub questions: AtomicUsize,
    }

    impl Stage {
        pub fn exists(&self, name: &HostName) -> Result<bool, String> {
            self.questions.fetch_add(1, Ordering::SeqCst);
            Ok(self.names.contains_key(name.as_str()))
        }

        pub fn resolve(&self, name: &HostName) -> Result<Vec<IpAddr>, String> {
            self.names.get(name.as_str()).cloned().ok_or_else(|| "no such name".to_owned())
        }

        pub async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
            self.dialled.lock().unwrap().push(to);
            match self.server {
                Some(server) => TcpStream::connect(server).await,
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        }
    }
}
