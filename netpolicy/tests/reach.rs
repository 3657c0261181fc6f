//! The difference of two policies against the decision itself.

mod world;

use ipnet::IpNet;
use netpolicy::decide::{Decider, Target};
use netpolicy::host::{HostName, HostPattern};
use netpolicy::host_access::HostAccess;
use netpolicy::load::load;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Protocol, ResolvedBy, Rule};
use netpolicy::reach::{At, Line, Ports, Targets, Whose, Witness, difference};
use proptest::prelude::*;
use world::{
    Asked, GATEWAY, LOOPBACK, TODAY, asked, carried, is_alias, is_as_strict, is_private, name, policy,
    surroundings,
};

/// What the two policies do with a question: the check, if it is permitted.
fn answers(old: &Decider, new: &Decider, asked: &Asked) -> [Option<Protocol>; 2] {
    [old, new].map(|decider| {
        if asked.resolver == ResolvedBy::Proxy && decider.policy().proxy.is_none() {
            return None;
        }
        let verdict = decider.decide(&surroundings(decider.policy()), &asked.question());
        verdict.protocol.filter(|_| verdict.allowed)
    })
}

fn reaches_more(here: Option<Protocol>, there: Option<Protocol>) -> bool {
    match (here, there) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(here), Some(there)) => !is_as_strict(here, there),
    }
}

/// Whether a line speaks of a question; written for the test, from the line's fields.
fn mentions(line: &Line, asked: &Asked) -> bool {
    let on_port = asked.port.is_some_and(|port| match &line.ports {
        Ports::Only(ports) => ports.contains(&port),
        Ports::AllBut(ports) => !ports.contains(&port),
    });
    let on_day =
        line.from.is_none_or(|from| from <= asked.day) && line.until.is_none_or(|until| asked.day <= until);
    let holds = |nets: &[ipnet::IpNet]| {
        let real = asked.address.into_iter().chain(asked.address.and_then(carried));
        real.into_iter().any(|address| nets.iter().any(|net| net.contains(&address)))
    };
    let named = |name: &HostName| match &line.targets {
        Targets::Names { pattern, except } => {
            pattern.matches(name) && !except.iter().any(|not| not.matches(name))
        }
        Targets::PermittedNames => true,
        Targets::Ranges(_) => false,
    };
    on_port
        && on_day
        && match &asked.target {
            Target::Address(address) => {
                matches!(&line.targets, Targets::Ranges(nets) if nets.iter().any(|net| net.contains(address)))
            }
            Target::Name(name) => {
                let host = is_alias(name.as_str());
                named(name)
                    && match &line.at {
                        At::Proxy => asked.resolver == ResolvedBy::Proxy,
                        _ if asked.resolver == ResolvedBy::Proxy => false,
                        At::Anywhere => !host && !asked.address.is_some_and(is_private),
                        At::Host => host && asked.address != Some(LOOPBACK),
                        At::Loopback => host && asked.address.is_none_or(|address| address == LOOPBACK),
                        At::Ranges(nets) => !host && holds(nets),
                        At::HostIn(nets) => host && holds(nets),
                    }
            }
        }
}

fn agents(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.whose == Whose::Agent)
}

fn others(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.whose == Whose::OtherLayers)
}

/// The rule by which a layer would permit a question's target whatever its address; none where no
/// policy can hold one.
fn rule_for(asked: &Asked) -> Option<Rule> {
    let (matcher, host_access) = match &asked.target {
        Target::Name(name) => {
            let way = match (is_alias(name.as_str()), asked.address) {
                (false, _) => HostAccess::None,
                (true, Some(LOOPBACK)) => HostAccess::Loopback,
                (true, _) => HostAccess::Address,
            };
            (Matcher::Host(HostPattern::Exact(name.clone())), way)
        }
        Target::Address(address) if address.is_ipv4() => (Matcher::Cidr((*address).into()), HostAccess::None),
        Target::Address(_) => return None,
    };
    let origin = Origin { layer: Layer::Run, file: String::new(), line: 0, text: String::new() };
    let private = netpolicy::floor::PRIVATE_RANGES.to_vec();
    Some(Rule { private, host_access, ..Rule::new(matcher, vec![asked.port?], origin) })
}

fn denies_metadata(policy: &Policy) -> bool {
    policy.deny.iter().any(|rule| match &rule.matcher {
        Matcher::Host(pattern) => world::is_metadata(pattern.name().as_str()),
        Matcher::Cidr(_) => false,
    })
}

/// Tells whether a line about a lifted denial speaks of a question: of its name or of its address.
fn lifts(line: &Line, asked: &Asked, port: u16) -> bool {
    let on_port = match &line.ports {
        Ports::Only(ports) => ports.contains(&port),
        Ports::AllBut(ports) => !ports.contains(&port),
    };
    let place = match asked.target {
        Target::Address(address) => Some(address),
        Target::Name(_) => asked.address,
    };
    on_port
        && match (&line.targets, &asked.target) {
            (Targets::Names { pattern, except }, Target::Name(name)) => {
                let named =
                    |name: &HostName| pattern.matches(name) && !except.iter().any(|not| not.matches(name));
                // A denial of one name of the host is one of each.
                named(name)
                    || is_alias(name.as_str())
                        && (is_alias(pattern.name().as_str()) || netpolicy::floor::aliases().any(named))
            }
            (Targets::Ranges(nets), _) => {
                let real = place.into_iter().chain(place.and_then(carried));
                real.into_iter().any(|address| nets.iter().any(|net| net.contains(&address)))
            }
            _ => false,
        }
}

/// The witness of a line as a question of this world: whoever is the host there is at [`GATEWAY`] here.
fn check_of(witness: &Witness, decider: &Decider) -> Option<Protocol> {
    let verdict = witness.verdict(decider);
    verdict.protocol.filter(|_| verdict.allowed)
}

/// Whether a policy refuses every address there is: then a yes before the address is known leads nowhere, and `difference`
/// says nothing of it.
fn refuses_every_address(policy: &Policy, port: Option<u16>) -> bool {
    let whole = |net: &IpNet| {
        net.prefix_len() == 0
            && policy.deny.iter().any(|rule| {
                rule.matcher == Matcher::Cidr(*net)
                    && (rule.ports.is_empty() || port.is_some_and(|port| rule.ports.contains(&port)))
            })
    };
    ["0.0.0.0/0", "::/0"].iter().all(|net| net.parse().is_ok_and(|net| whole(&net)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_decision_does_otherwise_is_mentioned(
        old in policy(), new in policy(), asked in prop::collection::vec(asked(), 48),
    ) {
        let found = difference(&old, &new, TODAY);
        let nowhere = |asked: &Asked| {
            asked.address.is_none()
                && [&old, &new].iter().any(|policy| refuses_every_address(policy, asked.port))
        };
        let asked: Vec<&Asked> = asked.iter().filter(|asked| !nowhere(asked)).collect();
        let [old, new] = [old, new].map(Decider::new);
        for asked in asked.into_iter().filter(|asked| asked.port.is_some() && asked.day >= TODAY) {
            let [was, is] = answers(&old, &new, asked);
            if reaches_more(is, was) {
                prop_assert!(agents(&found.opens).any(|line| mentions(line, asked)), "opens {:?}\n{:#?}", asked, found.opens);
            }
            if reaches_more(was, is) {
                prop_assert!(agents(&found.closes).any(|line| mentions(line, asked)), "closes {:?}\n{:#?}", asked, found.closes);
            }
        }
    }

    #[test]
    fn every_line_has_a_witness_that_the_decision_treats_otherwise(old in policy(), new in policy()) {
        let found = difference(&old, &new, TODAY);
        let [old, new] = [old, new].map(Decider::new);
        for (lines, opens) in [(&found.opens, true), (&found.closes, false)] {
            for line in agents(lines) {
                let [was, is] = [&old, &new].map(|decider| check_of(&line.witness, decider));
                let (more, less) = if opens { (is, was) } else { (was, is) };
                prop_assert!(reaches_more(more, less), "{:#?}", line);
                prop_assert_eq!(line.new.allowed, is.is_some());
                prop_assert_eq!(line.old.allowed, was.is_some());
                let is_at_the_host = line.witness.is_the_host || line.at == At::Loopback;
                if line.at != At::HostIn(Vec::new()) && !is_at_the_host {
                    let asked = as_asked(&line.witness);
                    prop_assert!(mentions(line, &asked), "{:#?}", line);
                }
            }
        }
    }

    #[test]
    fn every_name_of_a_line_is_treated_otherwise(
        old in policy(), new in policy(), names in prop::collection::vec(name(), 12),
    ) {
        let found = difference(&old, &new, TODAY);
        let [old, new] = [old, new].map(Decider::new);
        for (lines, opens) in [(&found.opens, true), (&found.closes, false)] {
            for line in agents(lines).filter(|line| matches!(line.targets, Targets::Names { .. })) {
                for name in &names {
                    let other = Witness { target: Target::Name(name.clone()), ..line.witness.clone() };
                    let asked = as_asked(&other);
                    let floored = is_alias(name.as_str()) != (other.is_the_host || line.at == At::Loopback) || world::is_metadata(name.as_str());
                    if floored || !mentions(line, &asked) {
                        continue;
                    }
                    let [was, is] = [&old, &new].map(|decider| check_of(&other, decider));
                    let (more, less) = if opens { (is, was) } else { (was, is) };
                    prop_assert!(reaches_more(more, less), "{} in {:#?}", name, line);
                }
            }
        }
    }

    #[test]
    fn no_address_of_a_line_is_reached_before_as_after(
        old in policy(), new in policy(), asked in prop::collection::vec(asked(), 24),
    ) {
        let found = difference(&old, &new, TODAY);
        let [old, new] = [old, new].map(Decider::new);
        for (lines, opens) in [(&found.opens, true), (&found.closes, false)] {
            for line in agents(lines) {
                for asked in &asked {
                    let mut other = as_asked(&line.witness);
                    match (&line.targets, &line.at) {
                        (Targets::Ranges(_), _) if matches!(asked.target, Target::Address(_)) => {
                            other.target = asked.target.clone();
                        }
                        (_, At::Ranges(_)) if asked.address.and_then(carried).is_none() => {
                            other.address = asked.address;
                        }
                        _ => continue,
                    }
                    // A private address is of the names whose rules hold it, not of every permitted one.
                    if other.address.is_none() && matches!(other.target, Target::Name(_)) || !mentions(line, &other) {
                        continue;
                    }
                    let [was, is] = answers(&old, &new, &other);
                    let (more, less) = if opens { (is, was) } else { (was, is) };
                    prop_assert!(less.is_none() || reaches_more(more, less), "{:?} in {:#?}", other, line);
                }
            }
        }
    }

    #[test]
    fn what_a_further_layer_may_permit_only_afterwards_is_mentioned(
        old in policy(), new in policy(), asked in prop::collection::vec(asked(), 48),
    ) {
        let found = difference(&old, &new, TODAY);
        let free = |policy: &Policy| policy.ceilings.is_empty() && !policy.network_denied;
        if !free(&old) || !free(&new) {
            return Ok(());
        }
        for asked in &asked {
            let (Some(port), Some(rule)) = (asked.port, rule_for(asked)) else { continue };
            // A denial of a metadata service's name is one of the host's names too, and its line is
            // not written: that name itself is never permitted.
            let is_alias = matches!(&asked.target, Target::Name(name) if is_alias(name.as_str()));
            if is_alias && [&old, &new].iter().any(|policy| denies_metadata(policy)) {
                continue;
            }
            let asked = Asked { resolver: ResolvedBy::Guard, transport: netpolicy::target::Transport::Tcp, ..asked.clone() };
            let [was, is] = [&old, &new].map(|policy| {
                let mut policy = policy.clone();
                policy.allow = vec![rule.clone().into()];
                Decider::new(policy.clone()).decide(&surroundings(&policy), &asked.question())
            });
            for (denied, allowed, lines) in [(&was, &is, &found.opens), (&is, &was, &found.closes)] {
                if denied.reason == netpolicy::decide::Reason::DeniedByRule && allowed.allowed {
                    prop_assert!(others(lines).any(|line| lifts(line, &asked, port)), "{:?}\n{:#?}", asked, lines);
                }
            }
        }
    }

    #[test]
    fn every_lifted_denial_is_one(old in policy(), new in policy()) {
        let found = difference(&old, &new, TODAY);
        for (lines, denying, other) in [(&found.opens, &old, &new), (&found.closes, &new, &old)] {
            for line in others(lines) {
                let reason = |policy: &Policy| match &line.witness.target {
                    // By its name alone: the loopback's address is known before, and may be denied too.
                    Target::Name(_) => {
                        let deny = policy.deny.iter().filter(|rule| matches!(rule.matcher, Matcher::Host(_)));
                        let named = Policy { deny: deny.cloned().collect(), ..policy.clone() };
                        line.witness.verdict(&Decider::new(named)).reason
                    }
                    // A range is denied to every name, in whatever form of IPv6.
                    Target::Address(address) => {
                        let name = HostName::parse("somewhere.test").expect("a name");
                        let target = Target::Name(name);
                        let asked = Asked { target, address: Some(*address), ..as_asked(&line.witness) };
                        let allow = vec![rule_for(&asked).expect("a rule").into()];
                        let policy = Policy { allow, deny: policy.deny.iter().filter(|rule| matches!(rule.matcher, Matcher::Cidr(_))).cloned().collect(), ..policy.clone() };
                        Decider::new(policy.clone()).decide(&surroundings(&policy), &asked.question()).reason
                    }
                };
                let denied = netpolicy::decide::Reason::DeniedByRule;
                prop_assert_eq!(reason(denying), denied, "{:#?}", line);
                prop_assert_ne!(reason(other), denied, "{:#?}", line);
            }
        }
    }

    #[test]
    fn a_policy_does_not_differ_from_itself(policy in policy()) {
        prop_assert!(difference(&policy, &policy, TODAY).is_empty());
    }

    #[test]
    fn what_opens_one_way_closes_the_other(old in policy(), new in policy()) {
        let there = difference(&old, &new, TODAY);
        let back = difference(&new, &old, TODAY);
        let words = |lines: &[Line]| {
            let mut words: Vec<_> = lines.iter().map(|line| (line.targets.clone(), line.ports.clone(), line.at.clone())).collect();
            words.sort_by_cached_key(|line| format!("{line:?}"));
            words
        };
        prop_assert_eq!(words(&there.opens), words(&back.closes));
        prop_assert_eq!(words(&there.closes), words(&back.opens));
    }
}

fn as_asked(witness: &Witness) -> Asked {
    Asked {
        target: witness.target.clone(),
        port: Some(witness.port),
        address: witness.address.filter(|_| !witness.is_the_host).or(witness.is_the_host.then_some(GATEWAY)),
        resolver: witness.resolver,
        transport: netpolicy::target::Transport::Tcp,
        day: witness.day,
    }
}

fn of_text(network: &str) -> Policy {
    let text = format!("version: 1\nnetwork:\n{network}");
    load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.clone())).expect("a good policy").policy
}

fn told(old: &Policy, new: &Policy) -> String {
    let found = difference(old, new, TODAY);
    let lines = |sign: char, lines: &[Line]| -> String {
        lines
            .iter()
            .map(|line| {
                let (old, new) = line.causes();
                format!("{sign} {line}   [{old} → {new}]\n")
            })
            .collect()
    };
    let changes: String = found
        .changes
        .iter()
        .map(|change| {
            format!(
                "~ {}: {:?} → {:?}{}\n",
                change.key,
                change.old,
                change.new,
                if change.widens { " widens" } else { "" }
            )
        })
        .collect();
    format!("{}{}{changes}", lines('+', &found.opens), lines('-', &found.closes))
}

#[test]
fn lines_are_few_and_exact() {
    let old = of_text(concat!(
        "  allow:\n    - a.example\n    - '*.b.example'\n    - host: git.corp.example\n      ports: [443, 22]\n      private: [10.20.0.0/16]\n",
        "    - cidr: 198.51.100.0/25\n      ports: [5432]\n",
        "  deny:\n    - secret.b.example\n    - cidr: 203.0.113.0/24\n    - cidr: 192.0.2.0/24\n      ports: [22]\n",
    ));
    let new = of_text(concat!(
        "  allow:\n    - a.example:8443\n    - .b.example\n    - host: git.corp.example\n      ports: [443, 22]\n      private: [10.20.0.0/15]\n",
        "      protocol: tcp\n    - cidr: 198.51.100.0/24\n      ports: [5432, 5433]\n",
        "  deny:\n    - secret.b.example:443\n    - cidr: 203.0.113.128/25\n",
    ));
    insta::assert_snapshot!(told(&old, &new));
    insta::assert_snapshot!("lines_are_few_and_exact_backwards", told(&new, &old));
}

#[test]
fn a_wildcard_says_what_it_does_not_open() {
    let old = of_text("  allow:\n    - api.example.org\n    - '*.deep.example.org'\n");
    let new = of_text(
        "  allow:\n    - .example.org\n  deny:\n    - .secret.example.org\n    - '*.half.example.org'\n",
    );
    insta::assert_snapshot!(told(&old, &new));
}

/// The private ranges of the allow list and of the ceiling are two lists: which is which counts.
#[test]
fn a_ceiling_of_one_name_does_not_hide_ranges_of_another() {
    let old = of_text(concat!(
        "  ceiling:\n    - {host: .a.example, private: [192.168.7.0/24, fc00::/7]}\n",
        "    - {host: .d.example, private: ['fc00::/7']}\n",
    ));
    let new = of_text(concat!(
        "  allow:\n    - {host: .a.example, private: [10.0.0.0/8]}\n",
        "    - {host: .d.example, private: [10.0.0.0/8, 192.168.7.0/24]}\n",
    ));
    for lines in [difference(&old, &new, TODAY).opens, difference(&new, &old, TODAY).closes] {
        let lines: Vec<String> = agents_words(&lines);
        assert!(lines.contains(&".a.example:443 at 10.0.0.0/8".to_owned()), "{lines:#?}");
        assert!(lines.contains(&".d.example:443 at 10.0.0.0/8,192.168.7.0/24".to_owned()), "{lines:#?}");
    }
}

fn agents_words(lines: &[Line]) -> Vec<String> {
    agents(lines).map(ToString::to_string).collect()
}

/// Compares what may be permitted as well as what is: a denial of a policy without a ceiling keeps
/// every other layer from a name.
#[test]
fn a_lifted_denial_opens_where_no_ceiling_is() {
    let old = of_text(concat!(
        "  deny:\n    - .pastebin.com\n    - {host: mail.example, ports: [25, 587]}\n",
        "    - {cidr: 203.0.113.0/24}\n    - {cidr: 10.0.0.0/8}\n    - {cidr: 169.254.0.0/16}\n    - host.docker.internal\n",
    ));
    let new = of_text(
        "  deny:\n    - api.pastebin.com:443\n    - mail.example:25\n    - {cidr: 203.0.113.128/25, ports: [22]}\n",
    );
    insta::assert_snapshot!(told(&old, &new));
    assert!(difference(&old, &new, TODAY).reaches_more());
    assert!(!difference(&new, &old, TODAY).reaches_more());
}

#[test]
fn a_new_ceiling_opens_nothing_but_lifted_denials() {
    let old = of_text("  deny: [b.example]\n");
    let same = of_text("  ceiling: [a.example, b.example]\n  deny: [b.example]\n");
    let lifted = of_text("  ceiling: [a.example, b.example]\n");
    assert!(!difference(&old, &same, TODAY).reaches_more(), "{}", told(&old, &same));
    let opens = difference(&old, &lifted, TODAY).opens;
    let words: Vec<String> = opens.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["weaker layers may permit b.example:443"]);
    // Nor does a lifted ceiling close anything.
    assert_eq!(difference(&same, &old, TODAY).closes, []);
}
