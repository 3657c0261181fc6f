//! A policy in other programs' formats: whole files with their notes, the way back, and that nothing grows on the way.

use netpolicy::decide::{Question, Target, decide};
use netpolicy::export::{ExportError, Format, export};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::import;
use netpolicy::load;
use netpolicy::policy::{Ceiling, Date, Layer, Policy};
use proptest::prelude::*;

const TODAY: Date = Date::constant(2026, 11, 25);

fn policy(text: &str) -> Policy {
    load::load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.to_owned())).expect("a good policy").policy
}

fn outcome(policy: &Policy, format: Format) -> String {
    let exported = export(policy, format, TODAY).expect("few entries");
    let notes: Vec<String> = exported.notes.iter().map(ToString::to_string).collect();
    format!("{}--- notes\n{}\n", exported.text, notes.join("\n"))
}

const EVERYTHING: &str = "\
version: 1
network:
  allow:
    - gitlab.com
    - '*.gitlab.com'
    - .example.org
    - {host: db.example.net, ports: [5432]}
    - {host: plain.example.net, ports: [80, 443]}
    - {host: gitlab.corp.example, ports: [443, 22], private: [10.20.0.0/16]}
    - {host: intranet, ports: [443]}
    - {cidr: 198.51.100.64/26, ports: [5432]}
    - {cidr: 10.0.0.0/24, ports: [5432]}
    - {cidr: 192.0.0.0/16, ports: [5432]}
    - {cidr: 10.30.0.0/24, ports: [5432], private: [10.30.0.0/16]}
  deny:
    - bad.example.org
    - {host: plain.example.net, ports: [80]}
    - .corp
    - cidr: 198.51.100.96/28
";

#[test]
fn whole_files() {
    for format in Format::ALL {
        insta::assert_snapshot!(format!("export_{}", format.as_str()), outcome(&policy(EVERYTHING), format));
    }
}

#[test]
fn what_permits_nothing_is_not_exported() {
    let mut policy = policy("version: 1\nnetwork:\n  allow: [a.example, b.example, c.example, d.example]\n");
    let change = |policy: &mut Policy, index: usize, change: &dyn Fn(&mut netpolicy::policy::Rule)| {
        let mut rule = netpolicy::policy::Rule::clone(&policy.allow[index]);
        change(&mut rule);
        policy.allow[index] = rule.into();
    };
    change(&mut policy, 0, &|rule| rule.expires = Some(Date::constant(2026, 11, 24)));
    change(&mut policy, 1, &|rule| rule.host_access = netpolicy::host_access::HostAccess::Address);
    change(&mut policy, 2, &|rule| rule.origin.layer = Layer::Project);
    policy.ceilings = vec![Ceiling { layer: Layer::Organisation, rules: vec![policy.allow[2].clone()] }];
    for format in Format::ALL {
        let text = export(&policy, format, TODAY).unwrap().text;
        let named = |name: &str| text.contains(name);
        assert!(!named("a.example") && !named("b.example") && !named("d.example"), "{text}");
        assert_eq!(named("c.example"), format != Format::Kubernetes, "within the ceiling: {text}");
    }
    policy.network_denied = true;
    for format in Format::ALL {
        assert!(!export(&policy, format, TODAY).unwrap().text.contains("c.example"));
    }
}

#[test]
fn gitlab_takes_a_thousand() {
    let hosts: Vec<String> = (0..1001).map(|number| format!("    - h{number}.example\n")).collect();
    let policy = policy(&format!("version: 1\nnetwork:\n  allow:\n{}", hosts.join("")));
    assert_eq!(export(&policy, Format::Gitlab, TODAY), Err(ExportError::TooMany { count: 1001, most: 1000 }));
}

#[test]
fn exported_files_are_good_yaml() {
    for format in Format::ALL {
        let text = export(&policy(EVERYTHING), format, TODAY).unwrap().text;
        // The importer reads any mapping, and refuses what is no YAML.
        let read = import::import("x", &text, Some(import::Format::Gitlab), Layer::Run);
        assert!(read.is_ok(), "{read:?}\n{text}");
    }
}

fn entry() -> impl Strategy<Value = String> {
    let name = prop::collection::vec(prop::sample::select(vec!["a", "b", "x-y", "n1"]), 1..4)
        .prop_map(|labels| format!("{}.test", labels.join(".")));
    (prop::sample::select(vec!["", "*."]), name).prop_map(|(before, name)| format!("{before}{name}"))
}

fn from_import(imported: &import::Imported) -> Policy {
    Policy {
        allow: imported.allow.iter().cloned().map(Into::into).collect(),
        deny: imported.deny.iter().cloned().map(Into::into).collect(),
        ..Policy::nothing()
    }
}

proptest! {
    #[test]
    fn gitlab_there_and_back(allowed in prop::collection::btree_set(entry(), 0..8), denied in prop::collection::btree_set(entry(), 0..8)) {
        let text = serde_json::json!({"network_policy": {"allowed_domains": allowed, "denied_domains": denied}}).to_string();
        let policy = from_import(&import::import("x", &text, Some(import::Format::Gitlab), Layer::Run).unwrap());
        let back = export(&policy, Format::Gitlab, TODAY).unwrap().text;
        let again = from_import(&import::import("x", &back, Some(import::Format::Gitlab), Layer::Run).unwrap());
        let texts = |policy: &Policy| -> Vec<String> {
            policy.allow.iter().chain(&policy.deny).map(|rule| rule.origin.text.clone()).collect()
        };
        prop_assert_eq!(texts(&policy), texts(&again));
        prop_assert_eq!(policy.allow.len(), allowed.len());
        prop_assert_eq!(policy.deny.len(), denied.len());
    }

    /// Cilium has no denials of names: whatever it is told to permit must be permitted here.
    #[test]
    fn cilium_permits_no_name_that_is_refused(allowed in prop::collection::vec(entry(), 0..6), denied in prop::collection::vec((entry(), any::<bool>()), 0..4), name in entry()) {
        let list = |entries: Vec<String>| entries.iter().map(|entry| format!("    - '{entry}'\n")).collect::<String>();
        let denied: Vec<String> = denied.into_iter().map(|(entry, port)| if port { format!("{entry}:443") } else { entry }).collect();
        let mut text = "version: 1\nnetwork:\n  dns: {}\n".to_owned();
        if !allowed.is_empty() { text += &format!("  allow:\n{}", list(allowed)); }
        if !denied.is_empty() { text += &format!("  deny:\n{}", list(denied)); }
        let policy = policy(&text);
        let exported = export(&policy, Format::Cilium, TODAY).unwrap().text;
        let name = HostName::parse(name.trim_start_matches("*.")).unwrap();
        let there = exported.lines().any(|line| {
            let line = line.trim().trim_start_matches("- ");
            let value = |key: &str| line.strip_prefix(key).map(|value| value.trim().trim_matches('"').to_owned());
            value("matchName:").is_some_and(|own| own == name.as_str())
                || value("matchPattern:").is_some_and(|own| name.as_str().ends_with(own.trim_start_matches("**")))
        });
        let target = Target::Name(name.clone());
        let here = decide(&policy, &Surroundings::default(), &Question::about(&target, TODAY).port(443)).allowed;
        prop_assert!(!there || here, "{name}\n{text}\n{exported}");
    }
}
