//! The guard on loopback: policy and names are real, what is outside is a stage that remembers each dial.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use netpolicy::decide::Reason;
use netpolicy::floor::Surroundings;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Protocol, Rule};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::events::Events;
use super::events::tests::Log;
use super::limits::Limits;
use super::splice::tests::pair;
use super::tls::tests::{hello, hello_with, names, vector};
use super::upstream::Outside;
use super::upstream::tests::Stage;
use super::{Guard, dns, dns_server};
use crate::handover::GuardConfig;

mod fuzzing;
mod http_ports;
mod other_ports;
mod tls_ports;
mod whole_gate;

fn rule(matcher: Matcher, ports: &[u16], protocol: Option<Protocol>) -> Arc<Rule> {
    let origin = Origin { layer: Layer::Run, file: "t.yml".to_owned(), line: 1, text: "a rule".to_owned() };
    Arc::new(Rule { protocol, ..Rule::new(matcher, ports.to_vec(), origin) })
}

pub fn host(pattern: &str, ports: &[u16], protocol: Option<Protocol>) -> Arc<Rule> {
    rule(Matcher::Host(HostPattern::parse(pattern).unwrap()), ports, protocol)
}

pub fn policy() -> Policy {
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

/// A guard whose world is `server`.
pub fn guard_with(
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

/// A guard on this stage.
pub fn guard_on(policy: Policy, stage: Stage, deadline_unix_ms: Option<u64>) -> (Arc<Guard>, Log) {
    let log = Log::default();
    let config = GuardConfig {
        workflow: "w".to_owned(),
        policy,
        surroundings: Surroundings { host_gateway: stage.host, ..Surroundings::default() },
        digest: String::new(),
        deadline_unix_ms,
        image: String::new(),
        engine: String::new(),
    };
    let events = Events::new("w", Box::new(log.clone()));
    (Arc::new(Guard::new(config, events, Outside::Stage(stage), Limits::new(1 << 16))), log)
}

pub fn stage(guard: &Guard) -> &Stage {
    match &guard.outside {
        Outside::Stage(stage) => stage,
        Outside::World(_) => panic!("tests have a stage"),
    }
}

/// The virtual address of a permitted name.
fn virtual_address(guard: &Guard, name: &str) -> std::net::Ipv4Addr {
    match guard.names.map()[name] {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("virtual addresses are IPv4"),
    }
}

/// A connection of the agent to a name's virtual address, as the gate has it.
pub async fn connect(guard: &Arc<Guard>, name: &str, port: u16) -> TcpStream {
    connect_address(guard, virtual_address(guard, name), port).await
}

async fn connect_address(guard: &Arc<Guard>, address: std::net::Ipv4Addr, port: u16) -> TcpStream {
    let (agent, near) = pair().await;
    super::gate::admit(near, std::net::SocketAddrV4::new(address, port), guard);
    agent
}

/// A server that sends back what it gets.
pub async fn echo() -> SocketAddr {
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

/// A server that answers every request with the head it got; `switch` makes it a WebSocket server that echoes.
async fn web(switch: bool) -> SocketAddr {
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

/// The head of a message.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

pub async fn read_all(stream: &mut TcpStream) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut all = Vec::new();
    match tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all)).await.unwrap() {
        Ok(_) => Ok(all),
        Err(error) => Err(error.kind()),
    }
}

pub fn reasons(log: &Log) -> Vec<String> {
    log.lines()
        .iter()
        .filter(|line| line["verdict"] == "deny")
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits for something that another task does.
pub async fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to be");
}

/// One question over UDP and its answer.
async fn ask(guard: &Arc<Guard>, name: &str, kind: RecordType) -> Message {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap();
    let task = tokio::spawn(dns_server::serve_udp(server, Arc::clone(guard)));
    let agent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    agent.send_to(&question(name, kind), to).await.unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = agent.recv_from(&mut buffer).await.unwrap();
    task.abort();
    assert_eq!(from, to);
    assert!(length <= 512);
    Message::from_vec(&buffer[..length]).unwrap()
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

#[tokio::test]
async fn the_table_of_answers() {
    let (guard, _) = guard_with(policy(), None, None);
    let v4 = virtual_address(&guard, "gitlab.com").to_string();
    let pointer = v4.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa.";
    for (name, kind, code, data) in [
        ("gitlab.com.", RecordType::A, ResponseCode::NoError, Some(v4.as_str())),
        ("GitLab.COM.", RecordType::A, ResponseCode::NoError, Some(v4.as_str())),
        ("gitlab.com.", RecordType::AAAA, ResponseCode::NoError, None),
        ("gitlab.com.", RecordType::HTTPS, ResponseCode::NoError, None),
        ("gitlab.com.", RecordType::SVCB, ResponseCode::NoError, None),
        ("gitlab.com.", RecordType::TXT, ResponseCode::NoError, None),
        ("gitlab.com.", RecordType::ANY, ResponseCode::NoError, None),
        ("com.", RecordType::A, ResponseCode::NoError, None),
        ("wild.example.", RecordType::NS, ResponseCode::NoError, None),
        (".", RecordType::NS, ResponseCode::NoError, None),
        ("localhost.", RecordType::A, ResponseCode::NoError, Some("127.0.0.1")),
        ("x.localhost.", RecordType::A, ResponseCode::NoError, Some("127.0.0.1")),
        ("localhost.", RecordType::AAAA, ResponseCode::NoError, None),
        (pointer.as_str(), RecordType::PTR, ResponseCode::NoError, Some("gitlab.com.")),
        ("1.0.0.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain, None),
        ("x.gitlab.com.", RecordType::A, ResponseCode::NXDomain, None),
        ("evil.example.", RecordType::A, ResponseCode::NXDomain, None),
        ("evil.example.", RecordType::TXT, ResponseCode::NXDomain, None),
        ("gitlab\\.com.", RecordType::A, ResponseCode::NXDomain, None),
        ("host.docker.internal.", RecordType::A, ResponseCode::NXDomain, None),
    ] {
        let answer = ask(&guard, name, kind).await;
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert_eq!(answer.queries[0].name().to_ascii(), name, "the case is the asker's");
        let got = answer.answers.first().map(|record| match &record.data {
            RData::A(address) => address.0.to_string(),
            RData::PTR(name) => name.0.to_ascii(),
            other => other.to_string(),
        });
        assert_eq!(got.as_deref(), data, "{name} {kind}");
        if data.is_none() {
            let RData::SOA(soa) = &answer.authorities[0].data else { panic!("no SOA: {name}") };
            assert!(code != ResponseCode::NXDomain || soa.minimum == 1);
        }
        let explained = answer.edns.unwrap().option(15u16.into()).is_some();
        assert_eq!(explained, code == ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(stage(&guard).questions.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn wildcards_ask_once_and_within_their_budget() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let code = async |name: &str| ask(&guard, name, RecordType::A).await.metadata.response_code;
    for _ in 0..3 {
        assert_eq!(code("a.wild.example.").await, ResponseCode::NoError);
        assert_eq!(code("none.wild.example.").await, ResponseCode::NXDomain);
    }
    assert_eq!(code("bad.wild.example.").await, ResponseCode::NXDomain);
    assert_eq!(stage(&guard).questions.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(code("b.wild.example.").await, ResponseCode::NXDomain);
    assert_eq!(stage(&guard).questions.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(reasons(&log), ["denied-by-rule", "name-budget"]);
    let mut agent = connect(&guard, "a.wild.example", 443).await;
    agent.write_all(&hello(Some("a.wild.example"), 16_000, 0)).await.unwrap();
    let mut back = [0; 3];
    agent.read_exact(&mut back).await.unwrap();
    assert_eq!(back, [0x16, 3, 1]);
}

#[tokio::test]
async fn dns_over_tcp_takes_pieces_and_several_questions() {
    let (guard, _) = guard_with(policy(), None, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(dns_server::serve_tcp(listener, Arc::clone(&guard)));
    let mut agent = TcpStream::connect(to).await.unwrap();
    agent.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    for name in ["gitlab.com.", "evil.example."] {
        let question = question(name, RecordType::A);
        bytes.extend(u16::try_from(question.len()).unwrap().to_be_bytes());
        bytes.extend(question);
    }
    for byte in bytes {
        agent.write_all(&[byte]).await.unwrap();
    }
    for code in [ResponseCode::NoError, ResponseCode::NXDomain] {
        let mut answer = vec![0; usize::from(agent.read_u16().await.unwrap())];
        agent.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, code);
    }
}

#[test]
fn questions_that_are_none() {
    let code = |bytes: &[u8]| match dns::read(bytes) {
        dns::Read::Silence => None,
        dns::Read::Wrong(answer) => Some(Message::from_vec(&answer).unwrap().metadata.response_code),
        dns::Read::Asked(_) => Some(ResponseCode::NoError),
    };
    let good = question("gitlab.com.", RecordType::A);
    assert_eq!(code(&good), Some(ResponseCode::NoError));
    assert_eq!(code(&good[..11]), None);
    assert_eq!(code(&good[..20]), Some(ResponseCode::FormErr));
    let with = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    assert_eq!(code(&with(2, 0x81)), None, "an answer");
    assert_eq!(code(&with(2, u8::from(OpCode::Update) << 3)), Some(ResponseCode::NotImp));
    assert_eq!(code(&with(5, 0)), Some(ResponseCode::FormErr), "no question");
    assert_eq!(code(&with(5, 2)), Some(ResponseCode::FormErr), "two questions");
    assert_eq!(code(&with(12, 0xc0)), Some(ResponseCode::FormErr), "a pointer to nowhere");
    let class = 12 + 12 + 2 + 1;
    assert_eq!(code(&with(class, 3)), Some(ResponseCode::Refused), "CHAOS");
    let version = good.len() - 5;
    // BADVERS and BADSIG are one number.
    assert_eq!(code(&with(version, 1)).map(u16::from), Some(u16::from(ResponseCode::BADVERS)));
}

#[test]
fn with_the_network_denied_nothing_is_permitted() {
    let (guard, _) = guard_with(Policy { network_denied: true, ..policy() }, None, None);
    let name = netpolicy::host::HostName::parse("gitlab.com").unwrap();
    assert!(
        matches!(guard.names.find(&name), super::names::Found::Refused(v) if v.reason == Reason::NetworkDenied)
    );
}

proptest! {
    #[test]
    fn arbitrary_questions_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        dns::read(&bytes);
    }

    #[test]
    fn bent_questions_are_survived_and_answered(at in 0usize..40, to in any::<u8>(), cut in 0usize..60) {
        let mut bytes = question("gitlab.com.", RecordType::A);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        bytes.truncate(cut);
        if let dns::Read::Asked(asked) = dns::read(&bytes) {
            let answer = asked.write(&dns::Answer::Refused(Reason::NotAllowed), 512);
            prop_assert!(answer.len() <= 512);
        }
    }
}
