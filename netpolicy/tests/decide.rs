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
    assert_eq!(verdict.allowed, matches!(verdict.reason, Reason::Allowed | Reason::Observed));
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

/// Returns the policy with these lines, in an observed run.
fn observed(network: &str) -> Policy {
    Policy { network_observed: true, ..policy(network) }
}

#[test]
fn an_observed_run_reaches_public_names_and_nothing_else() {
    use Reason::*;
    let network = NETWORK.to_owned() + "  dns: {domains: {split.example: [10.0.0.53]}}\n";
    let policy = observed(&network);
    for (to, port, address, expected) in [
        // Rules count as ever, and first.
        ("gitlab.com", Some(443), Some("1.1.1.1"), Allowed),
        ("gitlab.corp.example", Some(443), Some("10.20.0.1"), Allowed),
        // What no rule permits.
        ("example.com", None, None, Observed),
        ("example.com", Some(443), Some("1.1.1.1"), Observed),
        ("example.com", Some(22), Some("2606:4700::1"), Observed),
        ("gitlab.com", Some(8443), Some("1.1.1.1"), Observed),
        // Denials, by name, by port, and by what a name resolves to.
        ("secret.gitlab.com", None, None, DeniedByRule),
        ("secret.gitlab.com", Some(8443), None, DeniedByRule),
        ("mixed.example", Some(80), None, DeniedByRule),
        ("mixed.example", Some(81), None, Observed),
        ("example.com", Some(443), Some("192.0.2.1"), DeniedByRule),
        ("example.com", Some(443), Some("198.51.100.100"), DeniedByRule),
        // The floor, whatever form an address has, and whatever a rule for another port has.
        ("example.com", Some(443), Some("10.20.0.1"), PrivateAddress),
        ("gitlab.corp.example", Some(25), Some("10.20.0.1"), PrivateAddress),
        ("example.com", Some(443), Some("127.0.0.1"), HostAddress),
        ("example.com", Some(443), Some("169.254.169.254"), MetadataAddress),
        ("example.com", Some(443), Some("::ffff:169.254.169.254"), MetadataAddress),
        ("example.com", Some(443), Some("64:ff9b::10.0.0.1"), PrivateAddress),
        ("example.com", Some(443), Some("198.18.0.1"), ReservedAddress),
        // Names that are not public, and what is none.
        ("host.docker.internal", Some(443), None, HostAddress),
        ("metadata.google.internal", Some(80), None, MetadataAddress),
        ("wiki.internal", Some(443), None, NotAllowed),
        ("printer.local", None, None, NotAllowed),
        ("router.home.arpa", None, None, NotAllowed),
        ("wiki.split.example", None, None, NotAllowed),
        ("intranet", None, None, NotAllowed),
        ("1.1.1.1", Some(443), None, RawAddress),
        ("10.0.0.1", Some(443), None, PrivateAddress),
        // Ports that the fence keeps.
        ("example.com", Some(53), None, ReservedPort),
    ] {
        assert_eq!(reason(&policy, to, port, address), expected, "{to} {port:?} {address:?}");
    }
    let name = target("example.com");
    let verdict = decide(&policy, &Surroundings::default(), &about(&name).port(443));
    let rule = verdict.rule.expect("a rule");
    assert_eq!(
        (rule.origin.text.as_str(), rule.origin.file.as_str()),
        ("every public name", "--network observe")
    );
    assert_eq!((rule.origin.layer, verdict.protocol), (Layer::Run, Some(netpolicy::policy::Protocol::Tls)));
}

#[test]
fn a_ceiling_holds_an_observed_run() {
    let ceiling =
        "  ceiling: [.corp.test, {host: api.example, ports: [8443]}]\n  deny: [\"api.example:443\"]\n";
    let policy = observed(ceiling);
    assert_eq!(reason(&policy, "a.corp.test", Some(443), Some("1.1.1.1")), Reason::Observed);
    assert_eq!(reason(&policy, "a.corp.test", Some(22), None), Reason::OutsideCeiling);
    assert_eq!(reason(&policy, "example.com", Some(443), None), Reason::OutsideCeiling);
    assert_eq!(reason(&policy, "example.com", None, None), Reason::OutsideCeiling);
    assert_eq!(reason(&policy, "api.example", None, None), Reason::Observed);
    assert_eq!(reason(&policy, "api.example", Some(8443), None), Reason::Observed);
    assert_eq!(reason(&observed("  ceiling: []\n"), "a.corp.test", None, None), Reason::OutsideCeiling);
    let denied = observed("  ceiling: [api.example]\n  deny: [\"api.example:443\"]\n");
    assert_eq!(reason(&denied, "api.example", None, None), Reason::DeniedByRule);
}

#[test]
fn observing_is_no_way_around_a_denied_network_or_a_policy_that_forbids_it() {
    let forbidden = observed("  observe: false\n");
    assert_eq!(reason(&forbidden, "example.com", Some(443), None), Reason::NotAllowed);
    assert!(forbidden.observing_forbidden.is_some());
    assert_eq!(permits(&forbidden, &VirtualNames::new(&forbidden)), []);
    let name = target("example.com");
    let denied = Policy { network_denied: true, ..observed("  allow: []\n") };
    assert_eq!(reason(&denied, "example.com", Some(443), None), Reason::NetworkDenied);
    assert_eq!(permits(&denied, &VirtualNames::new(&denied)), []);
    // A proxy resolves anew: nothing would hold it to the address that was checked.
    let proxied = observed("  proxy: http://proxy.test:3128\n");
    assert_eq!(reason(&proxied, "example.com", Some(443), Some("1.1.1.1")), Reason::NotAllowed);
    // A VPN's resolver hides the address.
    let veiled = observed("  allow: [gitlab.com]\n  dns: {upstream-fake-range: [198.18.0.0/15]}\n");
    assert_eq!(reason(&veiled, "gitlab.com", Some(443), Some("198.18.0.1")), Reason::Allowed);
    assert_eq!(reason(&veiled, "example.com", Some(443), Some("198.18.0.1")), Reason::ReservedAddress);
    assert_eq!(reason(&veiled, "example.com", Some(443), Some("1.1.1.1")), Reason::Observed);
    let question = Question { resolver: netpolicy::policy::ResolvedBy::Proxy, ..about(&name) };
    let policy = observed("  proxy: http://proxy.test:3128\n");
    let question = Question { port: Some(443), ..question };
    assert!(!decide(&policy, &Surroundings::default(), &question).allowed);
}

#[test]
fn in_an_observed_run_every_port_of_a_name_leads_to_the_gate_but_the_fences_own() {
    let policy = observed(NETWORK);
    let permits = permits(&policy, &VirtualNames::new(&policy));
    let leads = |address: &str, port: u16| {
        permits.iter().filter(|permit| permit.holds(&address.parse().expect("an address"), port)).count()
    };
    for port in [1, 22, 52, 54, 443, 5432, 65052, 65054, 65442, 65444, 65535] {
        assert_eq!(leads("25.0.0.1", port), 1, "{port}");
        assert_eq!(leads("25.0.200.1", port), 1, "{port}");
        assert_eq!(leads("26.0.0.1", port) + leads("10.0.0.1", port), 0, "{port}");
    }
    for port in [0, 53, 65053, 65443] {
        assert_eq!(leads("25.0.0.1", port), 0, "{port}");
    }
    assert_eq!((leads("198.51.100.70", 5432), leads("198.51.100.70", 443)), (1, 0));
}

#[test]
fn a_digest_tells_what_observing_is_and_stays_where_nobody_speaks_of_it() {
    let plain = policy("  allow: [a.test]\n");
    let forbids = policy("  allow: [a.test]\n  observe: false\n");
    let digests = [plain.digest(), forbids.digest(), observed("  allow: [a.test]\n").digest()];
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
    assert!(!plain.canonical().contains("observe"), "{}", plain.canonical());
}

#[test]
fn observing_is_asked_for_by_no_policy_and_forbidden_by_any_layer() {
    let of = |layer, text: &str| {
        let text = format!("version: 1\nnetwork: {text}\n");
        load("p.yml", layer, TODAY, &mut |_| Ok(text.clone()))
    };
    for layer in [Layer::Organisation, Layer::User, Layer::Run, Layer::Project] {
        let forbidden = of(layer, "{observe: false}").expect("a good policy").policy;
        let origin = forbidden.observing_forbidden.expect("it is forbidden");
        assert_eq!((origin.layer, origin.file.as_str(), origin.line), (layer, "p.yml", 2));
        for asked in ["{observe: true}", "{observe: 1}", "{observe: [public]}"] {
            assert!(of(layer, asked).is_err(), "{layer} {asked}");
        }
    }
}

#[test]
fn a_host_alias_stays_refused_below_a_wildcard() {
    let policy = policy("  allow: [\"*.internal\"]\n");
    assert_eq!(reason(&policy, "host.docker.internal", Some(443), None), Reason::HostAddress);
    assert_eq!(reason(&policy, "metadata.google.internal", Some(443), None), Reason::MetadataAddress);
    assert_eq!(reason(&policy, "wiki.internal", Some(443), None), Reason::Allowed);
}

#[test]
fn a_denied_loopback_is_refused_before_its_address_is_asked_for() {
    const ALLOW: &str = "  allow: [{host: host.docker.internal, ports: [3000], host-access: loopback}]\n";
    let denied = |nets: &str| policy(&format!("{ALLOW}  deny: [{nets}]\n"));
    let asked = |policy: &Policy, address| reason(policy, "host.docker.internal", Some(3000), address);
    for net in ["{cidr: 0.0.0.0/0}", "{cidr: 127.0.0.0/8, ports: [3000]}"] {
        assert_eq!(asked(&denied(net), None), Reason::DeniedByRule, "{net}");
        assert_eq!(asked(&denied(net), Some("127.0.0.1")), Reason::DeniedByRule, "{net}");
    }
    for net in ["{cidr: 10.0.0.0/8}", "{cidr: 127.0.0.0/8, ports: [3001]}", "{cidr: \"::1/128\"}"] {
        assert_eq!(asked(&denied(net), None), Reason::Allowed, "{net}");
        assert_eq!(asked(&denied(net), Some("127.0.0.1")), Reason::Allowed, "{net}");
    }
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
