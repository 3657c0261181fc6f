//! Tests that `explain` agrees with the fence about a connection: the kernel's rules, the names and
//! the gate are the real ones, and the world behind the gate is a stage that remembers each dial.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;

use netpolicy::decide::{Question, Target, decide};
use netpolicy::floor::Surroundings as Floor;
use netpolicy::host::HostName;
use netpolicy::policy::{Matcher, Policy, Protocol, Rule};
use netpolicy::ruleset::{self, RESERVED_PORTS};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::inside::guard::tests as guard;

/// Address of every name of the stage.
const REAL: &str = "198.51.100.7";
const NAMES: [&str; 6] =
    ["a.example", "b.a.example", "c.b.a.example", "d.example", "host.docker.internal", "localhost"];
const PORTS: [u16; 7] = [22, 53, 80, 443, 5432, 65053, 65443];

fn port() -> impl Strategy<Value = u16> {
    // Most questions are about what is often permitted.
    prop_oneof![4 => prop::sample::select(vec![22u16, 80, 443]), 2 => prop::sample::select(PORTS.to_vec())]
}

fn rule() -> impl Strategy<Value = Arc<Rule>> {
    let name = prop::sample::select(vec!["a.example", "*.a.example", ".d.example", "b.a.example"]);
    let range = prop::sample::select(vec![
        "198.51.100.64/26",
        "192.0.2.9/32",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "198.18.0.0/29",
        "8.8.0.0/16",
    ]);
    let ports = || prop::collection::vec(port(), 1..4);
    let protocol = prop::sample::select(vec![
        None,
        Some(Protocol::Tcp),
        Some(Protocol::Tls),
        Some(Protocol::Http),
        Some(Protocol::Auto),
    ]);
    prop_oneof![
        3 => (name, ports(), protocol).prop_map(|(name, ports, protocol)| guard::host(name, &ports, protocol)),
        2 => (range, ports()).prop_map(|(range, ports)| {
            guard::rule(Matcher::Cidr(range.parse().unwrap()), &ports, None)
        }),
    ]
}

fn denial() -> impl Strategy<Value = Arc<Rule>> {
    let name = prop::sample::select(vec!["b.a.example", "*.d.example", "c.b.a.example"]);
    prop_oneof![
        (name, prop::collection::vec(port(), 0..2)).prop_map(|(name, ports)| guard::host(name, &ports, None)),
        Just(guard::rule(Matcher::Cidr("8.8.8.0/24".parse().unwrap()), &[], None)),
        Just(guard::rule(Matcher::Cidr("198.51.100.0/28".parse().unwrap()), &[443], None)),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let denials = prop::collection::vec(denial(), 0..2);
    let network = (prop::bool::weighted(0.05), prop::bool::weighted(0.3));
    (prop::collection::vec(rule(), 1..6), denials, network).prop_map(|(allow, deny, (none, observed))| {
        let mut policy = Policy { allow, deny, ..Policy::nothing() };
        policy.network_denied = none;
        policy.network_observed = observed;
        policy
    })
}

fn target() -> impl Strategy<Value = Target> {
    let address = prop::sample::select(vec![
        "198.51.100.70",
        "198.51.100.1",
        "192.0.2.9",
        "10.1.2.3",
        "8.8.8.8",
        "8.8.4.4",
        "169.254.169.254",
        "127.0.0.1",
        "127.0.0.11",
        "198.18.0.2",
        "198.18.0.1",
        "25.0.255.9",
        "::1",
        "2001:db8::7",
    ]);
    let name = |names: &[&'static str]| {
        prop::sample::select(names.to_vec()).prop_map(|name| Target::Name(HostName::parse(name).unwrap()))
    };
    prop_oneof![
        2 => name(&NAMES[..4]),
        1 => name(&NAMES),
        2 => address.prop_map(|text| Target::Address(text.parse().unwrap())),
    ]
}

/// Returns an agent's first bytes on a connection of this protocol.
fn words(protocol: Protocol, name: &str) -> Vec<u8> {
    match protocol {
        Protocol::Tls => guard::client_hello(name),
        Protocol::Http => format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").into_bytes(),
        Protocol::Tcp | Protocol::Auto => b"SSH-2.0-something\r\n".to_vec(),
    }
}

#[test]
fn what_explain_says_is_what_happens() {
    in_namespace(|neighbour| {
        let (surroundings, held, _) = make(&config()).unwrap();
        let frames = neighbour.heard();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(guard::echo());
        let (permitted, refused) = (RefCell::new([0usize; 4]), Cell::new(0usize));
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(
            Config { cases: 40, failure_persistence: None, ..Config::default() },
            rng,
        );
        let questions = prop::collection::vec((target(), port()), 12);
        runner
            .run(&(policy(), questions), |(policy, questions)| {
                let guard = guard::of_policy(policy.clone(), &NAMES, REAL.parse().unwrap(), server);
                let plan =
                    FencePlan { permits: guard::permits(&guard, &policy), ..surroundings.plan(&config()) };
                rules::replace(&plan, rules::Logging::IfPossible).unwrap();
                let gate =
                    runtime.spawn(guard::serve_gate(held.gate.try_clone().unwrap(), Arc::clone(&guard)));
                for (target, port) in questions {
                    let mut question = Question::about(&target, crate::host::clock::today()).port(port);
                    if matches!(target, Target::Name(_)) {
                        question = question.address(REAL.parse().unwrap());
                    }
                    let verdict = decide(&policy, &Floor::default(), &question);
                    let name = match &target {
                        Target::Name(name) => name.to_string(),
                        Target::Address(address) => address.to_string(),
                    };
                    let protocol = verdict.protocol.unwrap_or(Protocol::Tcp);
                    let reached = runtime.block_on(async {
                        let Some(address) = guard::address_of(&guard, &target).await else { return false };
                        let before = guard::dials(&guard);
                        say(SocketAddr::new(address, port), &words(protocol, &name)).await;
                        guard::dials(&guard) > before
                    });
                    prop_assert_eq!(
                        reached,
                        verdict.allowed,
                        "{}:{} {:?}: {:?}\n{:#?}",
                        target,
                        port,
                        verdict.protocol,
                        verdict.reason,
                        policy.allow.iter().map(|rule| (&rule.matcher, &rule.ports)).collect::<Vec<_>>()
                    );
                    prop_assert!(!(verdict.allowed && RESERVED_PORTS.contains(&port)));
                    if verdict.allowed {
                        permitted.borrow_mut()[protocol as usize] += 1;
                    } else {
                        refused.set(refused.get() + 1);
                    }
                }
                gate.abort();
                Ok(())
            })
            .unwrap();
        // The control: a test in which nothing is permitted proves nothing.
        let enough = permitted.borrow().iter().all(|count| *count > 2) && refused.get() > 50;
        assert!(enough, "{permitted:?} {refused:?}");
        assert_eq!(neighbour.heard(), frames, "frames reached the neighbour");
    });
}

/// Connects, says something, and waits for an answer or the end. Nobody answers for the filter
/// here.
async fn say(to: SocketAddr, words: &[u8]) {
    let patience = Duration::from_millis(if to.port() == ruleset::FILTER_PORT { 50 } else { 5000 });
    let conversation = async {
        let mut stream = tokio::net::TcpStream::connect(to).await?;
        stream.write_all(words).await?;
        stream.read_u8().await
    };
    // Whatever becomes of it: what counts is whether the gate dialled.
    let _ = tokio::time::timeout(patience, conversation).await;
}

/// Shows that a datagram to any port but the filter's is an error at once, whatever the policy
/// permits by TCP.
#[test]
fn datagrams_are_refused_whatever_is_permitted() {
    in_namespace(|_| {
        let (_surroundings, held, _) = make(&config()).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for (address, port) in
            [("25.0.0.1", 443), ("198.51.100.70", 5432), ("8.8.8.8", 443), ("10.1.2.3", 22)]
        {
            let refused = socket.send_to(b"x", (address, port)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{address}:{port}");
            socket.send_to(b"question", (address, ruleset::FILTER_PORT)).unwrap();
            let filter = UdpSocket::from(held.dns_udp.try_clone().unwrap());
            filter.set_nonblocking(false).unwrap();
            filter.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            assert_eq!(filter.recv(&mut [0; 16]).unwrap(), 8, "port 53 of {address} is the filter's");
        }
    });
}
