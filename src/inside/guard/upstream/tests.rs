//! A stage instead of the world, and what the guard does on it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::sync::Arc;

use netpolicy::host::HostPattern;
use netpolicy::host_access::HostAccess;
use netpolicy::policy::{Policy, Protocol, Rule};
use netpolicy::settings::{self, Direct};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::tests::{connect, eventually, guard_on, host, read_all, reasons, stage};
use super::super::tls::tests::hello;
use super::*;

/// Fixed names; every dial goes to one place, and is remembered.
#[derive(Default)]
pub(crate) struct Stage {
    /// Names and their addresses.
    pub(crate) names: HashMap<String, Vec<IpAddr>>,
    /// Address that every dial reaches.
    pub(crate) server: Option<SocketAddr>,
    /// Addresses that were dialled.
    pub(crate) dialled: Mutex<Vec<SocketAddr>>,
    /// Number of questions to the upstream.
    pub(crate) questions: AtomicUsize,
    /// The proxy, if there is one.
    pub(crate) proxy: Option<Proxy>,
    /// Address of the host.
    pub(crate) host: Option<IpAddr>,
    /// Action that is taken during every dial.
    pub(crate) meanwhile: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Stage {
    /// Resolves a name on the stage. A name that is not there does not exist; one without addresses
    /// cannot be asked about.
    pub(crate) fn resolve(&self, name: &HostName) -> Result<Resolution, String> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        match self.names.get(name.as_str()) {
            None => Ok(Resolution::NoName),
            Some(none) if none.is_empty() => Err("no answer".to_owned()),
            Some(addresses) => Ok(Resolution::Addresses(addresses.clone())),
        }
    }

    pub(crate) async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().unwrap().push(to);
        if let Some(meanwhile) = &*self.meanwhile.lock().unwrap() {
            meanwhile();
        }
        match self.server {
            Some(server) => TcpStream::connect(server).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn policy(rules: Vec<Arc<Rule>>) -> Policy {
    Policy { allow: rules, ..Policy::nothing() }
}

fn by_proxy(pattern: &str, ports: &[u16]) -> Arc<Rule> {
    Arc::new(Rule { resolved_by: ResolvedBy::Proxy, ..(*host(pattern, ports, None)).clone() })
}

/// Starts a proxy that answers every CONNECT so, then says what it was asked and echoes. Without an
/// answer it is silent.
async fn proxy_server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let asked = String::from_utf8(head).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer.contains(" 200 ") {
                    stream.write_all(asked.lines().next().unwrap().as_bytes()).await.unwrap();
                    stream.write_all(b"\n").await.unwrap();
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                } else if answer.is_empty() {
                    // Until the other end has had enough.
                    stream.read_u8().await.ok();
                }
            });
        }
    });
    address
}

fn corporate(direct: Vec<Direct>) -> Proxy {
    let settings = settings::Proxy {
        server: Server::Address("10.0.0.8".parse().unwrap()),
        port: 3128,
        credentials_env: None,
        resolves_names: false,
        direct,
    };
    Proxy::new(&settings, None)
}

/// Makes a stage with a proxy; `lost.example` cannot be asked about, `inner.example` is unknown to
/// the resolver.
async fn behind_proxy(answer: &'static str, direct: Vec<Direct>) -> Stage {
    let names = [
        ("gitlab.test", addresses(&["198.51.100.7"])),
        ("mixed.example", addresses(&["198.51.100.7", "10.0.0.9"])),
        ("near.example", addresses(&["198.51.100.200", "198.51.100.7"])),
        ("lost.example", Vec::new()),
    ];
    Stage {
        names: names.into_iter().map(|(name, found)| (name.to_owned(), found)).collect(),
        server: Some(proxy_server(answer).await),
        proxy: Some(corporate(direct)),
        ..Stage::default()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// Every form of IPv6 that carries an IPv4 address, the private and the metadata one.
const EMBEDDED: [&str; 16] = [
    "::ffff:10.0.0.9",
    "::ffff:0:10.0.0.9",
    "::10.0.0.9",
    "64:ff9b::10.0.0.9",
    "64:ff9b:1::10.0.0.9",
    "64:ff9b:1:0a00:0:900::",
    "2002:0a00:0009::1",
    "2001:0:0a00:0009::",
    "2001:0:c633:6407:0:0:f5ff:fff6",
    "2606:4700::5efe:10.0.0.9",
    "2606:4700:0:0:200:5efe:10.0.0.9",
    "64:ff9b::169.254.169.254",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
];

#[tokio::test]
async fn no_form_of_a_rebinding_answer_is_dialled() {
    for address in EMBEDDED.iter().chain(&["10.0.0.9", "::1", "fe80::1", "0.0.0.0", "25.0.0.1"]) {
        let mut world = behind_proxy(OK, Vec::new()).await;
        world.names.insert("evil.example".to_owned(), addresses(&[address]));
        // Directly, and through a proxy, which would resolve it again.
        for proxied in [false, true] {
            let proxy = proxied.then(|| corporate(Vec::new()));
            let world = Stage { names: world.names.clone(), server: world.server, proxy, ..Stage::default() };
            let (guard, log) = guard_on(policy(vec![by_proxy("evil.example", &[443])]), world, None);
            let mut agent = connect(&guard, "evil.example", 443).await;
            agent.write_all(&hello(Some("evil.example"), 16_000, 0)).await.unwrap();
            assert_eq!(read_all(&mut agent).await.unwrap()[6], 49, "{address}");
            let reason = reasons(&log).pop().unwrap();
            assert!(reason.ends_with("-address"), "{address}: {reason}");
            assert!(stage(&guard).dialled.lock().unwrap().is_empty(), "{address}");
        }
    }
    // The same path leads out where the address is good.
    let (guard, log) =
        guard_on(policy(vec![host("gitlab.test", &[443], None)]), behind_proxy(OK, Vec::new()).await, None);
    let mut agent = connect(&guard, "gitlab.test", 443).await;
    let bytes = hello(Some("gitlab.test"), 16_000, 0);
    agent.write_all(&bytes).await.unwrap();
    agent.shutdown().await.unwrap();
    let answer = read_all(&mut agent).await.unwrap();
    assert!(answer.starts_with(b"CONNECT gitlab.test:443 HTTP/1.1\n"), "{answer:?}");
    assert!(answer.ends_with(&bytes));
    assert_eq!(reasons(&log), [""; 0]);
}

#[tokio::test]
async fn whom_the_proxy_is_asked_for() {
    let direct = vec![
        Direct::Host(HostPattern::parse(".corp.example").unwrap()),
        Direct::Cidr("198.51.100.128/25".parse().unwrap()),
    ];
    let mut world = behind_proxy(OK, direct).await;
    world.names.insert("git.corp.example".to_owned(), addresses(&["198.51.100.9"]));
    let rules = vec![
        host("gitlab.test", &[443], Some(netpolicy::policy::Protocol::Tcp)),
        host("near.example", &[443], Some(netpolicy::policy::Protocol::Tcp)),
        host("git.corp.example", &[443], Some(netpolicy::policy::Protocol::Tcp)),
        host("mixed.example", &[443], Some(netpolicy::policy::Protocol::Tcp)),
        host("lost.example", &[443], Some(netpolicy::policy::Protocol::Tcp)),
        Arc::new(Rule {
            protocol: Some(netpolicy::policy::Protocol::Tcp),
            ..(*by_proxy("inner.example", &[22])).clone()
        }),
    ];
    let (guard, log) = guard_on(policy(rules), world, None);
    let mut seen = Vec::new();
    for (name, port) in [
        ("gitlab.test", 443),
        ("near.example", 443),
        ("git.corp.example", 443),
        ("mixed.example", 443),
        ("lost.example", 443),
        ("inner.example", 22),
    ] {
        let dials = stage(&guard).dialled.lock().unwrap().len();
        let events = log.lines().len();
        let mut agent = connect(&guard, name, port).await;
        agent.write_all(b"\r\n\r\n").await.unwrap();
        eventually(|| log.lines().len() > events).await;
        drop(agent);
        let event = log.lines()[events].clone();
        let dialled: Vec<String> =
            stage(&guard).dialled.lock().unwrap()[dials..].iter().map(ToString::to_string).collect();
        seen.push(format!(
            "{name}: {} resolver={} address={} dialled={}{}",
            event["reason"].as_str().unwrap(),
            event["resolver"],
            event["address"],
            dialled.join(" "),
            event["error"].as_str().map(|error| format!(" {error}")).unwrap_or_default()
        ));
        eventually(|| event["verdict"] == "deny" || log.lines().len() > events + 1).await;
    }
    insta::assert_snapshot!(seen.join("\n"), @r#"
    gitlab.test: allowed resolver="guard" address=null dialled=10.0.0.8:3128
    near.example: allowed resolver="guard" address="198.51.100.200" dialled=198.51.100.200:443
    git.corp.example: allowed resolver="guard" address="198.51.100.9" dialled=198.51.100.9:443
    mixed.example: private-address resolver=null address="10.0.0.9" dialled=
    lost.example: resolve-failed resolver=null address=null dialled= no answer; if only the proxy can resolve it, the rule must say `resolved-by: proxy`
    inner.example: allowed resolver="proxy" address=null dialled=10.0.0.8:3128
    "#);
}

#[tokio::test]
async fn what_the_proxy_refuses_is_told() {
    let mut seen = Vec::new();
    for answer in ["HTTP/1.1 407 No\r\n\r\n", "HTTP/1.1 403 No\r\n\r\n", "HTTP/1.1 502 No\r\n\r\n"] {
        let (guard, log) = guard_on(
            policy(vec![host("gitlab.test", &[443], None)]),
            behind_proxy(answer, Vec::new()).await,
            None,
        );
        let mut agent = connect(&guard, "gitlab.test", 443).await;
        agent.write_all(&hello(Some("gitlab.test"), 16_000, 0)).await.unwrap();
        assert_eq!(read_all(&mut agent).await.unwrap()[6], 80);
        let event = log.lines().pop().unwrap();
        seen.push(format!("{} {}", event["reason"].as_str().unwrap(), event["error"].as_str().unwrap()));
    }
    insta::assert_snapshot!(seen.join("\n"), @r"
    connect-failed the proxy wants credentials (407): name their variable by `credentials-env`
    connect-failed the proxy forbids it (403)
    connect-failed the proxy cannot reach it (502)
    ");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_not_waited_for_forever() {
    let silent = behind_proxy("", Vec::new()).await;
    let (guard, log) = guard_on(policy(vec![host("gitlab.test", &[443], None)]), silent, None);
    let mut agent = connect(&guard, "gitlab.test", 443).await;
    agent.write_all(&hello(Some("gitlab.test"), 16_000, 0)).await.unwrap();
    // Bytes of this test pass in real time; only waiting is short.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(log.lines().is_empty(), "{:?}", log.lines());
    tokio::time::pause();
    let mut alert = [0; 7];
    let seen = tokio::time::timeout(std::time::Duration::from_secs(60), agent.read_exact(&mut alert));
    seen.await.expect("an answer").unwrap();
    assert_eq!(alert[6], 80);
    let event = log.lines().pop().unwrap();
    assert_eq!(event["reason"], "connect-failed");
    assert_eq!(event["error"], "the proxy did not answer within 15 s");
}

#[tokio::test]
async fn a_wildcard_needs_no_resolver_where_the_proxy_has_one() {
    let (guard, _) = guard_on(
        policy(vec![by_proxy("*.inner.example", &[443]), host("*.wild.example", &[443], None)]),
        behind_proxy(OK, Vec::new()).await,
        None,
    );
    let exists =
        async |name: &str, by_proxy| guard.outside.exists(&HostName::parse(name).unwrap(), by_proxy).await;
    assert_eq!(exists("a.inner.example", true).await, Ok(true));
    assert_eq!(exists("a.inner.example", false).await, Ok(false));
    assert_eq!(exists("lost.example", true).await, Ok(true));
    assert_eq!(exists("lost.example", false).await, Err("no answer".to_owned()));
}

#[tokio::test]
async fn the_host_is_reached_by_its_alias_on_named_ports_only() {
    let rule =
        Rule { host_access: HostAccess::Address, ..(*host("host.docker.internal", &[3000], None)).clone() };
    let host_address: IpAddr = "172.17.0.1".parse().unwrap();
    for known in [Some(host_address), None] {
        let world = Stage { host: known, ..behind_proxy(OK, Vec::new()).await };
        let (guard, log) = guard_on(policy(vec![Arc::new(rule.clone())]), world, None);
        let mut agent = connect(&guard, "host.docker.internal", 3001).await;
        assert!(read_all(&mut agent).await.is_err());
        let agent = connect(&guard, "host.docker.internal", 3000).await;
        let dialled = || stage(&guard).dialled.lock().unwrap().clone();
        match known {
            Some(address) => {
                eventually(|| !dialled().is_empty()).await;
                assert_eq!(dialled(), [SocketAddr::new(address, 3000)]);
                assert_eq!(reasons(&log), ["port"]);
            }
            None => {
                eventually(|| reasons(&log).len() == 2).await;
                assert_eq!(reasons(&log), ["port", "connect-failed"]);
                assert!(dialled().is_empty());
            }
        }
        drop(agent);
    }
}

#[tokio::test]
async fn an_address_that_another_rule_permits_has_the_check_of_that_rule() {
    let raw = host("mixed.test", &[3000], Some(Protocol::Tcp));
    let checked = host("mixed.test", &[3000], Some(Protocol::Http));
    let within = Rule { private: vec!["10.0.0.0/8".parse().unwrap()], ..(*checked).clone() };
    for (address, dialled) in [("10.0.0.8", 0), ("198.51.100.7", 1)] {
        let names = [("mixed.test".to_owned(), addresses(&[address]))].into();
        let world = Stage { names, ..Stage::default() };
        let (guard, log) = guard_on(policy(vec![raw.clone(), Arc::new(within.clone())]), world, None);
        let mut agent = connect(&guard, "mixed.test", 3000).await;
        assert!(read_all(&mut agent).await.is_err());
        assert_eq!(stage(&guard).dialled.lock().unwrap().len(), dialled, "{address}: {:?}", log.lines());
    }
}
