//! The filter on loopback, asked as an agent asks; what is outside is a stage that counts
//! questions.

mod allocations;
mod budget;
mod tcp;

use std::net::UdpSocket as StdSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{RData, RecordType};
use netpolicy::host::HostName;
use netpolicy::policy::Policy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::*;
use crate::inside::guard::dns::tests::question;
use crate::inside::guard::events::tests::Log;
use crate::inside::guard::tests::{
    eventually, guard_on, guard_with, host, policy, reasons, stage, virtual_address,
};
use crate::inside::guard::upstream::tests::Stage;

/// A filter that answers, and a client of it.
struct Served {
    guard: Arc<Guard>,
    log: Log,
    udp: UdpSocket,
    tcp: std::net::SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Served {
    async fn of(policy: Policy) -> Served {
        Served::until(policy, None).await
    }

    async fn until(policy: Policy, deadline: Option<u64>) -> Served {
        let (guard, log) = guard_with(policy, None, deadline);
        let server = StdSocket::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(server.local_addr().unwrap()).await.unwrap();
        let tcp = listener.local_addr().unwrap();
        let tasks = [
            tokio::spawn(serve_udp(server, Arc::clone(&guard))),
            tokio::spawn(serve_tcp(listener, Arc::clone(&guard))),
        ];
        Served { guard, log, udp, tcp, tasks }
    }

    async fn receive(&self) -> Message {
        let mut buffer = [0; 2048];
        let length =
            tokio::time::timeout(Duration::from_secs(5), self.udp.recv(&mut buffer)).await.unwrap().unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.udp.send(&question(name, kind)).await.unwrap();
        self.receive().await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    async fn code(&self, name: &str, kind: RecordType) -> ResponseCode {
        self.ask(name, kind).await.metadata.response_code
    }

    fn questions(&self) -> usize {
        stage(&self.guard).questions.load(Ordering::SeqCst)
    }
}

/// Sends a message over TCP.
async fn say(stream: &mut TcpStream, message: &[u8]) {
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    stream.write_all(&framed).await.unwrap();
}

/// Reads the next message of a connection; nothing at its end.
async fn hear(stream: &mut TcpStream) -> Option<Message> {
    let hear = async {
        let mut answer = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut answer).await.ok()?;
        Some(Message::from_vec(&answer).unwrap())
    };
    tokio::time::timeout(Duration::from_secs(120), hear).await.unwrap()
}

/// Returns an answer in one line.
fn shown(message: &Message) -> String {
    let mut line = message.metadata.response_code.to_string().to_uppercase();
    for record in &message.answers {
        let data = match &record.data {
            RData::A(address) => address.0.to_string(),
            RData::PTR(name) => name.0.to_ascii(),
            other => other.to_string(),
        };
        line.push_str(&format!(", {} {} {data}", record.ttl, record.record_type()));
    }
    for record in &message.authorities {
        let RData::SOA(soa) = &record.data else { panic!("no SOA") };
        assert_eq!(record.ttl, soa.minimum);
        line.push_str(&format!(", SOA {}", soa.minimum));
    }
    let edns = message.edns.as_ref().expect("EDNS is answered with EDNS");
    if let Some(EdnsOption::Unknown(_, error)) = edns.option(15u16.into()) {
        let text = String::from_utf8_lossy(&error[2..]);
        line.push_str(&format!(", EDE {} {text}", u16::from_be_bytes([error[0], error[1]])));
    }
    line
}

#[tokio::test]
async fn the_table_of_answers() {
    let served = Served::of(policy()).await;
    let a = virtual_address(&served.guard, "gitlab.com").to_string();
    let reverse = a.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa.";
    let mut asked = vec![
        ("gitlab.com.", "A"),
        ("GitLab.COM.", "A"),
        ("com.", "A"),
        ("example.", "A"),
        ("example.", "DS"),
        ("wild.example.", "NS"),
        (".", "NS"),
        (".", "DNSKEY"),
        ("localhost.", "A"),
        ("x.LocalHost.", "A"),
        ("localhost.", "AAAA"),
        (&reverse, "PTR"),
        (&reverse, "SOA"),
        ("1.0.0.127.in-addr.arpa.", "PTR"),
        ("250.0.0.25.in-addr.arpa.", "PTR"),
        ("1.0.0.10.in-addr.arpa.", "PTR"),
        ("x.gitlab.com.", "A"),
        ("xgitlab.com.", "A"),
        ("gitlab.com.evil.example.", "A"),
        ("evil.test.", "A"),
        ("evil.test.", "AAAA"),
        ("evil.test.", "TXT"),
        ("evil.test.", "NULL"),
        ("test.", "A"),
        ("bad.wild.example.", "A"),
        ("gitlab\\.com.", "A"),
        ("host.docker.internal.", "A"),
        ("metadata.google.internal.", "A"),
    ];
    for kind in ["AAAA", "HTTPS", "SVCB", "TXT", "NULL", "ANY", "MX", "SRV", "CNAME", "NS", "SOA", "CAA"] {
        asked.push(("gitlab.com.", kind));
    }
    let mut table = String::new();
    let mut stream = served.connect().await;
    for (name, kind) in asked {
        let kind: RecordType = kind.parse().unwrap();
        let answer = served.ask(name, kind).await;
        let line = shown(&answer);
        table.push_str(&format!("{name} {kind}: {line}\n"));
        assert_eq!(answer.queries[0].name().to_ascii(), name, "the case is the asker's");
        say(&mut stream, &question(name, kind)).await;
        assert_eq!(shown(&hear(&mut stream).await.unwrap()), line, "TCP, {name} {kind}");
        assert_eq!(shown(&served.ask(name, kind).await), line, "again, {name} {kind}");
    }
    insta::assert_snapshot!(table.replace(&a, "VIRTUAL").replace(&reverse, "REVERSE"));
    assert_eq!(served.questions(), 0, "nothing of this asks an upstream");
}

#[tokio::test]
async fn the_virtual_range_names_only_what_was_asked_for() {
    let served = Served::of(policy()).await;
    let reverse = |name: &str| {
        let address = virtual_address(&served.guard, name).to_string();
        address.split('.').rev().collect::<Vec<_>>().join(".") + ".in-addr.arpa."
    };
    let (asked, other) = (reverse("gitlab.com"), reverse("inside.example"));
    for kind in [RecordType::PTR, RecordType::SOA, RecordType::ANY] {
        for unasked in [&asked, &other] {
            assert_eq!(served.code(unasked, kind).await, ResponseCode::NXDomain, "{kind}");
        }
    }
    // Another type tells no address.
    served.ask("gitlab.com.", RecordType::AAAA).await;
    assert_eq!(served.code(&asked, RecordType::PTR).await, ResponseCode::NXDomain);
    served.ask("gitlab.com.", RecordType::A).await;
    let answer = shown(&served.ask(&asked, RecordType::PTR).await);
    assert!(answer.ends_with("PTR gitlab.com."), "{answer}");
    let refused = shown(&served.ask(&other, RecordType::PTR).await);
    // As an address that stands for nothing.
    assert_eq!(refused, shown(&served.ask("250.0.0.25.in-addr.arpa.", RecordType::PTR).await));
}

#[tokio::test]
async fn types_beyond_the_known_have_no_data() {
    let served = Served::of(policy()).await;
    for kind in 0..=u16::MAX {
        // One of a hundred, and the whole of the assigned range.
        let kind = RecordType::from(kind);
        if kind == RecordType::A || (u16::from(kind) > 270 && u16::from(kind) % 97 != 0) {
            continue;
        }
        let answer = served.ask("gitlab.com.", kind).await;
        assert_eq!(shown(&answer), "NO ERROR, SOA 60", "{kind}");
    }
    assert_eq!(served.questions(), 0);
}

#[tokio::test]
async fn other_rules_hold_at_once_and_no_address_changes() {
    let served = Served::of(policy()).await;
    served.ask("a.wild.example.", RecordType::A).await;
    let before = served.guard.names.map();
    let gitlab = shown(&served.ask("gitlab.com.", RecordType::A).await);
    let refused = shown(&served.ask("aaa.test.", RecordType::A).await);
    assert!(refused.contains("not-allowed"), "{refused}");

    let mut other = policy();
    other.dns.virtual_range = "25.99.0.0/16".parse().unwrap();
    other.allow = vec![host("aaa.test", &[443], None), host("gitlab.com", &[443], None)];
    served.guard.names.replace(other);
    assert_eq!(shown(&served.ask("gitlab.com.", RecordType::A).await), gitlab);
    assert!(shown(&served.ask("aaa.test.", RecordType::A).await).starts_with("NO ERROR, 60 A 25.0."));
    for gone in ["raw.example.", "a.wild.example."] {
        let answer = shown(&served.ask(gone, RecordType::A).await);
        assert!(answer.contains("not-allowed"), "{gone}: {answer}");
    }

    served.guard.names.replace(policy());
    let after = served.guard.names.map();
    assert!(before.iter().all(|(name, address)| after[name] == *address), "{before:?} {after:?}");
    assert_eq!(after.len(), before.len() + 1);
    // The wildcard's questions of before are spent and remembered.
    assert_eq!(served.code("a.wild.example.", RecordType::A).await, ResponseCode::NoError);
    assert_eq!(served.questions(), 1);
}

#[tokio::test]
async fn every_asker_gets_its_own_id_and_case_back() {
    let served = Served::of(policy()).await;
    let mut expected = Vec::new();
    for number in 0..200u16 {
        let name = if number % 3 == 0 { "gitlab.com." } else { "GITLAB.com." };
        let mut bytes = question(name, RecordType::A);
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        served.udp.send(&bytes).await.unwrap();
        expected.push((number, name.to_owned()));
    }
    for (number, name) in expected {
        let answer = served.receive().await;
        assert_eq!((answer.metadata.id, answer.queries[0].name().to_ascii()), (number, name));
        assert_eq!(answer.answers.len(), 1);
    }
}

#[tokio::test]
async fn repeats_are_counted_in_one_event() {
    let served = Served::of(policy()).await;
    for _ in 0..100 {
        served.ask("gitlab.com.", RecordType::A).await;
        served.ask("evil.test.", RecordType::A).await;
    }
    served.guard.events.finish();
    let count = |host: &str, verdict: &str| -> u64 {
        let lines = served.log.lines();
        let of_it = lines.iter().filter(|line| line["host"] == host && line["verdict"] == verdict);
        of_it.map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum()
    };
    assert_eq!(count("gitlab.com", "allow"), 100);
    assert_eq!(count("evil.test", "deny"), 100);
    assert!(served.log.lines().len() < 20);
}

#[tokio::test]
async fn after_the_deadline_no_name_is_known() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let served = Served::until(policy(), Some(u64::try_from(now.as_millis()).unwrap() + 400)).await;
    assert_eq!(served.code("gitlab.com.", RecordType::A).await, ResponseCode::NoError);
    tokio::time::sleep(Duration::from_millis(450)).await;
    let answer = shown(&served.ask("gitlab.com.", RecordType::A).await);
    assert!(answer.contains("EDE 15 deadline"), "{answer}");
}

#[tokio::test]
async fn hostile_datagrams_do_not_stop_the_answers() {
    let served = Served::of(policy()).await;
    let good = question("gitlab.com.", RecordType::A);
    let long = [&good[..], &vec![0; 3000]].concat();
    let mut answer = good.clone();
    answer[2] |= 0x80;
    for bytes in [&b""[..], b"x", &[0; 11], &[0xff; 12], &answer, &answer] {
        served.udp.send(bytes).await.unwrap();
    }
    served.udp.send(&long).await.unwrap();
    assert_eq!(served.receive().await.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(served.code("gitlab.com.", RecordType::A).await, ResponseCode::NoError);
}

#[tokio::test]
async fn the_thread_ends_with_its_task() {
    let (guard, _) = guard_with(policy(), None, None);
    let server = StdSocket::bind("127.0.0.1:0").unwrap();
    let task = tokio::spawn(serve_udp(server, Arc::clone(&guard)));
    eventually(|| Arc::strong_count(&guard) == 2).await;
    task.abort();
    eventually(|| Arc::strong_count(&guard) == 1).await;
}

/// Questions of every kind that clients and tunnels send.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        ("gitlab.com.", RecordType::A),
        ("gitLAB.com.", RecordType::AAAA),
        ("gitlab.com.", RecordType::HTTPS),
        ("com.", RecordType::NS),
        (".", RecordType::DNSKEY),
        ("a.wild.example.", RecordType::A),
        ("vaaaakardli.wild.example.", RecordType::NULL),
        ("x.localhost.", RecordType::A),
        ("1.0.0.25.in-addr.arpa.", RecordType::PTR),
        ("evil.test.", RecordType::TXT),
        ("_443._tcp.gitlab.com.", RecordType::TLSA),
        ("version.bind.", RecordType::ANY),
    ]
    .into_iter()
    .map(|(name, kind)| question(name, kind))
    .collect();
    // Without EDNS; with a cookie; in the CHAOS class.
    let plain = question("gitlab.com.", RecordType::A);
    let mut bare = plain[..plain.len() - 11].to_vec();
    bare[11] = 0;
    seeds.push(bare);
    let mut cookie = plain.clone();
    *cookie.last_mut().unwrap() = 12;
    cookie.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    seeds.push(cookie);
    let mut chaos = question("version.bind.", RecordType::TXT);
    let class = chaos.len() - 12;
    chaos[class] = 3;
    seeds.push(chaos);
    seeds
}

#[test]
fn fuzz_dns_questions() {
    use fuzz::proptest::{prop_assert, prop_assert_eq};

    let words: &[&[u8]] = &[
        b"\xc0\x0c",
        b"\xc0\x00",
        b"\xff\xff",
        b"\x3f",
        b"\x40",
        b"\x06gitlab\x03com\x00",
        b"\x04wild\x07example\x00",
        b"\x09localhost\x00",
        b"\x07in-addr\x04arpa\x00",
        b"\x00\x01\x00\x01",
        b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\xfa\x00\xff",
        b"xn--",
    ];
    let (guard, _) = guard_with(policy(), None, None);
    let range = policy().dns.virtual_range;
    let judge = |question: &[u8]| {
        let said = match step(&guard, question, None) {
            Step::Silence => {
                prop_assert!(question.len() < dns::HEADER || question[2] & 0x80 != 0);
                return Ok(None);
            }
            Step::Unanswered => return Err(proptest::test_runner::TestCaseError::fail("no condition holds")),
            Step::Later(asked, verdict) => {
                prop_assert_eq!(asked.kind(), RecordType::A);
                prop_assert!(
                    verdict.allowed
                        && matches!(&asked.subject, Subject::Name(name)
                    if name.as_str().ends_with(".wild.example") && name.as_str() != "bad.wild.example")
                );
                return Ok(None);
            }
            Step::Now(said) => said,
        };
        let answer = &said.bytes;
        prop_assert!(answer.len() <= dns::UDP_LIMIT);
        prop_assert_eq!(&answer[..2], &question[..2]);
        prop_assert!(answer[2] & 0x80 != 0);
        let message = Message::from_vec(answer).expect("an answer can be read");
        for record in &message.answers {
            let good = match &record.data {
                RData::A(address) => range.contains(&address.0) || address.0.is_loopback(),
                RData::PTR(_) => true,
                _ => false,
            };
            prop_assert!(good, "{record}");
        }
        Ok(said.lasting.map(|_| said.bytes))
    };
    fuzz::run("dns questions", &fuzz::bytes(seeds(), words, 1024), |input| {
        let first = judge(&input.0)?;
        // What may be kept is what would be said again.
        if first.is_some() {
            prop_assert_eq!(&first, &judge(&input.0)?);
        }
        prop_assert_eq!(stage(&guard).questions.load(Ordering::SeqCst), 0);
        Ok(())
    });
}
