//! Decisions on whole policies, as tables of target and answer.

use std::net::IpAddr;

use netpolicy::decide::{Question, Reason, Target, decide};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::load::load;
use netpolicy::policy::{Date, Layer, Policy, Protocol};
use netpolicy::ruleset::permits;
use netpolicy::virtual_names::VirtualNames;

fn policy(network: &str) -> Policy {
    let text = format!("version: 1\nnetwork:\n{network}");
    load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.clone())).expect("a good policy").policy
}

fn target(text: &str) -> Target {
    match text.parse::<IpAddr>() {
        Ok(addr) => Target::Address(addr),
        Err(_) => Target::Name(HostName::parse(text).expect("a name")),
    }
}

const TODAY: Date = Date::constant(2026, 11, 25);

fn about(target: &Target) -> Question<'_> {
    Question::about(target, TODAY)
}

fn reason(policy: &Policy, to: &str, port: Option<u16>, address: Option<&str>) -> Reason {
    let address = address.map(|text| text.parse().expect("an address"));
    let verdict = decide(policy, &Surroundings::default(), &Question { port, address, ..about(&target(to)) });
    assert_eq!(verdict.allowed, verdict.reason == Reason::Allowed);
    assert_eq!(verdict.allowed, verdict.protocol.is_some());
    verdict.reason
}

const NETWORK: &str = r#"
  allow:
    - gitlab.com
    - "*.gitlab.com"
    - api.example.com:8443
    - host: gitlab.corp.example
      ports: [443, 22]
      private: [10.20.0.0/16]
    - {host: gitlab.corp.example, ports: [8080]}
    - {host: .mixed.example, ports: [443, 80]}
    - {cidr: 198.51.100.64/26, ports: [5432]}
    - {cidr: 10.30.0.0/24, ports: [22], private: [10.30.0.0/25]}
  deny:
    - secret.gitlab.com
    - mixed.example:80
    - {cidr: 198.51.100.96/28}
    - {cidr: 192.0.2.0/24, ports: [443]}
"#;

#[test]
fn table() {
    use Reason::*;
    let policy = policy(NETWORK);
    for (to, port, address, expected) in [
        ("gitlab.com", Some(443), None, Allowed),
        ("gitlab.com", None, None, Allowed),
        ("gitlab.com", Some(80), None, Port),
        ("www.gitlab.com", Some(443), None, Allowed),
        ("secret.gitlab.com", Some(443), None, DeniedByRule),
        ("secret.gitlab.com", None, None, DeniedByRule),
        ("a.secret.gitlab.com", Some(443), None, Allowed),
        ("evil-gitlab.com", Some(443), None, NotAllowed),
        ("api.example.com", Some(8443), None, Allowed),
        ("api.example.com", Some(443), None, Port),
        ("example.com", Some(443), None, NotAllowed),
        // A denial of one port leaves the others, and the name.
        ("mixed.example", Some(80), None, DeniedByRule),
        ("mixed.example", Some(443), None, Allowed),
        ("mixed.example", None, None, Allowed),
        // What the name resolves to.
        ("gitlab.com", Some(443), Some("1.1.1.1"), Allowed),
        ("gitlab.com", Some(443), Some("10.20.0.1"), PrivateAddress),
        ("gitlab.com", Some(443), Some("169.254.169.254"), MetadataAddress),
        ("gitlab.com", Some(443), Some("127.0.0.1"), HostAddress),
        ("gitlab.com", Some(443), Some("198.51.100.100"), DeniedByRule),
        ("gitlab.com", Some(443), Some("64:ff9b::198.51.100.100"), DeniedByRule),
        ("gitlab.com", Some(443), Some("192.0.2.1"), DeniedByRule),
        ("api.example.com", Some(8443), Some("192.0.2.1"), Allowed),
        // Each rule with its own ports and its own `private`.
        ("gitlab.corp.example", Some(443), Some("10.20.0.1"), Allowed),
        ("gitlab.corp.example", Some(22), Some("10.20.0.1"), Allowed),
        ("gitlab.corp.example", Some(22), Some("10.21.0.1"), PrivateAddress),
        ("gitlab.corp.example", Some(8080), Some("10.20.0.1"), PrivateAddress),
        ("gitlab.corp.example", Some(8080), Some("1.1.1.1"), Allowed),
        // By address.
        ("198.51.100.70", Some(5432), None, Allowed),
        ("198.51.100.70", Some(443), None, Port),
        ("198.51.100.100", Some(5432), None, DeniedByRule),
        ("1.1.1.1", Some(443), None, RawAddress),
        ("10.0.0.1", Some(22), None, PrivateAddress),
        ("10.30.0.1", Some(22), None, Allowed),
        ("10.30.0.200", Some(22), None, PrivateAddress),
        ("10.30.0.1", Some(23), None, Port),
        ("169.254.169.254", Some(80), None, MetadataAddress),
        ("25.0.9.9", Some(443), None, ReservedAddress),
        ("host.docker.internal", Some(443), None, HostAddress),
    ] {
        assert_eq!(reason(&policy, to, port, address), expected, "{to} {port:?} {address:?}");
    }
}

#[test]
fn denied_network_permits_nothing() {
    let policy = Policy { network_denied: true, ..policy(NETWORK) };
    assert_eq!(reason(&policy, "gitlab.com", Some(443), None), Reason::NetworkDenied);
    assert_eq!(permits(&policy, &VirtualNames::new(&policy)), []);
    assert_eq!(reason(&Policy::nothing(), "gitlab.com", Some(443), None), Reason::NotAllowed);
}

#[test]
fn a_host_alias_stays_refused_below_a_wildcard() {
    let policy = policy("  allow: [\"*.internal\"]\n");
    assert_eq!(reason(&policy, "host.docker.internal", Some(443), None), Reason::HostAddress);
    assert_eq!(reason(&policy, "metadata.google.internal", Some(443), None), Reason::MetadataAddress);
    assert_eq!(reason(&policy, "wiki.internal", Some(443), None), Reason::Allowed);
}

#[test]
fn protocol_follows_the_nearest_rule() {
    let policy = policy(
        "  allow:\n    - {host: .a.example, ports: [443, 80, 22]}\n    - {host: db.a.example, ports: [443], protocol: tcp}\n",
    );
    let protocol =
        |to: &str, port| decide(&policy, &Surroundings::default(), &about(&target(to)).port(port)).protocol;
    assert_eq!(protocol("a.example", 443), Some(Protocol::Tls));
    assert_eq!(protocol("a.example", 80), Some(Protocol::Http));
    assert_eq!(protocol("a.example", 22), Some(Protocol::Auto));
    assert_eq!(protocol("db.a.example", 443), Some(Protocol::Tcp));
}

#[test]
fn a_verdict_says_which_line_decided() {
    let policy = policy(NETWORK);
    let to = target("secret.gitlab.com");
    let verdict = decide(&policy, &Surroundings::default(), &about(&to).port(443));
    let origin = verdict.rule.unwrap().origin.clone();
    assert_eq!((origin.file.as_str(), origin.line, origin.text.as_str()), ("p.yml", 16, "secret.gitlab.com"));
}

#[test]
fn virtual_addresses_follow_the_sorted_names() {
    let policy = policy("  allow: [c.example, a.example, .b.example, \"*.w.example\", a.example:80]\n");
    let mut names = VirtualNames::new(&policy);
    let name = |text| HostName::parse(text).unwrap();
    let table: Vec<String> = names.entries().map(|(address, name)| format!("{address} {name}")).collect();
    assert_eq!(table, ["25.0.0.1 a.example", "25.0.0.2 b.example", "25.0.0.3 c.example"]);
    assert_eq!(names.allocate(&name("x.w.example")), Some([25, 0, 0, 4].into()));
    assert_eq!(names.allocate(&name("y.w.example")), Some([25, 0, 0, 5].into()));
    assert_eq!(names.allocate(&name("x.w.example")), Some([25, 0, 0, 4].into()));
    assert_eq!(names.name_of([25, 0, 0, 5].into()), Some(&name("y.w.example")));
    assert_eq!(names.name_of([25, 0, 0, 6].into()), None);

    // After a restart: the same addresses, and no address twice.
    let mut again = VirtualNames::new(&policy);
    assert!(again.restore([25, 0, 0, 5].into(), &name("y.w.example")));
    assert!(!again.restore([25, 0, 0, 5].into(), &name("z.w.example")));
    assert!(!again.restore([26, 0, 0, 5].into(), &name("z.w.example")));
    assert_eq!(again.allocate(&name("z.w.example")), Some([25, 0, 0, 6].into()));
}

#[test]
fn a_range_that_is_used_up_gives_nothing_more() {
    let policy = policy("  allow: [\"*.w.example\"]\n  dns: {virtual-range: 25.9.9.0/24}\n");
    let mut names = VirtualNames::new(&policy);
    let given = (0..300)
        .filter(|n| names.allocate(&HostName::parse(&format!("n{n}.w.example")).unwrap()).is_some())
        .count();
    assert_eq!(given, 254);
    assert_eq!(names.entries().count(), 254);
}

#[test]
fn permits_cover_what_can_be_allowed_and_do_not_overlap() {
    let policy = policy(NETWORK);
    let names = VirtualNames::new(&policy);
    let permits = permits(&policy, &names);
    let covers = |address: &str, port| {
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        permits.iter().filter(|permit| permit.port == port && permit.range.contains(&address)).count()
    };
    let exact = names.address_of(&HostName::parse("api.example.com").unwrap()).unwrap().to_string();
    assert_eq!(covers(&exact, 8443), 1);
    assert_eq!(covers(&exact, 443), 0);
    assert_eq!(covers("25.0.200.200", 443), 1);
    assert_eq!(covers("25.0.200.200", 8443), 0);
    assert_eq!(covers("198.51.100.70", 5432), 1);
    assert_eq!(covers("198.51.100.1", 5432), 0);
    assert_eq!(covers("25.0.0.0", 443) + covers("25.0.255.255", 443), 0);
}

#[test]
fn the_digest_is_about_what_a_policy_says() {
    let one = policy("  allow: [a.example]\n");
    let same = policy("  # a comment\n\n  allow: [\"A.example.\"]\n");
    let other = policy("  allow: [a.example:444]\n");
    assert_eq!(one.digest(), same.digest());
    assert_ne!(one.digest(), other.digest());
    assert!(one.digest().starts_with("sha256:") && one.digest().len() == 71);
}

#[test]
fn a_policy_survives_its_journey_to_the_guard() {
    let policy = policy(NETWORK);
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
}
