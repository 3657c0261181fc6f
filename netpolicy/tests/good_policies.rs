//! Policies that can be used: what they become.

use netpolicy::diagnostic::{Severity, render};
use netpolicy::load::{LayerSource, Loaded, load, load_layers};
use netpolicy::policy::{Date, Layer};
use netpolicy::settings::Upstream;

const TODAY: Date = Date::constant(2026, 11, 25);

fn good(text: &str) -> Loaded {
    match load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.to_owned())) {
        Ok(loaded) => loaded,
        Err(findings) => panic!("{}", render(&findings)),
    }
}

fn rules(loaded: &Loaded) -> Vec<&str> {
    loaded.policy.allow.iter().map(|rule| rule.origin.text.as_str()).collect()
}

#[test]
fn the_forms_of_a_rule() {
    let loaded = good(
        r#"
version: 1
network:
  allow:
    - gitlab.com
    - "*.gitlab.com"
    - '.example.com'
    - api.example.com:8443
    - .dot.example
    - {host: a.example, ports: [22, 8443, 22], protocol: tcp, private: [10.20.0.0/16, "fd00:1::/64"], reason: why not}
    - {cidr: 198.51.100.64/26, ports: [5432]}
  deny: [.pastebin.com, "*.zip", {cidr: 0.0.0.0/0, ports: [25]}, {cidr: "2001:db8::/32"}]
  dns: {upstreams: [system, 10.0.0.53, "10.0.0.53:5353", "[2001:db8::1]:53"], names-per-wildcard: 3, virtual-range: 26.0.0.0/20}
"#,
    );
    assert_eq!(
        rules(&loaded),
        [
            "gitlab.com:443",
            "*.gitlab.com:443",
            ".example.com:443",
            "api.example.com:8443",
            ".dot.example:443",
            "a.example:22,8443",
            "198.51.100.64/26:5432"
        ]
    );
    insta::assert_snapshot!("forms", serde_json::to_string_pretty(&loaded.policy).unwrap());
    assert!(loaded.warnings.iter().all(|found| found.severity == Severity::Note), "{:?}", loaded.warnings);
}

#[test]
fn nothing_said_is_nothing_permitted() {
    let loaded = good("version: 1\n");
    assert_eq!(loaded.policy, netpolicy::policy::Policy::nothing());
    assert_eq!(good("version: 1\nnetwork: {allow: []}\n").policy, loaded.policy);
}

#[test]
fn warnings_do_not_stop_a_policy() {
    let loaded = good(
        "version: 1\nnetwork:\n  allow:\n    - \"*.github.io\"\n    - .corp\n    - {cidr: 10.0.0.0/24, ports: [22]}\n    - {cidr: 169.254.0.0/16, ports: [22]}\n",
    );
    insta::assert_snapshot!("warnings", render(&loaded.warnings));
}

#[test]
fn the_extending_file_wins_and_lists_append() {
    let mut read = |path: &str| {
        match path {
        "dir/a.yml" => Ok("version: 1\nnetwork: {allow: [a.example], dns: {names-per-wildcard: 5}}\nextends: [b.yml, sub/c.yml]\n".to_owned()),
        "dir/b.yml" => Ok("version: 1\nextends: [sub/c.yml]\nnetwork: {allow: [b.example], dns: {names-per-wildcard: 6, upstreams: [1.1.1.1]}}\n".to_owned()),
        "dir/sub/c.yml" => Ok("version: 1\nextends: [gitlab@1]\nnetwork: {allow: [c.example], dns: {upstreams: [2.2.2.2]}}\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
    };
    let loaded = load("dir/a.yml", Layer::Run, TODAY, &mut read).unwrap();
    let texts = rules(&loaded);
    assert_eq!(texts[texts.len() - 3..], ["c.example:443", "b.example:443", "a.example:443"]);
    assert_eq!(texts.iter().filter(|text| **text == "c.example:443").count(), 1);
    assert_eq!(loaded.policy.dns.names_per_wildcard, 5);
    assert_eq!(loaded.policy.dns.upstreams, [Upstream::Plain("1.1.1.1:53".parse().unwrap())]);
    assert_eq!(loaded.policy.allow[0].origin.file, "preset gitlab@1");
}

#[test]
fn several_entries_read_like_one_that_extends_them() {
    let read = |path: &str| Ok(format!("version: 1\nnetwork: {{allow: [{path}.example]}}\n").into_bytes());
    let source = LayerSource::files(Layer::Run, ["./a", "gitlab", "./b"].map(str::to_owned).to_vec());
    let loaded = load_layers(&[source], TODAY, &mut |_, path| read(path.trim_start_matches("./"))).unwrap();
    assert_eq!(rules(&loaded).first(), Some(&"a.example:443"));
    assert_eq!(rules(&loaded).last(), Some(&"b.example:443"));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_read() {
    let loaded = good("\u{FEFF}version: 1\r\nnetwork:\r\n  allow:\r\n    - gitlab.com\r\n");
    assert_eq!(loaded.policy.allow[0].origin.line, 4);
    // A lone carriage return is a line's end to YAML too, and places are counted alike.
    let loaded = good("version: 1\rnetwork:\r  allow:\r    - gitlab.com\r");
    assert_eq!(loaded.policy.allow[0].origin.line, 4);
}

#[test]
fn any_layer_makes_the_notice_brief_and_none_makes_it_full_again() {
    let read =
        |path: &str| Ok(format!("version: 1\nnotice: {}\n", path.trim_start_matches("./")).into_bytes());
    let full = good("version: 1\n").policy;
    assert!(full.notice.is_full() && !full.canonical().contains("notice"));
    for (strong, weak, is_full) in [
        ("full", "full", true),
        ("brief", "full", false),
        ("full", "brief", false),
        ("brief", "brief", false),
    ] {
        let layers =
            [(Layer::Organisation, strong), (Layer::Project, weak)].map(|(layer, says)| LayerSource {
                root: (layer == Layer::Project).then(|| ".".to_owned()),
                ..LayerSource::files(layer, vec![format!("./{says}")])
            });
        let loaded = load_layers(&layers, TODAY, &mut |_, path| read(path)).unwrap();
        assert_eq!(loaded.policy.notice.is_full(), is_full, "{strong} {weak}");
        assert_eq!(loaded.policy.digest() == full.digest(), is_full);
    }
}

#[test]
fn any_layer_hides_what_is_committed_and_none_takes_it_back() {
    let read = |path: &str| {
        let says = path.trim_start_matches("./");
        Ok(format!("version: 1\nworkspace: {{hide-committed: {says}}}\n").into_bytes())
    };
    for (strong, weak, hides) in
        [("false", "false", false), ("true", "false", true), ("false", "true", true), ("true", "true", true)]
    {
        let layers = [(Layer::User, strong), (Layer::Run, weak)];
        let layers = layers.map(|(layer, says)| LayerSource::files(layer, vec![format!("./{says}")]));
        let loaded = load_layers(&layers, TODAY, &mut |_, path| read(path)).unwrap();
        assert_eq!(loaded.policy.workspace.hide_committed, hides, "{strong} {weak}");
    }
    // A project may hide more.
    let text = "version: 1\nworkspace: {hide-committed: true}\n";
    let loaded = load("p.yml", Layer::Project, TODAY, &mut |_| Ok(text.to_owned())).unwrap();
    assert!(loaded.policy.workspace.hide_committed);
}

#[test]
fn names_whose_refusal_does_no_harm_change_nothing() {
    let plain = good("version: 1\nnetwork: {allow: [a.example]}\n");
    let told = good(
        "version: 1\nnetwork:\n  allow: [a.example]\n  harmless:\n    - {host: .t.example, reason: telemetry}\n",
    );
    let named: Vec<_> = told.policy.harmless.iter().map(|one| (one.host.to_string(), &*one.reason)).collect();
    assert_eq!(named, [(".t.example".to_owned(), "telemetry")]);
    assert_eq!(told.policy.digest(), plain.policy.digest());
    assert!(netpolicy::reach::difference(&plain.policy, &told.policy, TODAY).is_empty());
    let printed = netpolicy::print::policy(&told.policy, &|_| None);
    assert_eq!(good(&printed).policy.harmless, told.policy.harmless, "{printed}");
    for (entry, code) in [
        ("{host: t.example}", "harmless"),
        ("{reason: telemetry}", "harmless"),
        ("t.example", "wrong-type"),
        ("{host: t.example, reason: x, ports: [443]}", "unknown-key"),
        ("{host: \"t.example:443\", reason: x}", "port-in-host"),
    ] {
        let text = format!("version: 1\nnetwork:\n  harmless:\n    - {entry}\n");
        let found = load("p.yml", Layer::Run, TODAY, &mut |_| Ok(text.clone())).unwrap_err();
        assert_eq!(found[0].code, code, "{entry}: {found:?}");
    }
}

#[test]
fn a_projects_own_file_hides_no_refusal_and_a_preset_in_it_may() {
    let own = "version: 1\nnetwork:\n  harmless:\n    - {host: t.example, reason: telemetry}\n";
    let found = load("p.yml", Layer::Project, TODAY, &mut |_| Ok(own.to_owned())).unwrap_err();
    assert_eq!(found[0].code, "layer");
    let preset = "version: 1\nextends: [anthropic@1]\n";
    let loaded = load("p.yml", Layer::Project, TODAY, &mut |_| Ok(preset.to_owned())).unwrap();
    assert!(!loaded.policy.harmless.is_empty());
}

#[test]
fn the_smallest_number_of_connections_counts_and_a_projects_only_lowers() {
    use netpolicy::ruleset::{AppliedBounds, ConnectionShare, ConnectionTable};
    // A share of 2,048 at once and 47 a second.
    let table = Some(ConnectionTable { entries: 65_536, linger: 120 });
    let share = ConnectionShare { table, runs: 1 };
    let digest = good("version: 1\n").policy.digest();
    for (layers, at_once, set_by) in [
        (&[][..], 2048, None),
        (&[(Layer::Organisation, 9000)], 9000, Some(Layer::Organisation)),
        (&[(Layer::Organisation, 30)], 30, Some(Layer::Organisation)),
        (&[(Layer::Organisation, 9000), (Layer::Run, 5000)], 5000, Some(Layer::Run)),
        (&[(Layer::Organisation, 9000), (Layer::User, 10_000)], 9000, Some(Layer::Organisation)),
        (&[(Layer::User, 10_000)], 10_000, Some(Layer::User)),
        (&[(Layer::Project, 9000)], 2048, None),
        (&[(Layer::Project, 30)], 30, Some(Layer::Project)),
        (&[(Layer::Organisation, 9000), (Layer::Project, 5000)], 5000, Some(Layer::Project)),
        (&[(Layer::Organisation, 30), (Layer::Project, 5000)], 30, Some(Layer::Organisation)),
    ] {
        let sources: Vec<LayerSource> = layers
            .iter()
            .map(|(layer, most)| LayerSource::files(*layer, vec![format!("./{most}")]))
            .collect();
        let read = |path: &str| {
            let most = path.trim_start_matches("./");
            Ok(format!("version: 1\ncontainer: {{connections: {most}}}\n").into_bytes())
        };
        let policy = load_layers(&sources, TODAY, &mut |_, path| read(path)).unwrap().policy;
        let applied = AppliedBounds::of(&policy.connections, share);
        assert_eq!(applied.bounds.at_once(), at_once, "{layers:?}");
        assert_eq!(applied.set_by.first().map(|origin| origin.layer), set_by, "{layers:?}");
        assert_eq!((applied.bounds.per_second(), applied.share), (47, Some(share)), "{layers:?}");
        assert_eq!(policy.digest() == digest, layers.is_empty());
    }
    // A project's number and another's are not the same policy.
    let of =
        |layer| load("p.yml", layer, TODAY, &mut |_| Ok("version: 1\ncontainer: {connections: 9}\n".into()));
    assert_ne!(of(Layer::Project).unwrap().policy.digest(), of(Layer::Run).unwrap().policy.digest());
}

#[test]
fn a_number_of_connections_has_bounds() {
    for (bad, good) in [
        ("connections: 0", "connections: 1"),
        ("connections: 10001", "connections: 10000"),
        ("connections: many", "connections: 7"),
        ("connections-per-second: 0", "connections-per-second: 1"),
        ("connections-per-second: 4001", "connections-per-second: 4000"),
        ("connections-per-second: 0.5", "connections-per-second: 5"),
    ] {
        let read = |line: &str| {
            let text = format!("version: 1\ncontainer: {{{line}}}\n");
            load("p.yml", Layer::Project, TODAY, &mut |_| Ok(text.clone()))
        };
        assert!(read(bad).is_err(), "{bad}");
        assert!(read(good).is_ok(), "{good}");
    }
}
