//! A proposal permits what was learned, and nothing else.

use std::collections::BTreeSet;

use netpolicy::decide::{Question, Target, decide};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Policy};
use proptest::prelude::*;

use super::proposal::{Proposal, Wishes};
use super::sightings::Sightings;
use super::words;
use crate::host::clock::today;

/// Makes the log of these events, a minute between any two.
fn log(events: &[&str]) -> Sightings {
    let line = |(minute, event): (usize, &&str)| {
        format!(
            r#"{{"v":1,"seq":{minute},"time":"2026-11-30T{:02}:{:02}:00.000Z","workflow":"0000002a",{event}}}"#,
            minute / 60,
            minute % 60
        )
    };
    let text: Vec<String> = events.iter().enumerate().map(line).collect();
    let sightings = Sightings::of(text.join("\n").as_bytes());
    assert_eq!(sightings.unread, 0, "{events:?}");
    sightings
}

fn learned(runs: &[Sightings]) -> Proposal {
    Proposal::of(runs, &Wishes::default())
}

/// Lists the rules, and those that are commented out.
fn rules(proposal: &Proposal) -> (Vec<&str>, Vec<&str>) {
    (
        proposal.rules.iter().map(|learned| learned.rule.origin.text.as_str()).collect(),
        proposal.doubtful.iter().map(|learned| learned.rule.origin.text.as_str()).collect(),
    )
}

fn loaded(text: &str) -> Policy {
    let mut read = |_: &str| Ok(text.to_owned());
    netpolicy::load::load("learned.yml", Layer::Run, today(), &mut read)
        .unwrap_or_else(|found| panic!("{}\n{text}", netpolicy::diagnostic::render(&found)))
        .policy
}

fn permits(policy: &Policy, host: &str, port: u16) -> bool {
    let target = Target::Name(host.parse().unwrap());
    decide(policy, &Surroundings::default(), &Question::about(&target, today()).port(port)).allowed
}

const QUESTION: &str = r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"a.test""#;
const REACHED: &str = r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","reason":"allowed","host":"b.test","port":443,"protocol":"tls","address":"203.0.113.7""#;

#[test]
fn what_was_reached_and_refused_is_proposed_with_its_ports() {
    let port = r#""kind":"connect","verdict":"deny","reason":"port","host":"b.test","port":8443"#;
    let proposal = learned(&[log(&[QUESTION, REACHED, port])]);
    assert_eq!(rules(&proposal), (vec!["a.test:443", "b.test:443,8443"], vec![]));
    let text = words::yaml(&proposal);
    let policy = loaded(&text);
    for (host, port, expected) in
        [("a.test", 443, true), ("b.test", 8443, true), ("a.test", 8443, false), ("x.a.test", 443, false)]
    {
        assert_eq!(permits(&policy, host, port), expected, "{host}:{port}\n{text}");
    }
    assert!(text.contains("- a.test  # 1 attempt in 1 run, first 2026-11-30T00:00:00.000Z; refused so far; the port is a guess\n"), "{text}");
}

#[test]
fn a_port_that_was_tried_takes_the_place_of_the_guess() {
    let tried = r#""kind":"connect","verdict":"deny","reason":"port","host":"a.test","port":80"#;
    assert_eq!(rules(&learned(&[log(&[QUESTION]), log(&[tried, tried])])).0, ["a.test:80"]);
}

#[test]
fn needless_names_are_commented_out() {
    let of = |host: &str| QUESTION.replace("a.test", host);
    let search = of("b.test.corp.example");
    let failed =
        r#""kind":"connect","verdict":"deny","reason":"resolve-failed","host":"gone.test","port":443"#;
    let asked = r#""kind":"dns","verdict":"allow","host":"asked.test""#;
    let (short, telemetry) = (of("wpad"), of("statsig.anthropic.com"));
    let events = [REACHED, &search, failed, asked, &short, &telemetry];
    let first = log(&events);
    let proposal = learned(&[first, log(&[REACHED, QUESTION])]);
    let (active, doubtful) = rules(&proposal);
    assert_eq!(active, ["b.test:443"]);
    let doubts: BTreeSet<&str> = doubtful.into_iter().collect();
    for name in ["b.test.corp.example:443", "gone.test:443", "asked.test:443", "wpad:443", "a.test:443"] {
        assert!(doubts.contains(name), "{name}: {doubts:?}");
    }
    let text = words::yaml(&proposal);
    assert!(text.contains("# - a.test  # 1 attempt in 1 run"), "{text}");
    assert!(!permits(&loaded(&text), "a.test", 443) && permits(&loaded(&text), "b.test", 443));
    let once = Wishes { once: true, ..Wishes::default() };
    let again = Proposal::of(&[log(&[REACHED]), log(&[QUESTION])], &once);
    assert_eq!(rules(&again).0, ["a.test:443", "b.test:443"]);
}

#[test]
fn what_is_a_persons_to_write_is_never_proposed() {
    let private = REACHED.replace("203.0.113.7", "10.1.2.3");
    let unchecked = REACHED.replace("\"tls\"", "\"tcp\"");
    let host = QUESTION.replace("a.test", "host.docker.internal");
    let address =
        r#""kind":"connect","verdict":"deny","reason":"raw-address","address":"198.51.100.9","port":22"#;
    let reached = r#""kind":"connect","phase":"open","verdict":"allow","address":"198.51.100.9","port":22"#;
    let denied =
        r#""kind":"dns","verdict":"deny","reason":"denied-by-rule","host":"bad.test","rule":"\u001b]2;x""#;
    let outside = QUESTION.replace("not-allowed", "outside-ceiling");
    let proposal = learned(&[log(&[&private, &unchecked, &host, address, reached, denied, &outside])]);
    assert_eq!(rules(&proposal), (vec![], vec![]));
    assert_eq!(proposal.left_out.len(), 7);
    let said = words::account(1, &proposal);
    assert!(!said.contains('\u{1b}') && said.contains("bad.test"), "{said:?}");
}

#[test]
fn a_wildcard_covers_the_names_under_it_and_only_where_asked() {
    let of = |host: &str| QUESTION.replace("a.test", host);
    let (one, two) = (of("one.x.test"), of("two.x.test"));
    let port = r#""kind":"connect","verdict":"deny","reason":"port","host":"two.x.test","port":80"#;
    let runs = [log(&[&one, &two, port, QUESTION])];
    let wishes = Wishes {
        wildcards: ["*.x.test", "*.y.test"].map(|text| HostPattern::parse(text).unwrap()).to_vec(),
        once: false,
    };
    let proposal = Proposal::of(&runs, &wishes);
    assert_eq!(rules(&proposal).0, ["a.test:443", "*.x.test:80,443"]);
    assert_eq!(proposal.idle.len(), 1);
    let text = words::yaml(&proposal);
    assert!(text.contains("in the place of one.x.test, two.x.test"), "{text}");
    assert!(permits(&loaded(&text), "three.x.test", 80) && !permits(&loaded(&text), "x.test", 443));
    let (names, by_hand) = proposal.permissions();
    assert_eq!((names.len(), by_hand.len()), (1, 1));
}

#[test]
fn a_check_that_the_rule_named_stays() {
    let narrow = REACHED.replace("443", "8443");
    let text = words::yaml(&learned(&[log(&[&narrow])]));
    assert!(text.contains("{host: b.test, ports: [8443], protocol: tls}"), "{text}");
}

#[test]
fn an_answered_question_is_no_connection() {
    let host = |event: &str| event.replace("a.test", "gitlab.com.corp.example");
    let answered = host(r#""kind":"dns","verdict":"allow","host":"a.test""#);
    let refused = host(QUESTION);
    let proposal = learned(&[log(&[REACHED, &answered]), log(&[REACHED, &refused])]);
    let (active, doubtful) = rules(&proposal);
    assert_eq!((active, doubtful), (vec!["b.test:443"], vec!["gitlab.com.corp.example:443"]));
    let text = words::yaml(&proposal);
    assert!(text.contains("refused so far") && text.contains("nothing connected to it"), "{text}");
}

/// Proposes for one run with a pattern.
fn with_pattern(events: &[&str]) -> Proposal {
    let wildcards = vec![HostPattern::parse("*.x.test").unwrap()];
    Proposal::of(&[log(events)], &Wishes { wildcards, once: false })
}

/// Makes an opened connection.
fn opened(host: &str, port: u16, protocol: &str) -> String {
    REACHED.replace("b.test", host).replace("443", &port.to_string()).replace("tls", protocol)
}

#[test]
fn a_wildcard_keeps_the_checks_of_its_names() {
    let narrow = with_pattern(&[&opened("a.x.test", 8443, "tls"), &opened("b.x.test", 443, "tls")]);
    let text = words::yaml(&narrow);
    assert!(text.contains("{host: \"*.x.test\", ports: [8443], protocol: tls}"), "{text}");
    assert!(text.contains("- \"*.x.test\"  #"), "{text}");
    // Two checks on one port: the one that lets both through.
    let both = with_pattern(&[&opened("a.x.test", 443, "tls"), &opened("b.x.test", 443, "http")]);
    let text = words::yaml(&both);
    assert!(text.contains("{host: \"*.x.test\", ports: [443], protocol: auto}"), "{text}");
}

#[test]
fn a_doubtful_name_lends_a_wildcard_no_port() {
    let only_asked = r#""kind":"dns","verdict":"allow","host":"asked.x.test""#;
    let proposal = with_pattern(&[&opened("a.x.test", 8080, "auto"), only_asked]);
    assert_eq!(rules(&proposal), (vec!["*.x.test:8080"], vec!["asked.x.test:443"]));
    let none = with_pattern(&[only_asked]);
    assert_eq!(rules(&none), (vec![], vec!["asked.x.test:443"]));
    let said = words::account(1, &none);
    assert!(said.contains("*.x.test is left out: no name under it is needed"), "{said}");
}

#[test]
fn a_wildcard_that_rests_on_a_guess_in_part_says_so() {
    let question = QUESTION.replace("a.test", "a.x.test");
    let text = words::yaml(&with_pattern(&[&question, &opened("b.x.test", 8080, "auto")]));
    assert!(text.contains("port 443 is a guess"), "{text}");
}

#[test]
fn an_attempt_without_a_check_takes_none_away() {
    let failed = r#""kind":"connect","verdict":"deny","reason":"connect-failed","host":"b.test","port":8443"#;
    let reached = opened("b.test", 8443, "tls");
    for runs in [
        vec![log(&[&reached, failed])],
        vec![log(&[failed, &reached])],
        vec![log(&[failed]), log(&[&reached])],
    ] {
        let text = words::yaml(&learned(&runs));
        assert!(text.contains("{host: b.test, ports: [8443], protocol: tls}"), "{text}");
    }
    // Two checks on one port: the one that lets both through.
    let text =
        words::yaml(&learned(&[log(&[&opened("b.test", 443, "http"), &opened("b.test", 443, "tls")])]));
    assert!(text.contains("{host: b.test, ports: [443], protocol: auto}"), "{text}");
}

#[test]
fn an_agent_cannot_fill_the_memory() {
    let events: Vec<String> =
        (0..6000).map(|number| QUESTION.replace("a.test", &format!("n{number}.test"))).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let sightings = log(&events[..100]);
    assert_eq!(sightings.beyond, 0);
    let all = events.iter().map(|event| {
        format!(r#"{{"v":1,"seq":1,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a",{event}}}"#)
    });
    let sightings = Sightings::of(all.collect::<Vec<_>>().join("\n").as_bytes());
    assert_eq!((sightings.names.len(), sightings.beyond), (4000, 2000));
}

/// Hosts of the property, names below and above each other among them.
const HOSTS: [&str; 7] =
    ["a.test", "x.a.test", "b.example", "b.example.corp.test", "www.c.test", "c.test", "pastebin.com"];
const PORTS: [u16; 5] = [22, 80, 443, 8080, 8443];

/// Returns an event about a host and a port.
fn event() -> impl Strategy<Value = (usize, usize, String)> {
    (0..HOSTS.len(), 0..PORTS.len(), 0..4usize).prop_map(|(host, port, form)| {
        let (name, number) = (HOSTS[host], PORTS[port]);
        let text = match form {
            0 => format!(r#""kind":"dns","verdict":"deny","reason":"not-allowed","host":"{name}""#),
            1 => format!(
                r#""kind":"connect","verdict":"deny","reason":"port","host":"{name}","port":{number}"#
            ),
            2 => format!(
                r#""kind":"connect","phase":"open","verdict":"allow","host":"{name}","port":{number},"protocol":"auto","address":"203.0.113.7""#
            ),
            _ => format!(
                r#""kind":"connect","verdict":"deny","reason":"network-denied","host":"{name}","port":{number}"#
            ),
        };
        (host, port, text)
    })
}

proptest! {
    #[test]
    fn a_proposal_permits_what_was_learned_and_nothing_else(
        runs in prop::collection::vec(prop::collection::vec(event(), 0..12), 1..4)
    ) {
        let sightings: Vec<Sightings> = runs
            .iter()
            .map(|events| log(&events.iter().map(|(_, _, text)| text.as_str()).collect::<Vec<_>>()))
            .collect();
        let proposal = learned(&sightings);
        let text = words::yaml(&proposal);
        let policy = loaded(&text);
        let mut proposed = BTreeSet::new();
        for learned in &proposal.rules {
            let Matcher::Host(HostPattern::Exact(host)) = &learned.rule.matcher else {
                panic!("only exact names: {text}")
            };
            proposed.extend(learned.rule.ports.iter().map(|port| (host.to_string(), *port)));
        }
        for host in HOSTS.iter().copied().chain(["test", "z.test", "y.a.test"]) {
            for port in PORTS {
                let expected = proposed.contains(&(host.to_owned(), port));
                prop_assert_eq!(permits(&policy, host, port), expected, "{}:{}\n{}", host, port, &text);
            }
        }
        // Nothing is proposed that no run asked for; a guess is of a name that was asked for.
        for (host, port) in &proposed {
            let asked = runs.iter().flatten().any(|(of, on, text)| {
                HOSTS[*of] == host && (PORTS[*on] == *port || (*port == 443 && text.contains("\"dns\"")))
            });
            prop_assert!(asked, "{}:{}", host, port);
        }
        // With one run, everything that was tried is proposed, unless it is doubtful.
        let doubtful: BTreeSet<String> = proposal.doubtful.iter().map(|learned| match &learned.rule.matcher {
            Matcher::Host(pattern) => pattern.name().to_string(),
            Matcher::Cidr(range) => range.to_string(),
        }).collect();
        for (host, port, text) in runs.iter().flatten() {
            let host = HOSTS[*host];
            if !text.contains("\"dns\"") && !doubtful.contains(host) {
                prop_assert!(permits(&policy, host, PORTS[*port]), "{}:{}", host, PORTS[*port]);
            }
        }
    }
}
