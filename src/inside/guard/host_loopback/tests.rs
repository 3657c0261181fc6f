//! The way to the supervisor's loopback, with a supervisor that the tests play.

use netpolicy::host_access::HostAccess;
use netpolicy::policy::{Policy, Protocol, Rule};

use super::*;
use crate::inside::guard::tests::{connect, eventually, guard_with, host, read_all, reasons};
use crate::wire::carrier::{Accepted, CarrierError};
use crate::wire::control::Change;

const NAME: &str = "host.docker.internal";
const PORT: u16 = 3000;

fn policy() -> Policy {
    let rule = host(NAME, &[PORT], Some(Protocol::Tcp));
    let loopback = Rule { host_access: HostAccess::Loopback, ..(*rule).clone() };
    Policy { allow: vec![loopback.into()], ..Policy::nothing() }
}

/// A supervisor that carries, until it is dropped.
struct Supervisor {
    accepted: Accepted,
    _control: Conversation,
    driving: tokio::task::JoinHandle<Result<(), CarrierError>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Supervisor {
    async fn attach(guard: &Arc<Guard>) -> Supervisor {
        let (near, far) = UnixStream::pair().unwrap();
        tokio::spawn(attend(near, Arc::clone(guard)));
        let (mut accepted, driver) = carrier::accepting(far);
        let driving = tokio::spawn(driver);
        let mut control = accepted.next().await.unwrap();
        assert_eq!(control.read_u8().await.unwrap(), READY);
        eventually(|| guard.host_loopback.opener.read().unwrap().is_some()).await;
        Supervisor { accepted, _control: control, driving }
    }

    /// Takes the next connection, and answers so.
    async fn answer(&mut self, answer: LoopbackAnswer) -> Conversation {
        let mut conversation = self.accepted.next().await.unwrap();
        let request = LoopbackRequest::read(&mut conversation).await.unwrap();
        assert_eq!((request.name.as_str(), request.port), (NAME, PORT));
        conversation.write_u8(answer.byte()).await.unwrap();
        conversation.flush().await.unwrap();
        conversation
    }
}

fn to_the_host(access: HostAccess, protocol: Protocol) -> Arc<Rule> {
    let mut rule = Rule { host_access: access, ..(*host(NAME, &[PORT], Some(protocol))).clone() };
    rule.origin.text = format!("{access} {}", protocol.as_str());
    rule.into()
}

#[tokio::test]
async fn each_way_to_the_host_has_the_check_of_its_own_rule() {
    use Protocol::{Http, Tcp};
    let (address, loopback) = (HostAccess::Address, HostAccess::Loopback);
    let rules = [to_the_host(address, Tcp), to_the_host(loopback, Http)];
    let ceiling = |rules: &[Arc<Rule>]| netpolicy::policy::Ceiling {
        layer: netpolicy::policy::Layer::Organisation,
        rules: rules.to_vec(),
    };
    for turned in [false, true] {
        for under_ceiling in [false, true] {
            let mut allow = rules.to_vec();
            if turned {
                allow.reverse();
            }
            let ceilings = if under_ceiling { vec![ceiling(&allow)] } else { Vec::new() };
            let policy = Policy { allow, ceilings, ..Policy::nothing() };
            let (guard, log) = guard_with(policy, None, None);
            let mut supervisor = Supervisor::attach(&guard).await;
            // Bytes that are no HTTP reach nobody.
            let mut agent = connect(&guard, NAME, PORT).await;
            agent.write_all(b"\0\x01 no request\r\n\r\n").await.unwrap();
            let _ = read_all(&mut agent).await;
            let carried = timeout(Duration::from_millis(300), supervisor.accepted.next()).await;
            assert!(carried.is_err(), "{turned} {under_ceiling}: {:?}", log.lines());
            // The control: a request does, by the rule for the loopback.
            let mut agent = connect(&guard, NAME, PORT).await;
            agent
                .write_all(format!("GET / HTTP/1.1\r\nHost: {NAME}:{PORT}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let _server = supervisor.answer(LoopbackAnswer::Connected).await;
            let opened = |line: &serde_json::Value| {
                line["phase"] == "open" && line["rule"].to_string().contains("loopback http")
            };
            eventually(|| log.lines().iter().any(opened)).await;
        }
    }
}

#[tokio::test]
async fn a_supervisor_that_is_there_is_waited_for_and_one_that_is_gone_is_not() {
    let (guard, log) = guard_with(policy(), None, None);
    let (reader, writer) = std::io::pipe().unwrap();
    guard.attached.watch(&reader, |_| {});
    let mut agent = connect(&guard, NAME, PORT).await;
    sleep(Duration::from_millis(200)).await;
    let mut supervisor = Supervisor::attach(&guard).await;
    let mut server = supervisor.answer(LoopbackAnswer::Connected).await;
    agent.write_all(b"ask").await.unwrap();
    server.read_exact(&mut [0; 3]).await.unwrap();
    drop((writer, supervisor, server));
    eventually(|| guard.attached.now() == Some(false)).await;
    eventually(|| guard.host_loopback.opener.read().unwrap().is_none()).await;
    let began = Instant::now();
    let mut agent = connect(&guard, NAME, PORT).await;
    assert!(read_all(&mut agent).await.is_err());
    assert!(error(&log).contains("no supervisor carries") && began.elapsed() < OPENING, "{}", error(&log));
}

/// Reads the last refusal's words.
fn error(log: &crate::inside::guard::events::tests::Log) -> String {
    let lines = log.lines();
    let refusal = lines.iter().rev().find(|line| line["reason"] == "connect-failed").unwrap();
    refusal["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_supervisor_is_the_way_and_its_end_closes_it() {
    let (guard, log) = guard_with(policy(), None, None);
    let mut agent = connect(&guard, NAME, PORT).await;
    assert!(read_all(&mut agent).await.is_err(), "nobody carries");
    assert!(error(&log).contains("no supervisor carries"), "{}", error(&log));

    let mut supervisor = Supervisor::attach(&guard).await;
    let mut agent = connect(&guard, NAME, PORT).await;
    let mut server = supervisor.answer(LoopbackAnswer::Connected).await;
    agent.write_all(b"ask").await.unwrap();
    let mut asked = [0; 3];
    server.read_exact(&mut asked).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    let mut answer = [0; 6];
    agent.read_exact(&mut answer).await.unwrap();
    assert_eq!((&asked, &answer), (b"ask", b"answer"));
    let opened = |line: &serde_json::Value| line["phase"] == "open" && line["address"] == "127.0.0.1";
    assert!(log.lines().iter().any(opened), "the event says where it went");

    // Its server's end is an end, and no reset.
    server.shutdown().await.unwrap();
    agent.shutdown().await.unwrap();
    assert_eq!(read_all(&mut agent).await, Ok(Vec::new()));

    let mut agent = connect(&guard, NAME, PORT).await;
    let server = supervisor.answer(LoopbackAnswer::Connected).await;
    drop((supervisor, server));
    assert!(read_all(&mut agent).await.is_err(), "an open connection ends with its supervisor");
    eventually(|| guard.host_loopback.opener.read().unwrap().is_none()).await;
    let mut agent = connect(&guard, NAME, PORT).await;
    assert!(read_all(&mut agent).await.is_err());
}

#[tokio::test]
async fn a_supervisor_that_refuses_is_believed_and_its_reason_told() {
    let (guard, log) = guard_with(policy(), None, None);
    let mut supervisor = Supervisor::attach(&guard).await;
    for (answer, words) in [
        (LoopbackAnswer::NotPermitted, "does not know of this permission"),
        (LoopbackAnswer::Refused, "nothing listens on port 3000"),
        (LoopbackAnswer::CannotTell, "cannot read what was changed"),
        (LoopbackAnswer::Full, "as many connections as it can"),
    ] {
        let mut agent = connect(&guard, NAME, PORT).await;
        let _ended = supervisor.answer(answer).await;
        assert!(read_all(&mut agent).await.is_err());
        eventually(|| log.lines().iter().any(|line| line.to_string().contains(words))).await;
    }
}

#[tokio::test]
async fn a_denial_ends_what_is_open() {
    let (guard, log) = guard_with(policy(), None, None);
    let mut supervisor = Supervisor::attach(&guard).await;
    let mut agent = connect(&guard, NAME, PORT).await;
    let mut server = supervisor.answer(LoopbackAnswer::Connected).await;
    eventually(|| log.lines().iter().any(|line| line["phase"] == "open")).await;
    guard.live.make(&guard, &Change::Deny(host(NAME, &[], None)));
    assert!(read_all(&mut agent).await.is_err());
    assert!(server.read_u8().await.is_err(), "the supervisor's side is reset");
    eventually(|| reasons(&log).contains(&"denied-by-rule".to_owned())).await;
}

#[tokio::test]
async fn so_many_connections_and_no_more_go_by_it() {
    let (guard, log) = guard_with(policy(), None, None);
    let mut supervisor = Supervisor::attach(&guard).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let agent = connect(&guard, NAME, PORT).await;
        open.push((agent, supervisor.answer(LoopbackAnswer::Connected).await));
    }
    let mut agent = connect(&guard, NAME, PORT).await;
    assert!(read_all(&mut agent).await.is_err());
    assert_eq!(reasons(&log), ["limit"]);
    // The control: a place that is free again is given.
    drop(open.pop());
    eventually(|| guard.host_loopback.room.available_permits() == 1).await;
    let _agent = connect(&guard, NAME, PORT).await;
    supervisor.answer(LoopbackAnswer::Connected).await;
}
