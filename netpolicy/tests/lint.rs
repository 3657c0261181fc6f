//! What is said about good policies that perhaps say something else than meant.

use std::fmt::Write;
use std::time::{Duration, Instant};

use netpolicy::diagnostic::{Severity, render};
use netpolicy::load::{LayerSource, Loaded, load_layers};
use netpolicy::policy::{Date, Layer};

const TODAY: Date = Date::constant(2026, 11, 25);

/// Loads one text for each layer.
fn layers(texts: &[(Layer, &str)]) -> Loaded {
    let sources: Vec<LayerSource> =
        texts.iter().map(|(layer, _)| LayerSource::files(*layer, vec![format!("./{layer}.yml")])).collect();
    let mut read = |layer: Layer, _: &str| {
        let found = texts.iter().find(|(of, _)| *of == layer);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    };
    load_layers(&sources, TODAY, &mut read).unwrap_or_else(|findings| panic!("{}", render(&findings)))
}

fn one(network: &str) -> Loaded {
    layers(&[(Layer::Run, &format!("version: 1\nnetwork:\n{network}"))])
}

/// The code and line of every finding.
fn codes(loaded: &Loaded) -> Vec<(&'static str, u32)> {
    let warnings = loaded.warnings.iter().filter(|finding| finding.severity == Severity::Warning);
    warnings.map(|finding| (finding.code, finding.line)).collect()
}

#[test]
fn findings_in_words() {
    let loaded = layers(&[
        (
            Layer::User,
            "version: 1\nnetwork:\n  ceiling: [{host: .gitlab.com, expires: 2026-12-01}, {host: .example, ports: [443, 22]}]\n",
        ),
        (
            Layer::Run,
            r#"version: 1
network:
  allow:
    - {host: gitlab.com, expires: 2026-11-24}
    - {host: gitlab.com, expires: 2026-11-25}
    - {host: www.gitlab.com, expires: 2026-11-30}
    - denied.example
    - denied.example:22
    - "*.wide.example"
    - a.wide.example
    - {host: raw.example, protocol: tcp}
    - outside.test
    - partly.example:8443
    - {cidr: 198.50.0.0/15, ports: [443]}
  deny:
    - {host: denied.example, ports: [22]}
    - .denied.example
"#,
        ),
    ]);
    insta::assert_snapshot!(render(&loaded.warnings));
}

#[test]
fn what_says_nothing_new() {
    let loaded = one("  allow: [a.example, a.example]\n");
    assert_eq!(codes(&loaded), [("shadowed", 3)], "the later of two that say the same");
    let loaded = one(
        "  allow:\n    - .a.example\n    - a.example\n    - \"*.a.example\"\n    - b.a.example\n    - b.a.example:22\n",
    );
    assert_eq!(codes(&loaded), [("shadowed", 5), ("shadowed", 6), ("shadowed", 7)]);
    // These say something of their own: another port, another check, another private range, a longer life.
    for own in [
        "{host: a.example, ports: [443, 22]}",
        "{host: a.example, protocol: auto}",
        "{host: a.example, private: [10.1.0.0/16]}",
    ] {
        assert_eq!(
            codes(&one(&format!("  allow:\n    - \"*.example\"\n    - {own}\n"))),
            [("top-level", 4)],
            "{own}"
        );
    }
    assert_eq!(
        codes(&one("  allow:\n    - {host: a.example, expires: 2027-01-31}\n    - a.example\n")),
        [("shadowed", 4)]
    );
    assert_eq!(
        codes(&one(
            "  allow:\n    - {cidr: 198.51.100.0/24, ports: [22]}\n    - {cidr: 198.51.100.7/32, ports: [22]}\n"
        )),
        [("shadowed", 5)]
    );
}

#[test]
fn a_preset_is_narrowed_without_a_word() {
    let text = "version: 1\nextends: [gitlab@1]\nnetwork: {deny: [registry.gitlab.com]}\n";
    assert_eq!(codes(&layers(&[(Layer::Run, text)])), []);
}

#[test]
fn hosts_that_take_uploads_are_named_as_such() {
    let text = "version: 1\nnetwork: {allow: [gitlab.com, gist.github.com, docs.example.org]}\n";
    let loaded = layers(&[(Layer::Run, text)]);
    let notes: Vec<&str> = loaded.warnings.iter().map(|note| note.message.as_str()).collect();
    assert!(
        loaded.warnings.iter().all(|note| note.severity == Severity::Note && note.code == "uploads"),
        "{notes:?}"
    );
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[1].contains("gist.github.com:443") && notes[1].contains("gists"), "{notes:?}");
}

#[test]
fn gitlabs_own_file_is_the_projects_word() {
    let config = "image: x\nnetwork_policy:\n  allowed_domains:\n    - api.example.org\n  denied_domains: [gitlab.com]\n";
    let source = LayerSource {
        agent_config: Some(".gitlab/duo/agent-config.yml".to_owned()),
        ..LayerSource::files(Layer::Project, Vec::new())
    };
    let loaded =
        load_layers(std::slice::from_ref(&source), TODAY, &mut |_, _| Ok(config.as_bytes().to_vec()))
            .unwrap();
    let [rule] = loaded.policy.allow.as_slice() else { panic!("{:?}", loaded.policy.allow) };
    assert_eq!(
        (rule.origin.layer, rule.origin.line, rule.origin.text.as_str()),
        (Layer::Project, 4, "api.example.org:443")
    );
    assert_eq!(loaded.policy.deny.len(), 1);
    assert_eq!(codes(&loaded), [("untrusted", 4)]);
    assert_eq!(loaded.files.len(), 1, "it is part of what is approved");
    // Without a word about the network it is nobody's business; broken it is an error.
    let mut read = |_: Layer, _: &str| Ok(b"image: x\n".to_vec());
    assert!(load_layers(std::slice::from_ref(&source), TODAY, &mut read).unwrap().files.is_empty());
    let mut read = |_: Layer, _: &str| Ok(b"network_policy: [\n".to_vec());
    assert!(load_layers(&[source], TODAY, &mut read).is_err());
}

#[test]
fn a_project_nobody_has_approved_is_told_once() {
    let project =
        "version: 1\nnetwork: {allow: [a.example, b.example, {cidr: 198.51.100.0/24, ports: [1]}]}\n";
    assert_eq!(codes(&layers(&[(Layer::Project, project)])), [("untrusted", 2), ("needs-ceiling", 2)]);
    let ceiling = "version: 1\nnetwork: {ceiling: [.example]}\n";
    let loaded = layers(&[(Layer::User, ceiling), (Layer::Project, project)]);
    assert_eq!(codes(&loaded), [("top-level", 2), ("outside-ceiling", 2)]);
}

#[test]
fn a_hostile_file_does_not_hold_anybody_up() {
    let mut same = String::from("version: 1\nnetwork:\n  allow:\n");
    let mut ports = same.clone();
    let mut nested = same.clone();
    // Port 53 is the filter's, and an error.
    for number in 54..=40_053u32 {
        same.push_str("    - a.example\n");
        // Writing to a String cannot fail.
        let _ = writeln!(ports, "    - a.example:{number}");
        let _ = writeln!(
            nested,
            "    - {{cidr: 10.0.0.0/{}, ports: [{number}], private: [10.0.0.0/8]}}",
            8 + number % 25
        );
    }
    for (what, text) in [("the same", same), ("ports", ports), ("nested", nested)] {
        let begin = Instant::now();
        let loaded = layers(&[(Layer::Run, &text)]);
        let took = begin.elapsed();
        assert!(loaded.warnings.len() <= 250, "{what}: {} findings", loaded.warnings.len());
        // Unoptimised code on a busy machine; what grows with the square takes minutes.
        assert!(took < Duration::from_secs(30), "{what} took {took:?}");
    }
}

/// A ceiling that keeps out names of a preset is told once, with the names: a person who uses the
/// preset cannot know why the agent ends.
#[test]
fn a_preset_that_a_ceiling_cuts_is_told_once() {
    let user = "version: 1\nnetwork: {ceiling: [api.anthropic.com], deny: [claude.ai]}\n";
    let run = "version: 1\nextends: [anthropic@1]\n";
    let loaded = layers(&[(Layer::User, user), (Layer::Run, run)]);
    let found: Vec<_> = loaded.warnings.iter().filter(|found| found.code == "outside-ceiling").collect();
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert!(found.message.contains("1 of the 3 rules of preset anthropic@1"), "{}", found.message);
    assert!(found.message.ends_with("the user's policy: platform.claude.com:443"), "{}", found.message);
    let wide = "version: 1\nnetwork: {ceiling: [api.anthropic.com, .claude.ai, .claude.com]}\n";
    let loaded = layers(&[(Layer::User, wide), (Layer::Run, run)]);
    assert!(loaded.warnings.iter().all(|found| found.code != "outside-ceiling"), "{:?}", loaded.warnings);
}
