//! Asking upstreams: the group that is for a name, its members in order, each within a bound, all
//! within another.
//!
//! ```text
//!  name ──longest domain that holds it──▶ its group, else the general one
//!  group ─▶ member ─▶ member ─▶ …        answer, no address, no name: that is it
//!             └─ silent, refused, failed: the next; who was silent is asked last for a while
//! ```
//! One hickory resolver a member, because its own pool shares one time-out among all servers: a
//! dead first one would use it up. A DNS-over-HTTPS server that is given by name is looked up
//! through `system`, when it is first needed.

mod memo;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use netpolicy::host::HostName;
use netpolicy::settings::{Dns, Server, Upstream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout};

use self::memo::{Memo, Validity};
use crate::term::trace::{self, Diagnostic, Outcome};

/// Time limit of one upstream for an answer.
const QUESTION: Duration = Duration::from_secs(2);
/// Time limit of a name, all its upstreams together.
const RESOLUTION: Duration = Duration::from_secs(6);
/// Time limit of a name where a proxy may be asked instead.
const RESOLUTION_OR_PROXY: Duration = Duration::from_millis(2500);
/// Time for which an upstream that was silent is asked last.
const SILENCE: Duration = Duration::from_secs(30);
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 16;
/// Answers that each member keeps.
const CACHE: u64 = 64;

/// Resolution of the upstreams about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// The name has these addresses.
    Addresses(Vec<IpAddr>),
    /// The name exists, and has no address.
    NoAddress,
    /// The name does not exist.
    NoName,
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resolution::Addresses(_) => "the name has addresses",
            Resolution::NoAddress => "the name has no address",
            Resolution::NoName => "there is no such name",
        })
    }
}

/// Patience with upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Only the upstreams can know.
    Full,
    /// A proxy can be asked instead: who was silent a moment ago is not asked.
    Little,
}

/// An upstream that cannot even be set up.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be used")]
pub(crate) struct Unusable {
    what: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// All upstreams of a policy.
pub(crate) struct Resolvers {
    /// Longest domain first.
    domains: Vec<(HostName, Group)>,
    general: Group,
    system: Arc<Group>,
    /// The policy's settings, to make them anew.
    settings: Dns,
    tls: rustls::ClientConfig,
}

/// Upstreams that are asked in order.
struct Group(Vec<Member>);

/// Members with their places in the group.
type Placed<'m> = Vec<(usize, &'m Member)>;

/// One upstream.
struct Member {
    label: String,
    encrypted: bool,
    source: Source,
    state: Mutex<State>,
    memo: Mutex<Memo>,
}

/// Times at which a member answered, and at which it did not.
#[derive(Default)]
struct State {
    answered: Option<Instant>,
    silent_until: Option<Instant>,
}

/// Source of a member's resolver.
enum Source {
    /// The resolver was made at the start.
    Ready(Box<TokioResolver>),
    /// The server's address must be found first.
    ByName(Box<HttpsByName>),
}

/// A DNS-over-HTTPS server that is given by name.
struct HttpsByName {
    name: HostName,
    port: u16,
    path: Arc<str>,
    system: Arc<Group>,
    tls: rustls::ClientConfig,
    found: Mutex<Option<TokioResolver>>,
}

/// Reason for which a member gave no answer.
enum Trouble {
    /// The member did not answer in time.
    Silent,
    /// The member said that it cannot answer, or could not be spoken to.
    Failed(Outcome, String),
}

impl Resolvers {
    /// Makes the upstreams of a policy; encrypted ones must show a certificate of these
    /// authorities.
    pub(crate) fn new(dns: &Dns, roots: &[CertificateDer<'static>]) -> Result<Resolvers, Unusable> {
        Resolvers::made(dns, client_config(roots)?, &[])
    }

    /// Makes the upstreams anew, for a machine that has these name servers now: `system` means them
    /// first, and after them those that the engine gave. What was known of upstreams is forgotten.
    pub(crate) fn following(&self, servers: &[IpAddr]) -> Result<Resolvers, Unusable> {
        Resolvers::made(&self.settings, self.tls.clone(), servers)
    }

    fn made(dns: &Dns, tls: rustls::ClientConfig, followed: &[IpAddr]) -> Result<Resolvers, Unusable> {
        let system = Arc::new(Group(system_members(&tls, followed)?));
        let group = |upstreams: &[Upstream]| -> Result<Group, Unusable> {
            let mut members = Vec::new();
            for upstream in upstreams {
                members.extend(members_of(upstream, &tls, &system, followed)?);
            }
            Ok(Group(members))
        };
        let mut domains = Vec::new();
        for domain in &dns.domains {
            domains.push((domain.name.clone(), group(&domain.upstreams)?));
        }
        domains.sort_by_key(|(name, _)| std::cmp::Reverse(name.as_str().len()));
        let general = group(&dns.upstreams)?;
        Ok(Resolvers { domains, general, system, settings: dns.clone(), tls })
    }

    /// Asks the upstreams that are responsible for a name. No other upstream learns of the name.
    pub(crate) async fn resolve(&self, name: &HostName, patience: Patience) -> Result<Resolution, String> {
        self.of_domain(name).unwrap_or(&self.general).ask(name, patience).await
    }

    /// Asks about a name that the policy itself needs: the upstreams of its domain, or else the
    /// machine's own.
    pub(crate) async fn resolve_for_guard(&self, name: &HostName) -> Result<Resolution, String> {
        self.of_domain(name).unwrap_or(&self.system).ask(name, Patience::Full).await
    }

    fn of_domain(&self, name: &HostName) -> Option<&Group> {
        self.domains.iter().find(|(domain, _)| is_within(name, domain)).map(|(_, group)| group)
    }
}

/// Tells whether a name is a domain, or lies below it.
fn is_within(name: &HostName, domain: &HostName) -> bool {
    name.as_str().strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl Group {
    /// Asks one after the other until somebody knows.
    async fn ask(&self, name: &HostName, patience: Patience) -> Result<Resolution, String> {
        let within = if patience == Patience::Full { RESOLUTION } else { RESOLUTION_OR_PROXY };
        let (began, deadline) = (Instant::now(), Instant::now() + within);
        let (silent, speaking): (Placed<'_>, Placed<'_>) =
            self.0.iter().enumerate().partition(|(_, member)| member.is_silent(began));
        let silent = if patience == Patience::Full { silent } else { Vec::new() };
        let absolute = absolute(name)?;
        let mut troubles = Vec::new();
        for (at, member) in speaking.into_iter().chain(silent) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let answer = member.ask(&absolute, left.min(QUESTION)).await;
            trace::diagnose(Diagnostic::Upstream { upstream: at + 1, outcome: outcome(&answer) });
            match answer {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Silent) => troubles.push(format!("{}: no answer", member.label)),
                Err(Trouble::Failed(_, why)) => troubles.push(format!("{}: {why}", member.label)),
            }
        }
        trace::diagnose(Diagnostic::Unresolved { asked: troubles.len() });
        if troubles.is_empty() {
            troubles.push("there is no upstream that answers".to_owned());
        }
        Err(troubles.join("; "))
    }
}

/// Names what a member said, for diagnostics.
fn outcome(answer: &Result<Resolution, Trouble>) -> Outcome {
    match answer {
        Ok(Resolution::Addresses(_)) => Outcome::Addresses,
        Ok(Resolution::NoAddress) => Outcome::NoAddress,
        Ok(Resolution::NoName) => Outcome::NoName,
        Err(Trouble::Silent) => Outcome::Silent,
        Err(Trouble::Failed(outcome, _)) => *outcome,
    }
}

impl Member {
    fn of(label: String, server: NameServerConfig, tls: &rustls::ClientConfig) -> Result<Member, Unusable> {
        match resolver(vec![server], tls.clone()) {
            Ok(resolver) => Ok(Member {
                label,
                encrypted: false,
                source: Source::Ready(Box::new(resolver)),
                state: Mutex::default(),
                memo: Mutex::default(),
            }),
            Err(error) => Err(Unusable { what: format!("the upstream {label}"), source: Box::new(error) }),
        }
    }

    /// Asks, unless the last answer is still good. Remembers the answer, or that there was none.
    async fn ask(&self, name: &Name, within: Duration) -> Result<Resolution, Trouble> {
        let began = Instant::now();
        if let Some(known) = self.memo().get(name, began) {
            return Ok(known);
        }
        let answer = match timeout(within, self.lookup(name)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Silent),
        };
        let now = Instant::now();
        let answer = answer.map(|(resolution, validity)| {
            self.memo().keep(name, &resolution, validity, now);
            resolution
        });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            // One name that takes too long is not a silent server: it may have answered others
            // meanwhile.
            Err(Trouble::Silent) if state.answered.is_none_or(|answered| answered < began) => {
                state.silent_until = Some(now + SILENCE);
            }
            Err(_) => {}
            Ok(_) => *state = State { answered: Some(now), silent_until: None },
        }
        answer
    }

    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.silent_until.is_some_and(|until| now < until)
    }

    async fn lookup(&self, name: &Name) -> Result<(Resolution, Validity), Trouble> {
        let resolver = match &self.source {
            Source::Ready(resolver) => (**resolver).clone(),
            Source::ByName(server) => {
                server.resolver().await.map_err(|why| Trouble::Failed(Outcome::Failed, why))?
            }
        };
        let answer = match resolver.lookup_ip(name.clone()).await {
            Ok(found) => {
                let until = Validity::Until(Instant::from_std(found.valid_until()));
                Ok((Resolution::Addresses(distinct(found.iter())), until))
            }
            Err(error) => self.read_error(&error),
        };
        if let (Err(_), Source::ByName(server)) = (&answer, &self.source) {
            // It may have moved.
            *server.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }

    /// Reads an error of the resolver: as an answer, or as trouble with the member.
    fn read_error(&self, error: &NetError) -> Result<(Resolution, Validity), Trouble> {
        let failed = |why: &str| Err(Trouble::Failed(Outcome::NoConnection, why.to_owned()));
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, negative_ttl, .. })) => {
                let validity = negative_ttl.map_or(Validity::Unsaid, Validity::Seconds);
                match response_code {
                    ResponseCode::NXDomain => Ok((Resolution::NoName, validity)),
                    ResponseCode::NoError => Ok((Resolution::NoAddress, validity)),
                    other => Err(Trouble::Failed(Outcome::Refused, said(*other))),
                }
            }
            NetError::Dns(DnsError::ResponseCode(code)) => {
                Err(Trouble::Failed(Outcome::Refused, said(*code)))
            }
            NetError::Timeout => Err(Trouble::Silent),
            // hickory keeps no cause of these.
            NetError::NoConnections if self.encrypted => {
                failed("no connection, or its certificate is not of an accepted authority and name")
            }
            NetError::NoConnections => failed("no connection"),
            _ => Err(Trouble::Failed(Outcome::Failed, error.to_string())),
        }
    }
}

impl HttpsByName {
    /// Returns the resolver that asks the member, once it has been found.
    async fn resolver(&self) -> Result<TokioResolver, String> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(resolver) => Ok(resolver),
            None => {
                let resolver = self.find().await?;
                *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(resolver.clone());
                Ok(resolver)
            }
        }
    }

    /// Looks the server up through `system`, which the policy's own names do not reach.
    async fn find(&self) -> Result<TokioResolver, String> {
        // Boxed: the group's members may look servers up themselves, were `system` ever more than
        // plain servers.
        match Box::pin(self.system.ask(&self.name, Patience::Full)).await {
            Ok(Resolution::Addresses(addresses)) => {
                let name = self.name.as_str();
                let servers =
                    addresses.into_iter().map(|address| https(address, self.port, name, &self.path));
                resolver(servers.collect(), self.tls.clone()).map_err(|error| error.to_string())
            }
            Ok(answer) => Err(format!("{}: {answer}", self.name)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}

/// Returns the members that an upstream of the policy means: one, or those of the machine.
fn members_of(
    upstream: &Upstream,
    tls: &rustls::ClientConfig,
    system: &Arc<Group>,
    followed: &[IpAddr],
) -> Result<Vec<Member>, Unusable> {
    let server = match upstream {
        Upstream::System => return system_members(tls, followed),
        Upstream::Https { server: Server::Name(name), port, path } => {
            let source = Source::ByName(Box::new(HttpsByName {
                name: name.clone(),
                port: *port,
                path: Arc::from(path.as_str()),
                system: Arc::clone(system),
                tls: tls.clone(),
                found: Mutex::new(None),
            }));
            let label = upstream.to_string();
            let (state, memo) = (Mutex::default(), Mutex::default());
            return Ok(vec![Member { label, encrypted: true, source, state, memo }]);
        }
        Upstream::Https { server: Server::Address(address), port, path } => {
            https(*address, *port, &address.to_string(), path)
        }
        Upstream::Plain(address) => with_port(NameServerConfig::udp_and_tcp(address.ip()), address.port()),
        Upstream::Tls { address, name } => {
            with_port(NameServerConfig::tls(address.ip(), Arc::from(name.as_str())), address.port())
        }
    };
    let member = Member::of(upstream.to_string(), server, tls)?;
    Ok(vec![Member { encrypted: !matches!(upstream, Upstream::Plain(_)), ..member }])
}

/// Configures a DNS-over-HTTPS server whose certificate must carry `name`.
fn https(address: IpAddr, port: u16, name: &str, path: &str) -> NameServerConfig {
    with_port(NameServerConfig::https(address, Arc::from(name), Some(Arc::from(path))), port)
}

fn with_port(mut server: NameServerConfig, port: u16) -> NameServerConfig {
    for connection in &mut server.connections {
        connection.port = port;
    }
    server
}

/// Returns the servers that the machine has now, and those of the guard's own resolv.conf. Without
/// any, names do not resolve; the rest works.
fn system_members(tls: &rustls::ClientConfig, followed: &[IpAddr]) -> Result<Vec<Member>, Unusable> {
    let member = |ip: IpAddr, server| Member::of(format!("system ({ip})"), server, tls);
    let mut members = Vec::new();
    for ip in followed {
        members.push(member(*ip, NameServerConfig::udp_and_tcp(*ip))?);
    }
    let (config, _) = match hickory_resolver::system_conf::read_system_conf() {
        Ok(read) => read,
        Err(error) => {
            crate::term::warn(crate::term::Warning::NoSystemResolver(error.to_string()));
            return Ok(members);
        }
    };
    for server in config.name_servers() {
        members.push(member(server.ip, server.clone())?);
    }
    Ok(members)
}

/// Makes a resolver that asks these servers.
fn resolver(servers: Vec<NameServerConfig>, tls: rustls::ClientConfig) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder =
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_tls_config(tls);
    set(builder.options_mut());
    builder.build()
}

/// Sets the options of a resolver: what it must not read, keep or hurry.
fn set(options: &mut ResolverOpts) {
    options.timeout = QUESTION;
    options.attempts = 1;
    options.case_randomization = true;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(Duration::from_secs(60));
    options.negative_max_ttl = Some(Duration::from_secs(5));
    options.num_concurrent_reqs = 1;
    // Both, even without a way to IPv6: a private address in either form is to be told as such.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
}

/// Configures TLS to upstreams: these authorities and no others.
fn client_config(roots: &[CertificateDer<'static>]) -> Result<rustls::ClientConfig, Unusable> {
    let mut store = RootCertStore::empty();
    // What a machine's store holds beside usable authorities is passed over, as every TLS library
    // does.
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map(|builder| builder.with_root_certificates(store).with_no_client_auth())
        .map_err(|error| Unusable { what: "TLS".to_owned(), source: Box::new(error) })
}

/// Makes a name that no search list applies to.
fn absolute(name: &HostName) -> Result<Name, String> {
    let mut name = Name::from_ascii(name.as_str()).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

/// Returns the first addresses, each once.
fn distinct(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        if addresses.len() == ADDRESSES {
            break;
        }
    }
    addresses
}

/// Returns a response code in words.
fn said(code: ResponseCode) -> String {
    format!("it answers {code}")
}

#[cfg(test)]
mod tests;
