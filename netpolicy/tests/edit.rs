//! Names added to the text of a policy: exactly they, and every old line stays.

use netpolicy::edit::{ByHand, Permission, Unedited, permit};
use netpolicy::load::{load, rule_from_flag};
use netpolicy::policy::{Date, Layer, Policy};
use proptest::prelude::*;

const TODAY: Date = Date::constant(2026, 11, 25);

fn policy(text: &str) -> Policy {
    let loaded = load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.to_owned()));
    loaded.unwrap_or_else(|found| panic!("{found:?}\n{text}")).policy
}

fn names(texts: &[&str]) -> Vec<Permission> {
    texts
        .iter()
        .map(|text| Permission::of_rule(&rule_from_flag("--allow", text).expect("a rule")).expect("a name"))
        .collect()
}

/// Checks what must hold for every edit; the new text.
fn checked(old: &str, names: &[Permission]) -> Result<String, Unedited> {
    let new = permit("p.yml", old, names)?;
    let (before, after) = (policy(old), policy(&new));
    let added = after.allow.len() - before.allow.len();
    assert_eq!(added, names.len(), "{old}\n---\n{new}");
    let texts: Vec<String> =
        after.allow[before.allow.len()..].iter().map(|rule| rule.origin.text.clone()).collect();
    let wanted: Vec<String> = names.iter().map(|name| format!("{}:{}", name.host, name.port)).collect();
    assert_eq!(texts, wanted, "{new}");
    let rest = Policy { allow: after.allow[..before.allow.len()].to_vec(), ..after };
    assert_eq!(rest.canonical(), before.canonical(), "{old}\n---\n{new}");
    let prefix = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    let suffix = old.bytes().rev().zip(new.bytes().rev()).take_while(|(a, b)| a == b).count();
    assert!(prefix + suffix >= old.len(), "one insertion, and nothing else:\n{old}\n---\n{new}");
    Ok(new)
}

#[test]
fn each_form_of_a_file_keeps_its_form() {
    for (old, new) in [
        // A block, with comments and another list behind it.
        (
            "# ours\nversion: 1\nnetwork:\n  allow:\n    # the forge\n    - gitlab.com   # 443\n\n  # never\n  deny: [bad.test]\n",
            "# ours\nversion: 1\nnetwork:\n  allow:\n    # the forge\n    - gitlab.com   # 443\n    - a.test\n    - b.test:8443\n\n  # never\n  deny: [bad.test]\n",
        ),
        // A block that is not indented, and a rule of several lines.
        (
            "version: 1\nnetwork:\n  allow:\n  - host: x.test\n    ports: [22,\n      80]\n",
            "version: 1\nnetwork:\n  allow:\n  - host: x.test\n    ports: [22,\n      80]\n  - a.test\n  - b.test:8443\n",
        ),
        // No end of the last line.
        (
            "version: 1\nnetwork:\n  allow:\n    - x.test",
            "version: 1\nnetwork:\n  allow:\n    - x.test\n    - a.test\n    - b.test:8443",
        ),
        ("version: 1\nnetwork:\n  allow: []\n", "version: 1\nnetwork:\n  allow: [a.test, b.test:8443]\n"),
        (
            "version: 1\nnetwork: {allow: [\"*.x.test\"], deny: []}\n",
            "version: 1\nnetwork: {allow: [\"*.x.test\", a.test, b.test:8443], deny: []}\n",
        ),
        (
            "version: 1\nnetwork:\n  allow: [\n    x.test, # one\n    'y.test', # two\n  ]\n",
            "version: 1\nnetwork:\n  allow: [\n    x.test, # one\n    'y.test', a.test, b.test:8443, # two\n  ]\n",
        ),
        (
            "version: 1\nnetwork: # all\n  # none\n  deny: [bad.test]\n",
            "version: 1\nnetwork: # all\n  allow:\n    - a.test\n    - b.test:8443\n  # none\n  deny: [bad.test]\n",
        ),
        ("version: 1\nnetwork: {}\n", "version: 1\nnetwork: {allow: [a.test, b.test:8443]}\n"),
        (
            "version: 1\nnetwork: {deny: [bad.test]}\n",
            "version: 1\nnetwork: {allow: [a.test, b.test:8443], deny: [bad.test]}\n",
        ),
        (
            "version: 1\nextends: [gitlab@1] # forge\n# end\n",
            "version: 1\nextends: [gitlab@1] # forge\n# end\nnetwork:\n  allow:\n    - a.test\n    - b.test:8443\n",
        ),
        (
            "\u{feff}version: 1\r\nnetwork:\r\n  allow:\r\n    - x.test\r\n",
            "\u{feff}version: 1\r\nnetwork:\r\n  allow:\r\n    - x.test\r\n    - a.test\r\n    - b.test:8443\r\n",
        ),
        (
            "version: 1\nnetwork:\n  allow:\n    - host: x.test\n      reason: |\n        two\n        lines\n    # behind\n",
            "version: 1\nnetwork:\n  allow:\n    - host: x.test\n      reason: |\n        two\n        lines\n    - a.test\n    - b.test:8443\n    # behind\n",
        ),
    ] {
        assert_eq!(checked(old, &names(&["a.test", "b.test:8443"])).unwrap(), new, "{old}");
    }
}

#[test]
fn what_is_not_understood_stays_as_it_is() {
    for old in [
        "{version: 1}\n",
        "version: 1\rnetwork: {allow: []}\r",
        "version: 1\nnetwork:\r\n  allow: []\n",
        "version: 1\n...\n",
    ] {
        assert!(matches!(permit("p.yml", old, &names(&["a.test"])), Err(Unedited::Form)), "{old:?}");
    }
    for old in ["", "network: [", "version: 1\nnetwork: &a {allow: []}\n", "a: 1\na: 2\n"] {
        assert!(permit("p.yml", old, &names(&["a.test"])).is_err(), "{old:?}");
    }
}

#[test]
fn more_than_a_name_and_a_port_is_for_a_person_to_write() {
    for (text, line) in [("*.a.test", "\"*.a.test\""), (".a.test:22", "\".a.test:22\"")] {
        let rule = rule_from_flag("--allow", text).unwrap();
        assert!(
            matches!(Permission::of_rule(&rule), Err(ByHand { line: found, .. }) if found == line),
            "{text}"
        );
    }
    let of = |entry: &str| {
        let policy = policy(&format!("version: 1\nnetwork:\n  allow:\n    - {entry}\n"));
        Permission::of_rule(&policy.allow[0])
    };
    for entry in [
        "{host: a.test, private: [10.0.0.0/8]}",
        "{cidr: 198.51.100.0/24, ports: [443]}",
        "{host: host.docker.internal, ports: [80], host-access: true}",
        "{host: a.test, protocol: tcp}",
        "{host: a.test, ports: [80, 443]}",
        "{host: a.test, resolved-by: proxy}",
    ] {
        let by_hand = of(entry).unwrap_err();
        // The line that a person is told to write says the same as the rule.
        assert_eq!(of(&by_hand.line).unwrap_err().line, by_hand.line, "{entry}");
    }
    assert_eq!(of("{host: a.test, ports: [80], reason: x}").unwrap().to_string(), "a.test:80");
}

fn entry() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "x.test",
        "y.test:8443   # why",
        "\"*.z.test\"",
        "'1.test:80'",
        "{host: w.test, ports: [22, 80], protocol: tcp}",
        "{host: v.test, reason: \"a # b: c\"} # note",
    ])
    .prop_map(str::to_owned)
}

/// Writes `network` in one of many forms.
fn network() -> impl Strategy<Value = String> {
    let block =
        (prop::collection::vec(entry(), 1..4), prop::sample::select(vec![2usize, 4, 6]), any::<bool>())
            .prop_map(|(entries, indent, comment)| {
                let mut text = "network:\n  allow:\n".to_owned();
                for entry in entries {
                    if comment {
                        text.push_str("      # about it\n\n");
                    }
                    text.push_str(&format!("{:indent$}- {entry}\n", ""));
                }
                text
            });
    let flow =
        prop::collection::vec(prop::sample::select(vec!["x.test", "\"*.z.test\"", "{host: w.test}"]), 0..4)
            .prop_map(|entries| format!("network:\n  allow: [{}]  # flow\n", entries.join(", ")));
    prop_oneof![block, flow, Just("network:\n".to_owned()), Just(String::new())]
}

fn file() -> impl Strategy<Value = String> {
    let rest = prop::sample::select(vec!["", "# end", "notice: brief", "tests:\n  - deny: q.test"]);
    (network(), any::<bool>(), rest, any::<[bool; 3]>()).prop_map(
        |(network, deny, rest, [crlf, mark, open])| {
            let denial = "  # never\n  deny:\n    - bad.test\n";
            let network = match (network.as_str(), deny) {
                ("", _) => String::new(),
                ("network:\n", _) => format!("{network}{denial}"),
                (_, true) => format!("{network}{denial}"),
                (_, false) => network,
            };
            let mut text = format!("# head\nversion: 1\n{network}{rest}");
            if !rest.is_empty() && !open {
                text.push('\n');
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if mark { format!("\u{feff}{text}") } else { text }
        },
    )
}

proptest! {
    #[test]
    fn an_edit_adds_the_names_and_nothing_else(
        old in file(),
        chosen in prop::collection::btree_set(prop::sample::select(vec!["a.test", "b.test:8443", "1a.test", "xn--bcher-kva.test:22"]), 1..4),
    ) {
        let chosen: Vec<&str> = chosen.into_iter().collect();
        let new = checked(&old, &names(&chosen)).map_err(|error| TestCaseError::fail(format!("{error}: {old}")))?;
        // Lines of a block stay whole; of a list in brackets one line grows.
        let gone = old.lines().filter(|line| !new.lines().any(|other| other == *line)).count();
        prop_assert!(gone <= usize::from(old.contains('[')), "{old}\n---\n{new}");
    }
}
