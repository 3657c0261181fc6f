//! What holds for every policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpolicy::decide::{Question, Target, decide};
use netpolicy::floor::{Surroundings, refusal};
use netpolicy::host::{HostName, HostPattern};
use netpolicy::load::{load, rule_from_flag};
use netpolicy::policy::{Date, Layer, Policy};
use netpolicy::ruleset::{RESERVED_PORTS, permits};
use netpolicy::virtual_names::VirtualNames;
use proptest::prelude::*;

const TODAY: Date = Date::constant(2026, 11, 25);

fn load_text(text: &str) -> Option<Policy> {
    load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.to_owned())).ok().map(|loaded| loaded.policy)
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a.example",
        "b.a.example",
        "c.b.a.example",
        "xa.example",
        "d.example",
        "example",
    ])
    .prop_map(str::to_owned)
}

fn allow() -> impl Strategy<Value = String> {
    let port = prop::sample::select(vec![22u16, 80, 443]);
    prop_oneof![
        (name(), port.clone()).prop_map(|(name, port)| format!("{{host: {name}, ports: [{port}]}}")),
        (name(), port.clone())
            .prop_map(|(name, port)| format!("{{host: '*.{name}', ports: [{port}], private: [10.0.0.0/9]}}")),
        (name(), port.clone()).prop_map(|(name, port)| format!("{{host: .{name}, ports: [{port}]}}")),
        (0u8..=255, 8u8..=32, port).prop_map(|(byte, length, port)| {
            let net = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, byte), length).trunc();
            format!("{{cidr: {net}, ports: [{port}]}}")
        }),
    ]
}

fn deny() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        name().prop_map(|name| format!("'*.{name}'")),
        name().prop_map(|name| format!("'.{name}:443'")),
        (0u8..=255, 0u8..=32).prop_map(|(byte, length)| {
            let net = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, byte), length).trunc();
            format!("{{cidr: {net}}}")
        }),
    ]
}

fn policy(allow: &[String], deny: &[String]) -> Policy {
    let text =
        format!("version: 1\nnetwork:\n  allow: [{}]\n  deny: [{}]\n", allow.join(", "), deny.join(", "));
    load_text(&text).expect("a good policy")
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..=255).prop_map(|byte| IpAddr::V4(Ipv4Addr::new(198, 51, 100, byte))),
        (0u8..=255).prop_map(|byte| IpAddr::V4(Ipv4Addr::new(10, byte, 0, 1))),
        (0u8..=255).prop_map(|byte| format!("64:ff9b::198.51.100.{byte}").parse().expect("an address")),
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        name().prop_map(|name| Target::Name(HostName::parse(&name).expect("a name"))),
        address().prop_map(Target::Address),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_further_denial_never_opens_anything(
        allow in prop::collection::vec(allow(), 0..6),
        deny in prop::collection::vec(deny(), 0..4),
        more in deny(),
        target in target(),
        port in prop::option::of(prop::sample::select(vec![22u16, 80, 443, 8443])),
        address in prop::option::of(address()),
    ) {
        let question = Question { port, address, ..Question::about(&target, TODAY) };
        let before = decide(&policy(&allow, &deny), &Surroundings::default(), &question);
        let with_more: Vec<String> = deny.iter().cloned().chain([more]).collect();
        let after = decide(&policy(&allow, &with_more), &Surroundings::default(), &question);
        prop_assert!(before.allowed || !after.allowed);
    }

    #[test]
    fn what_is_allowed_is_written_and_not_in_the_floor(
        allow in prop::collection::vec(allow(), 0..6),
        deny in prop::collection::vec(deny(), 0..4),
        target in target(),
        port in prop::sample::select(vec![22u16, 80, 443, 8443]),
        address in address(),
    ) {
        let policy = policy(&allow, &deny);
        let question = Question::about(&target, TODAY).port(port).address(address);
        let verdict = decide(&policy, &Surroundings::default(), &question);
        if let (true, Some(rule)) = (verdict.allowed, &verdict.rule) {
            prop_assert!(rule.ports.contains(&port));
            let reached = match target { Target::Name(_) => address, Target::Address(addr) => addr };
            prop_assert_eq!(refusal(reached, &rule.private, &[], &Surroundings::default()), None);
        }
    }

    #[test]
    fn what_is_allowed_passes_the_fence(
        allow in prop::collection::vec(allow(), 0..6),
        deny in prop::collection::vec(deny(), 0..4),
        target in target(),
        port in prop::sample::select(vec![22u16, 80, 443, 8443]),
    ) {
        let policy = policy(&allow, &deny);
        let mut names = VirtualNames::new(&policy);
        let permits = permits(&policy, &names);
        let question = Question::about(&target, TODAY).port(port);
        if decide(&policy, &Surroundings::default(), &question).allowed {
            let address = match &target {
                Target::Name(name) => names.allocate(name),
                Target::Address(IpAddr::V4(addr)) => Some(*addr),
                Target::Address(IpAddr::V6(_)) => None,
            }.expect("an address");
            prop_assert!(permits.iter().any(|permit| permit.port == port && permit.range.contains(&address)));
        }
    }

    #[test]
    fn what_the_fence_keeps_for_itself_is_permitted_by_no_policy(
        port in prop::sample::select(RESERVED_PORTS.to_vec()),
        host in name(),
        form in 0usize..5,
        protocol in prop::sample::select(vec!["tcp", "tls", "http", "auto"]),
    ) {
        let rule = match form {
            0 => format!("'{host}:{port}'"),
            1 => format!("{{host: {host}, ports: [443, {port}], protocol: {protocol}}}"),
            2 => format!("{{host: '*.a.{host}', ports: [{port}]}}"),
            3 => format!("{{cidr: 198.51.100.0/24, ports: [{port}, 80]}}"),
            _ => format!("{{host: host.docker.internal, ports: [{port}], host-access: true}}"),
        };
        let text = format!("version: 1\nnetwork:\n  allow: [{rule}]\n");
        let findings = load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.clone())).unwrap_err();
        prop_assert!(findings.iter().any(|finding| finding.code == "reserved-port" && finding.hint.is_some()), "{:?}", findings);
        // A policy that came another way (over the control socket, say) is held to the same.
        let mut policy = policy(&[format!("{{host: {host}, ports: [443]}}"), "{cidr: 198.51.100.0/24, ports: [80]}".into()], &[]);
        for rule in &mut policy.allow {
            let mut wider = netpolicy::policy::Rule::clone(rule);
            wider.ports.push(port);
            *rule = wider.into();
        }
        prop_assert!(permits(&policy, &VirtualNames::new(&policy)).iter().all(|permit| permit.port != port));
        for target in [Target::Name(HostName::parse(&host).unwrap()), Target::Address("198.51.100.9".parse().unwrap())] {
            let verdict = decide(&policy, &Surroundings::default(), &Question::about(&target, TODAY).port(port));
            prop_assert_eq!((verdict.allowed, verdict.reason), (false, netpolicy::decide::Reason::ReservedPort));
        }
    }

    #[test]
    fn permitted_pairs_never_overlap(allow in prop::collection::vec(allow(), 0..8)) {
        let policy = policy(&allow, &[]);
        let permits = permits(&policy, &VirtualNames::new(&policy));
        for (index, one) in permits.iter().enumerate() {
            for other in &permits[index + 1..] {
                let apart = one.port != other.port
                    || !(one.range.contains(&other.range) || other.range.contains(&one.range));
                prop_assert!(apart, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn no_text_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = load_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_yaml_is_too_strange(text in r#"([ \t]{0,4}([-?:,\[\]{}#&*!|>'"%@`]|<<|version: 1|network|allow|host|\.|\*\.a|[a-z0-9]{1,3}|\r?\n|\u{FEFF}|é|: |- )){0,40}"#) {
        let _ = load_text(&text);
        let _ = load_text(&format!("version: 1\nnetwork:\n  allow:\n    - {text}\n"));
        let _ = rule_from_flag("--allow", &text);
        let _ = rule_from_flag("--deny", &text);
    }

    #[test]
    fn names_stay_the_same_when_read_again(text in "\\PC{0,80}") {
        if let Ok(name) = HostName::parse(&text) {
            let again = HostName::parse(name.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&name));
            prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
        }
        if let Ok(pattern) = HostPattern::parse(&text) {
            prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }

    #[test]
    fn an_address_in_disguise_is_refused_for_what_it_is(bits in any::<u32>()) {
        let plain = Ipv4Addr::from(bits);
        let s = Surroundings::default();
        if let Some(reason) = refusal(IpAddr::V4(plain), &[], &[], &s) {
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for disguise in [
                plain.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
            ] {
                prop_assert!(refusal(IpAddr::V6(disguise), &[], &[], &s).is_some(), "{} as {} ({})", plain, disguise, reason);
            }
        }
    }
}
