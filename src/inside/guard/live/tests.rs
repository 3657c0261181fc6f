//! Live changes on loopback: what is given, refused, closed and told.

use std::time::Duration;

use netpolicy::decide::Target;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Ceiling, Layer, Matcher, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::inside::guard::tests::{connect, echo, eventually, guard_with, policy, stage};
use crate::wire::conditions::Condition;

fn rule(text: &str, flag: &str) -> Arc<Rule> {
    netpolicy::load::rule_from_flag(flag, text).unwrap().into()
}

fn allow(text: &str) -> Change {
    Change::Allow(rule(text, "--allow"))
}

/// Makes a change that the command line itself would refuse already.
fn aliased(name: &str) -> Change {
    let mut rule = Rule::clone(&rule("any.example", "--allow"));
    rule.matcher = Matcher::Host(HostPattern::parse(name).unwrap());
    Change::Allow(rule.into())
}

fn deny(text: &str) -> Change {
    Change::Deny(rule(text, "--deny"))
}

fn net(words: &[&str], host: Option<&str>) -> Change {
    let set = words.iter().map(|word| word.parse::<Condition>().unwrap()).collect();
    Change::Conditions { set, host: host.map(|host| HostPattern::parse(host).unwrap()) }
}

fn good(answer: ControlAnswer) -> Good {
    match answer {
        ControlAnswer::Good(good) => *good,
        other => panic!("{other:?}"),
    }
}

fn refused(answer: ControlAnswer) -> (Reason, Option<String>) {
    match answer {
        ControlAnswer::Refused { reason, rule } => (reason, rule),
        other => panic!("{other:?}"),
    }
}

fn decides(guard: &Guard, name: &str, port: u16) -> Reason {
    let target = Target::Name(HostName::parse(name).unwrap());
    guard.names.decide(&target, Some(port), None).reason
}

#[tokio::test]
async fn an_allowed_name_gets_an_address_behind_the_others_and_no_other_changes() {
    let (guard, log) = guard_with(policy(), None, None);
    let before = guard.names.map();
    let start = good(guard.live.state(&guard));
    let made = good(guard.live.make(&guard, &allow("new.example:8443")).0);
    let after = guard.names.map();
    for (name, address) in &before {
        assert_eq!(after[name], *address, "{name}");
    }
    assert!(after["new.example"] > *before.values().max().unwrap());
    assert_eq!(decides(&guard, "new.example", 8443), Reason::Allowed);
    assert_eq!(decides(&guard, "new.example", 443), Reason::Port);
    let permit = |good: &Good| {
        let address = after["new.example"];
        good.plan
            .permits
            .iter()
            .any(|permit| permit.port == 8443 && IpAddr::V4(permit.range.addr()) == address)
    };
    assert!(permit(&made) && !permit(&start));
    assert_eq!(made.state.allowed, ["new.example:8443"]);
    assert_ne!(made.state.digest, start.state.digest);
    let event = log.lines().pop().unwrap();
    assert_eq!(
        (&event["kind"], &event["who"], &event["what"], &event["verdict"], &event["digest"]),
        (
            &"control".into(),
            &"exec".into(),
            &"allow new.example:8443".into(),
            &"allow".into(),
            &made.state.digest.clone().into()
        )
    );
    // Denied and allowed again it has the same address, and the digest is the same again.
    good(guard.live.make(&guard, &deny("new.example")).0);
    assert_eq!(decides(&guard, "new.example", 8443), Reason::DeniedByRule);
    let again = good(guard.live.make(&guard, &allow("new.example:8443")).0);
    assert_eq!(guard.names.map(), after);
    assert_eq!((again.state.digest, again.state.denied), (made.state.digest, Vec::<String>::new()));
}

#[tokio::test]
async fn a_wildcard_that_is_allowed_live_leads_to_the_gate() {
    let mut policy = policy();
    policy.allow.retain(|rule| !matches!(&rule.matcher, Matcher::Host(pattern) if pattern.is_wildcard()));
    let (guard, _log) = guard_with(policy, None, None);
    let made = good(guard.live.make(&guard, &allow("*.late.example")).0);
    let found = guard.names.find(&HostName::parse("x.late.example").unwrap());
    assert!(matches!(found, crate::inside::guard::names::NameState::Ask(_)), "{found:?}");
    let next = IpAddr::V4(std::net::Ipv4Addr::from(
        made.plan.permits.iter().map(|permit| u32::from(permit.range.broadcast())).max().unwrap(),
    ));
    assert!(next > *guard.names.map().values().max().unwrap(), "{:?}", made.plan.permits);
}

#[tokio::test]
async fn ceilings_and_denials_of_the_policy_hold_and_nothing_changes() {
    let mut policy = policy();
    let at = |text: &str, line| Origin {
        layer: Layer::Organisation,
        file: "/etc/ringfence/policy.yml".to_owned(),
        line,
        text: text.to_owned(),
    };
    let pattern = HostPattern::parse(".corp.example").unwrap();
    policy.ceilings = vec![Ceiling {
        layer: Layer::Organisation,
        rules: vec![Rule::new(Matcher::Host(pattern), vec![443], at(".corp.example:443", 3)).into()],
    }];
    policy.deny.push(
        Rule::new(
            Matcher::Host(HostPattern::parse("bad.corp.example").unwrap()),
            vec![],
            at("bad.corp.example", 7),
        )
        .into(),
    );
    let (guard, log) = guard_with(policy, None, None);
    let before = good(guard.live.state(&guard));
    for (change, reason) in [
        (allow("elsewhere.example"), Reason::OutsideCeiling),
        (allow("a.corp.example:8443"), Reason::OutsideCeiling),
        (allow("*.example"), Reason::OutsideCeiling),
        (allow("bad.corp.example"), Reason::DeniedByRule),
        (aliased("host.docker.internal"), Reason::HostAddress),
        (aliased("metadata.google.internal"), Reason::MetadataAddress),
    ] {
        assert_eq!(refused(guard.live.make(&guard, &change).0).0, reason, "{change}");
        let event = log.lines().pop().unwrap();
        assert_eq!(
            (&event["kind"], &event["verdict"], &event["reason"]),
            (&"control".into(), &"deny".into(), &reason.as_str().into())
        );
    }
    assert_eq!(
        refused(guard.live.make(&guard, &allow("bad.corp.example")).0).1.as_deref(),
        Some("bad.corp.example (/etc/ringfence/policy.yml:7, organisation)")
    );
    assert_eq!(good(guard.live.state(&guard)).plan, before.plan);
    // Positive control: within the ceiling it is permitted, as a rule of the run whatever layer it
    // claims.
    let mut stronger = Rule::clone(&rule("a.corp.example", "--allow"));
    stronger.origin.layer = Layer::Floor;
    good(guard.live.make(&guard, &Change::Allow(stronger.into())).0);
    assert_eq!(decides(&guard, "a.corp.example", 443), Reason::Allowed);
    assert_eq!(guard.live.given.lock().unwrap().allow[0].origin.layer, Layer::Run);
}

#[tokio::test]
async fn a_run_without_network_cannot_be_opened() {
    let mut policy = policy();
    policy.network_denied = true;
    let (guard, _log) = guard_with(policy, None, None);
    assert_eq!(refused(guard.live.make(&guard, &allow("new.example")).0).0, Reason::NetworkDenied);
    let state = good(guard.live.make(&guard, &Change::Restore { host: None }).0);
    assert_eq!((state.state.closed, state.plan.permits.len()), (Some(Reason::NetworkDenied), 0));
    assert!(state.state.denied_from_start);
    // The condition `deny` closes a network that is there: `restore` opens it again.
    let (guard, _log) = guard_with(crate::inside::guard::tests::policy(), None, None);
    let state = good(guard.live.make(&guard, &net(&["deny"], None)).0).state;
    assert_eq!((state.closed, state.denied_from_start), (Some(Reason::NetworkDenied), false));
}

/// Reads everything that an agent on an open connection sees.
async fn heard(agent: &mut tokio::net::TcpStream) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), agent.read_to_end(&mut all))
        .await
        .expect("an end")
        .map(|_| all)
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn a_connection_whose_permission_went_is_reset_and_the_others_go_on() {
    for change in [deny("raw.example"), net(&["deny"], Some("raw.example")), deny("198.51.100.7")] {
        let (guard, log) = guard_with(policy(), Some(echo().await), None);
        let mut gone = connect(&guard, "raw.example", 443).await;
        let mut kept = connect(&guard, "gitlab.com", 22).await;
        for agent in [&mut gone, &mut kept] {
            agent.write_all(b"PING\r\n").await.unwrap();
            assert_eq!(agent.read_exact(&mut [0; 6]).await.unwrap(), 6);
        }
        eventually(|| good(guard.live.state(&guard)).state.connections == 2).await;
        let by_address = change.to_string().contains("198.");
        good(guard.live.make(&guard, &change).0);
        assert_eq!(heard(&mut gone).await, Err(std::io::ErrorKind::ConnectionReset), "{change}");
        if by_address {
            // Both names have that address.
            assert_eq!(heard(&mut kept).await, Err(std::io::ErrorKind::ConnectionReset));
        } else {
            kept.write_all(b"again\n").await.unwrap();
            assert_eq!(kept.read_exact(&mut [0; 6]).await.unwrap(), 6);
        }
        let reason = if change.to_string().starts_with("net") { "network-denied" } else { "denied-by-rule" };
        let found = |line: &serde_json::Value| line["reason"] == reason && line["host"] == "raw.example";
        eventually(|| log.lines().iter().any(found)).await;
        let closed = |line: &serde_json::Value| line["phase"] == "close" && line["host"] == "raw.example";
        eventually(|| log.lines().iter().any(closed)).await;
    }
}

#[tokio::test]
async fn an_address_that_becomes_the_machines_is_lost_to_open_connections_too() {
    let network = |addresses: &[&str], ranges: &[&str]| HostNetwork {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        ..HostNetwork::default()
    };
    let away = network(&["127.0.0.1"], &[]);
    for theirs in [network(&["198.51.100.7"], &[]), network(&["127.0.0.1"], &["198.51.100.0/28"])] {
        let (guard, log) = guard_with(policy(), Some(echo().await), None);
        let mut open = connect(&guard, "raw.example", 443).await;
        open.write_all(b"x").await.unwrap();
        open.read_u8().await.unwrap();
        good(guard.live.host(&guard, away.clone()));
        open.write_all(b"y").await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'y', "another address changes nothing");
        good(guard.live.host(&guard, theirs));
        assert_eq!(heard(&mut open).await, Err(std::io::ErrorKind::ConnectionReset));
        let mut late = connect(&guard, "raw.example", 443).await;
        assert_eq!(heard(&mut late).await, Err(std::io::ErrorKind::ConnectionReset));
        let refused = || log.lines().iter().filter(|line| line["reason"] == "host-address").count();
        eventually(|| refused() >= 1).await;
        // It moved on: what was not known at the start is free again.
        good(guard.live.host(&guard, away.clone()));
        let mut again = connect(&guard, "raw.example", 443).await;
        again.write_all(b"z").await.unwrap();
        assert_eq!(again.read_u8().await.unwrap(), b'z');
    }
}

#[tokio::test]
async fn an_address_that_becomes_the_machines_while_it_is_dialled_is_not_connected_to() {
    let theirs =
        HostNetwork { addresses: ["198.51.100.7".parse().unwrap()].into(), ..HostNetwork::default() };
    for change in [None, Some(deny("198.51.100.7"))] {
        let (guard, log) = guard_with(policy(), Some(echo().await), None);
        let (during, theirs) = (Arc::downgrade(&guard), theirs.clone());
        let reason = if change.is_some() { "denied-by-rule" } else { "host-address" };
        *stage(&guard).meanwhile.lock().unwrap() = Some(Box::new(move || {
            let guard = during.upgrade().unwrap();
            match &change {
                None => drop(guard.live.host(&guard, theirs.clone())),
                Some(change) => drop(guard.live.make(&guard, change)),
            }
        }));
        let mut agent = connect(&guard, "raw.example", 443).await;
        agent.write_all(b"x").await.unwrap();
        assert_eq!(heard(&mut agent).await, Err(std::io::ErrorKind::ConnectionReset), "{reason}");
        eventually(|| log.lines().iter().any(|line| line["reason"] == reason)).await;
        assert!(log.lines().iter().all(|line| line["phase"] != "open"), "{:?}", log.lines());
    }
}

#[tokio::test]
async fn a_machine_whose_networks_come_and_go_does_not_use_up_the_log() {
    let (guard, log) = guard_with(policy(), None, None);
    for number in 0..500u32 {
        let addresses = [IpAddr::from((0xac10_0001 + (number << 8)).to_be_bytes())].into();
        good(guard.live.host(&guard, HostNetwork { addresses, ..HostNetwork::default() }));
    }
    assert_eq!(log.lines().len(), 1);
    guard.events.finish();
    let told = log.lines().into_iter().filter(|line| line["reason"] == "host-addresses");
    assert_eq!(told.map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum::<u64>(), 500);
}

#[tokio::test]
async fn deny_is_for_everything_and_restore_ends_it() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let before = good(guard.live.state(&guard));
    let mut open = connect(&guard, "raw.example", 443).await;
    open.write_all(b"x").await.unwrap();
    open.read_u8().await.unwrap();
    let would = good(guard.live.propose(&guard, &net(&["deny"], None)));
    assert_eq!(would.plan.permits, []);
    assert_eq!(decides(&guard, "raw.example", 443), Reason::Allowed, "proposed is not made");
    let made = good(guard.live.make(&guard, &net(&["deny"], None)).0);
    assert_eq!((made.plan.permits.len(), made.state.closed), (0, Some(Reason::NetworkDenied)));
    assert_eq!(made.state.digest, before.state.digest, "a condition is no part of the policy");
    assert_eq!(heard(&mut open).await, Err(std::io::ErrorKind::ConnectionReset));
    let mut late = connect(&guard, "gitlab.com", 22).await;
    assert_eq!(heard(&mut late).await, Err(std::io::ErrorKind::ConnectionReset));
    assert!(log.lines().iter().any(|line| line["reason"] == "network-denied" && line["kind"] == "connect"));
    let restored = good(guard.live.make(&guard, &Change::Restore { host: None }).0);
    assert_eq!(restored.plan, before.plan);
    let mut again = connect(&guard, "raw.example", 443).await;
    again.write_all(b"y").await.unwrap();
    assert_eq!(again.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_cut_is_planned_for_the_names_that_have_an_address() {
    let (guard, _log) = guard_with(policy(), None, None);
    use netpolicy::ruleset::Cut;
    let cut = |change: &Change| good(guard.live.propose(&guard, change)).plan.cut;
    assert_eq!(cut(&net(&["cut"], None)), Cut::All);
    let IpAddr::V4(address) = guard.names.map()["gitlab.com"] else { panic!("IPv4") };
    assert_eq!(cut(&net(&["cut"], Some(".gitlab.com"))), Cut::Only(vec![address]));
    good(guard.live.make(&guard, &net(&["cut"], Some("*.late.example"))).0);
    let made = good(guard.live.make(&guard, &allow("a.late.example")).0);
    let IpAddr::V4(address) = guard.names.map()["a.late.example"] else { panic!("IPv4") };
    assert_eq!(made.plan.cut, Cut::Only(vec![address]), "a name that comes later is cut too");
}

#[tokio::test]
async fn a_permission_ends_with_its_last_day_on_open_connections_too() {
    let mut policy = policy();
    let mut rule = Rule::clone(&policy.allow[4]);
    assert_eq!(rule.matcher, Matcher::Host(HostPattern::parse("raw.example").unwrap()));
    // Its last day was yesterday, which a connection of yesterday did not know: it is looked up
    // without the day.
    rule.expires = None;
    policy.allow[4] = Arc::new(rule.clone());
    let (guard, log) = guard_with(policy.clone(), Some(echo().await), None);
    let mut agent = connect(&guard, "raw.example", 443).await;
    agent.write_all(b"x").await.unwrap();
    agent.read_u8().await.unwrap();
    guard.live.tick(&guard);
    rule.expires = netpolicy::policy::day_after(crate::host::clock::today(), -1);
    policy.allow[4] = Arc::new(rule);
    guard.names.replace(policy);
    agent.write_all(b"y").await.unwrap();
    assert_eq!(agent.read_u8().await.unwrap(), b'y', "no tick has come yet");
    guard.live.tick_on(&guard, netpolicy::policy::day_after(crate::host::clock::today(), 1).unwrap());
    assert_eq!(heard(&mut agent).await, Err(std::io::ErrorKind::ConnectionReset));
    eventually(|| log.lines().iter().any(|line| line["reason"] == "expired")).await;
}

#[tokio::test]
async fn what_was_made_can_be_taken_back_by_its_maker() {
    let (guard, log) = guard_with(policy(), None, None);
    let start = good(guard.live.state(&guard));
    let (answer, before) = guard.live.make(&guard, &allow("new.example"));
    good(answer);
    let back = good(guard.live.take_back(&guard, before.unwrap()));
    assert_eq!((back.plan.permits, back.state.digest), (start.plan.permits, start.state.digest));
    assert_eq!(decides(&guard, "new.example", 443), Reason::NotAllowed);
    assert_eq!(log.lines().len(), 2);
}

#[tokio::test]
async fn a_reload_closes_what_it_does_not_permit_and_keeps_what_was_given_live() {
    let (guard, log) = guard_with(policy(), Some(echo().await), None);
    let start = good(guard.live.state(&guard));
    let before = guard.names.map();
    let mut gone = connect(&guard, "raw.example", 443).await;
    let mut kept = connect(&guard, "gitlab.com", 22).await;
    for agent in [&mut gone, &mut kept] {
        agent.write_all(b"PING\r\n").await.unwrap();
        agent.read_exact(&mut [0; 6]).await.unwrap();
    }
    good(guard.live.make(&guard, &allow("given.example")).0);

    let mut next = policy();
    let raw = Matcher::Host(HostPattern::parse("raw.example").unwrap());
    next.allow.retain(|rule| rule.matcher != raw);
    next.allow.push(rule("new.example:8443", "--allow"));
    let (answer, old) = guard.live.make(&guard, &Change::Reload(next.clone().into()));
    let made = good(answer);
    assert_eq!(heard(&mut gone).await, Err(std::io::ErrorKind::ConnectionReset));
    kept.write_all(b"again\n").await.unwrap();
    kept.read_exact(&mut [0; 6]).await.unwrap();
    for (name, port, reason) in [
        ("raw.example", 443, Reason::NotAllowed),
        ("new.example", 8443, Reason::Allowed),
        ("given.example", 443, Reason::Allowed),
    ] {
        assert_eq!(decides(&guard, name, port), reason, "{name}");
    }
    for (name, address) in &before {
        assert_eq!(guard.names.map()[name], *address, "{name} keeps its address");
    }
    assert_eq!(made.state.allowed, ["given.example:443"]);
    let event = log
        .lines()
        .into_iter()
        .find(|line| line["what"].as_str().is_some_and(|what| what.starts_with("reload")))
        .unwrap();
    assert_eq!((&event["digest"], &event["verdict"]), (&made.state.digest.clone().into(), &"allow".into()));
    assert_eq!(event["what"], format!("reload {}", next.digest()));

    // The maker may take it back.
    good(guard.live.take_back(&guard, old.unwrap()));
    assert_eq!(decides(&guard, "raw.example", 443), Reason::Allowed);
    good(guard.live.make(&guard, &deny("given.example")).0);
    let denied = good(guard.live.make(&guard, &allow("given.example")).0);
    assert_ne!(denied.state.digest, start.state.digest);
}

#[tokio::test]
async fn a_reload_that_a_run_cannot_follow_changes_nothing() {
    let (guard, log) = guard_with(policy(), None, None);
    let start = good(guard.live.state(&guard));
    let mut next = policy();
    next.allow.clear();
    next.dns.upstreams.clear();
    let (answer, before) = guard.live.make(&guard, &Change::Reload(next.into()));
    let ControlAnswer::Failed(why) = answer else { panic!("{answer:?}") };
    assert_eq!(why, "the policy was not reloaded: it changes network.dns, which only a new run can follow");
    assert!(before.is_none());
    let now = good(guard.live.state(&guard));
    assert_eq!((now.plan, now.state.digest), (start.plan, start.state.digest));
    assert_eq!(log.lines().len(), 0);
}
