//! Tests that every reader reads what the guard writes, byte by byte, and that nobody reads what no
//! version writes.

mod any;
mod documents;
mod fuzzing;

use netpolicy::decide::{Reason, Verdict};
use netpolicy::policy::{Layer, Matcher, Origin, Protocol, ResolvedBy, Rule};

use super::*;
use crate::wire::chain::Checked;

/// A log with each kind of line that version 0.1 wrote, from real runs; names of files and runs are
/// changed.
pub(crate) const OLD: &str = include_str!("version-0.1.jsonl");

/// Returns the line of an event, at a moment of no meaning.
pub(crate) fn line(event: impl Into<Event>) -> String {
    let hash = crate::wire::LineHash::of(b"the line before");
    let line = Line::now(7, "0000002a".parse().unwrap(), event.into(), Some(hash));
    let time = line.time.to_string();
    serde_json::to_string(&line).unwrap().replace(&time, "2026-11-30T04:05:06.789Z")
}

fn verdict(reason: Reason) -> Verdict {
    let origin =
        Origin { layer: Layer::Run, file: "p.yml".to_owned(), line: 4, text: "a.test:443".to_owned() };
    let pattern = netpolicy::host::HostPattern::parse("a.test").unwrap();
    let rule = Rule::new(Matcher::Host(pattern), vec![443], origin);
    Verdict { allowed: false, reason, rule: Some(rule.into()), protocol: None, conditions: Vec::new() }
}

/// Makes one event of each form.
pub(crate) fn each() -> Vec<Event> {
    let host = Some("a.test".parse().unwrap());
    let digest: Option<crate::wire::PolicyDigest> = format!("sha256:{}", "d".repeat(64)).parse().ok();
    let link = || Access {
        conn: Some(3),
        host: host.clone(),
        port: Some(443),
        protocol: Some(Transport::from(Protocol::Tls).into()),
        ..Access::allowed(Kind::Connect)
    };
    let open = Access {
        phase: Some(Phase::Open.into()),
        address: Some("198.51.100.7".parse().unwrap()),
        resolver: Some(ResolvedBy::Guard.into()),
        ..link().by(&verdict(Reason::Allowed))
    };
    let close = Access {
        phase: Some(Phase::Close.into()),
        bytes_out: Some(174),
        bytes_in: Some(121),
        ms: Some(11),
        ..link()
    };
    let question =
        Access { host: host.clone(), left_out: Some(4), ..Access::denied(Kind::Dns, Reason::Limit) };
    let question = Access { limit: Some("1,000 questions a second".to_owned()), ..question };
    let hello = Access { kind: Kind::Tls, ..link() };
    let hello =
        Access { verdict: Some(Decision::Deny.into()), reason: Some(Reason::SniMismatch.into()), ..hello };
    let request = Access { host: host.clone(), ..Access::denied(Kind::Http, Reason::HostMismatch) };
    let packet = Access {
        address: Some("2001:db8::7".parse().unwrap()),
        protocol: Some(Transport::Number(47).into()),
        ..Access::denied(Kind::Datagram, Reason::Protocol)
    };
    let failed = Access {
        error: Some("there is no such name".to_owned()),
        ..Access::denied(Kind::Connect, Reason::ResolveFailed)
    };
    let start = Start {
        digest: digest.clone(),
        image: Some("sha256:0815".to_owned()),
        image_digest: format!("agent@sha256:{}", "a".repeat(64)).parse().ok(),
        image_name: "agent:1".parse().ok(),
        engine: Some("Docker 29.1.3".to_owned()),
        version: Some("0.1.0".to_owned()),
        name: "nightly".parse().ok(),
        user: Some("me".to_owned()),
        uid: Some(1000),
        project: Some("/home/me/project".to_owned()),
        entrypoint: Some("/bin/sh".to_owned()),
        command: Some(["-c", "make test"].map(str::to_owned).to_vec()),
        services: Some([("db".to_owned(), "sha256:4711".to_owned())].into()),
        connections: Some(StartConnections {
            at_once: 20,
            burst: 1890,
            per_second: 189,
            set_by: vec!["connections: 20 (organisation, /etc/ringfence/policy.yml:3)".to_owned()],
            runs: Some(1),
            table: Some(262_144),
        }),
        map: Some([("a.test".to_owned(), "25.0.0.1".parse().unwrap())].into()),
    };
    vec![
        Lifecycle::Start(Box::new(start)).into(),
        Lifecycle::Start(Box::default()).into(),
        Lifecycle::Ready.into(),
        question.into(),
        open.into(),
        close.into(),
        hello.into(),
        request.into(),
        packet.into(),
        failed.into(),
        Control::made("allow a.test".to_owned(), digest).into(),
        Control::refused("allow b.test".to_owned(), &verdict(Reason::OutsideCeiling)).into(),
        Note::new(Observation::DiskLimit, "the agent wrote 11GiB").into(),
        Note { what: None, left_out: Some(2), ..Note::new(Observation::HostAddresses, "") }.into(),
        Lifecycle::AgentEnded(AgentEnded { how: How::Exited.into(), exit_status: Some(3) }).into(),
        Lifecycle::AgentEnded(AgentEnded { how: How::SupervisorLost.into(), exit_status: None }).into(),
        Lifecycle::End.into(),
    ]
}

#[test]
fn each_event_has_its_line_and_is_read_back() {
    let lines: Vec<String> = each().into_iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
    for (event, text) in each().iter().zip(&lines) {
        assert_eq!(&Line::read(text.as_bytes()).unwrap().event, event, "{text}");
    }
}

#[test]
fn what_earlier_versions_wrote_is_read_whole() {
    for text in OLD.lines() {
        let line = Line::read(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert!(!matches!(line.event, Event::Other(_)), "{text}");
        assert_eq!(serde_json::to_string(&line).unwrap(), text, "nothing of it is lost");
    }
    let checked = Checked::default().of(OLD.as_bytes());
    assert!(checked.findings.is_empty() && checked.ended, "{:?}", checked.findings);
}

/// Returns the text of an event with these fields.
fn with(fields: &str) -> String {
    format!(r#"{{"v":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a",{fields}}}"#)
}

#[test]
fn what_no_version_writes_is_no_event() {
    for fields in [
        r#""kind":"dns","host":"a\u001b[2J""#,
        r#""kind":"dns","host":"a b""#,
        r#""kind":"dns","host":"x, ports: [1]}""#,
        r#""kind":"dns","host":"*.com""#,
        r#""kind":"dns","host":"10.0.0.1""#,
        r#""kind":"connect","port":65536"#,
        r#""kind":"connect","port":"443""#,
        r#""kind":"connect","address":"1.2.3""#,
        r#""kind":"connect","verdict":"deny","verdict":"allow""#,
        r#""kind":"connect","kind":"lifecycle","reason":"ready""#,
        r#""kind":"connect","rule":"a","rule":"b""#,
        r#""kind":"connect","left_out":-1"#,
        r#""kind":"connect","reason":"a\u009bb""#,
        r#""kind":"connect","line":"x""#,
        r#""kind":"control","digest":"sha256:0""#,
        r#""kind":"lifecycle","reason":"start","uid":-1"#,
        r#""kind":"lifecycle","reason":"start","map":{"a":"b"}"#,
        r#""kind":"lifecycle","reason":"agent-ended""#,
        r#""kind":"lifecycle","reason":"agent-ended","how":"exited","exit_status":256"#,
        r#""kind":"lifecycle""#,
        r#""kind":"a\nb""#,
        r#""kind":7"#,
        r#""reason":"ready""#,
        r#""kind":"dns","seq":2"#,
        r#""kind":"dns","prev":"ff""#,
    ] {
        assert_eq!(Line::read(with(fields).as_bytes()), None, "{fields}");
    }
    let good = with(r#""kind":"lifecycle","reason":"ready""#);
    assert!(Line::read(good.as_bytes()).is_some());
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("0000002a", "2a"),
        ("0000002a", "$(reboot)"),
        ("2026-11-30T00:00:00.000Z", "now"),
        ("\"seq\":1", "\"seq\":1.5"),
        ("{", "["),
    ] {
        assert_eq!(Line::read(good.replacen(from, to, 1).as_bytes()), None, "{to}");
    }
    for bytes in [&b""[..], b"null", b"\xff\xfe", &b"[".repeat(100_000)] {
        assert_eq!(Line::read(bytes), None);
    }
}

#[test]
fn what_later_versions_may_add_is_read() {
    for fields in [
        r#""kind":"report","verdict":"deny","host":7,"new":{"a":[1]}"#,
        r#""kind":"dns","host":"a.test","new":{"a":[1]},"newer":null"#,
        r#""kind":"connect","verdict":"ask","reason":"quota","phase":"half-open","protocol":"quic","resolver":"cache","layer":"team""#,
        r#""kind":"control","verdict":"allow","who":"socket","what":"x","new":1"#,
        r#""kind":"lifecycle","reason":"paused","what":"by a person","new":1"#,
        r#""kind":"lifecycle","reason":"agent-ended","how":"eaten","new":1"#,
        r#""kind":"lifecycle","reason":"ready","new":1"#,
    ] {
        let read = Line::read(with(fields).as_bytes());
        assert!(read.is_some(), "{fields}");
    }
    let report = Line::read(with(r#""kind":"report","verdict":"deny""#).as_bytes()).unwrap().event;
    assert!(report.is_denied() && report.kind() == "report");
}
