//! The guard on loopback: policy and names are real, what is outside is a stage that remembers each
//! dial.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netpolicy::decide::{Reason, Target};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Protocol, Rule};
use netpolicy::ruleset::ConnectionBounds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Guard;
use super::events::Events;
pub(crate) use super::events::tests::{Log, workflow};
use super::limits::Limits;
use super::names::NameState;
use super::splice::tests::pair;
use super::tls::tests::{hello, hello_with, names, vector};
use super::upstream::Outside;
use super::upstream::tests::Stage;
use crate::wire::event::Start;
use crate::wire::handover::GuardConfig;

mod allocations;
mod beginning;
mod fuzzing;
mod http_interim;
mod http_ports;
mod other_ports;
mod real_servers;
mod tls_ports;
mod whole_gate;

pub(crate) fn rule(matcher: Matcher, ports: &[u16], protocol: Option<Protocol>) -> Arc<Rule> {
    let origin = Origin { layer: Layer::Run, file: "t.yml".to_owned(), line: 1, text: "a rule".to_owned() };
    Arc::new(Rule { protocol, ..Rule::new(matcher, ports.to_vec(), origin) })
}

pub(crate) fn host(pattern: &str, ports: &[u16], protocol: Option<Protocol>) -> Arc<Rule> {
    rule(Matcher::Host(HostPattern::parse(pattern).unwrap()), ports, protocol)
}

pub(crate) fn policy() -> Policy {
    let mut policy = Policy::nothing();
    policy.allow = vec![
        host("gitlab.com", &[443, 80, 22, 9000], None),
        host("inside.example", &[443, 80], None),
        host("gone.example", &[443, 80], None),
        host("*.wild.example", &[443], None),
        host("raw.example", &[443], Some(Protocol::Tcp)),
        rule(Matcher::Cidr("198.51.100.64/26".parse().unwrap()), &[5432], None),
    ];
    policy.deny = vec![host("bad.wild.example", &[], None)];
    policy.dns.names_per_wildcard = 2;
    policy.network_denied = false;
    policy
}

/// Makes a guard whose world is `server`.
pub(crate) fn guard_with(
    policy: Policy,
    server: Option<SocketAddr>,
    deadline_unix_ms: Option<u64>,
) -> (Arc<Guard>, Log) {
    let address = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    let mut names: std::collections::HashMap<String, Vec<IpAddr>> =
        ["gitlab.com", "raw.example", "a.wild.example", "b.wild.example", "c.wild.example"]
            .into_iter()
            .map(|name| (name.to_owned(), address("198.51.100.7")))
            .collect();
    names.insert("inside.example".to_owned(), address("10.0.0.8"));
    guard_on(policy, Stage { names, server, ..Stage::default() }, deadline_unix_ms)
}

/// Makes a guard on this stage.
pub(super) fn guard_on(policy: Policy, stage: Stage, deadline_unix_ms: Option<u64>) -> (Arc<Guard>, Log) {
    let log = Log::default();
    let config = GuardConfig {
        workflow: workflow(),
        policy,
        surroundings: Surroundings { host_gateway: stage.host, ..Surroundings::default() },
        deadline_unix_ms,
        connections: ConnectionBounds::MOST,
        start: Start::default(),
        notice: None,
        planned: Default::default(),
    };
    let events = Events::new(workflow(), Box::new(log.clone()));
    let limits = Limits::new(1 << 16, config.connections);
    (Arc::new(Guard::new(config, events, Outside::Stage(stage), limits)), log)
}

pub(crate) fn stage(guard: &Guard) -> &Stage {
    match &guard.outside {
        Outside::Stage(stage) => stage,
        Outside::World(_) => panic!("tests have a stage"),
    }
}

/// Makes a guard of a policy, whose stage has these names at one address.
pub(crate) fn of_policy(policy: Policy, names: &[&str], address: IpAddr, server: SocketAddr) -> Arc<Guard> {
    let names = names.iter().map(|name| ((*name).to_owned(), vec![address])).collect();
    guard_on(policy, Stage { names, server: Some(server), ..Stage::default() }, None).0
}

/// Returns the permits for which the fence lets packets through to this guard.
pub(crate) fn permits(guard: &Guard, policy: &Policy) -> Vec<netpolicy::ruleset::Permit> {
    guard.names.permits(policy)
}

/// Counts the guard's dials.
pub(crate) fn dials(guard: &Guard) -> usize {
    stage(guard).dialled.lock().unwrap().len()
}

/// Returns the address to which an agent connects for a target: for a name, the filter's answer, if
/// any.
pub(crate) async fn address_of(guard: &Guard, target: &Target) -> Option<IpAddr> {
    let name = match target {
        Target::Name(name) => name,
        Target::Address(address) => return Some(*address),
    };
    let found = match guard.names.find(name) {
        NameState::Ask(verdict) => guard.names.ask(name, verdict, &guard.outside, &guard.events).await,
        found => found,
    };
    match found {
        NameState::Virtual(address) => Some(address.into()),
        NameState::Localhost => Some(std::net::Ipv4Addr::LOCALHOST.into()),
        _ => None,
    }
}

/// Serves the gate on a listening socket of a fence. To be called within a runtime.
pub(crate) async fn serve_gate(listener: std::os::fd::OwnedFd, guard: Arc<Guard>) {
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true).unwrap();
    super::gate::serve(TcpListener::from_std(listener).unwrap(), guard).await;
}

/// Reads refused packets into the guard's log.
pub(crate) fn read_refusals(nflog: std::os::fd::OwnedFd, guard: &Arc<Guard>) {
    super::refused::serve(nflog, Arc::clone(guard)).unwrap();
}

/// Writes what is counted.
pub(crate) fn finish(guard: &Guard) {
    guard.events.finish();
}

/// Returns a ClientHello that names a host.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    hello(Some(name), 1 << 14, 0)
}

/// Returns the virtual address of a permitted name.
pub(crate) fn virtual_address(guard: &Guard, name: &str) -> std::net::Ipv4Addr {
    match guard.names.map()[name] {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("virtual addresses are IPv4"),
    }
}

/// Connects as the agent to a name's virtual address, as the gate has it.
pub(crate) async fn connect(guard: &Arc<Guard>, name: &str, port: u16) -> TcpStream {
    connect_address(guard, virtual_address(guard, name), port).await
}

async fn connect_address(guard: &Arc<Guard>, address: std::net::Ipv4Addr, port: u16) -> TcpStream {
    let (agent, near) = pair().await;
    // As accepted connections have it of their listener.
    near.set_nodelay(true).unwrap();
    super::gate::admit(near, std::net::SocketAddrV4::new(address, port), guard);
    agent
}

/// Starts a server that sends back what it gets.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    address
}

/// Starts a server that answers every request with the head it got; `switch` makes it a WebSocket
/// server that echoes.
pub(crate) async fn web(switch: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                loop {
                    let head = head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    if switch {
                        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        let (mut read, mut write) = stream.split();
                        tokio::io::copy(&mut read, &mut write).await.ok();
                        return;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

/// Reads the head of a message.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn read_all(stream: &mut TcpStream) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut all = Vec::new();
    match tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all)).await.unwrap() {
        Ok(_) => Ok(all),
        Err(error) => Err(error.kind()),
    }
}

pub(crate) fn reasons(log: &Log) -> Vec<String> {
    log.lines()
        .iter()
        .filter(|line| line["verdict"] == "deny")
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits for something that another task does.
pub(super) async fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to be");
}

#[test]
fn with_the_network_denied_nothing_is_permitted() {
    let (guard, _) = guard_with(Policy { network_denied: true, ..policy() }, None, None);
    let name = netpolicy::host::HostName::parse("gitlab.com").unwrap();
    assert!(
        matches!(guard.names.find(&name), super::names::NameState::Refused(v) if v.reason == Reason::NetworkDenied)
    );
}
