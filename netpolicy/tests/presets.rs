//! What ships: every line has a source, says whether it takes uploads, and loads without a finding.

use netpolicy::load;
use netpolicy::policy::{Date, Layer, Matcher, Protocol};
use netpolicy::presets::{self, InstanceError, PRESETS, self_managed};
use netpolicy::uploads::accepts_uploads;

const TODAY: Date = Date::constant(2026, 11, 25);

#[test]
fn every_preset_loads_and_is_found() {
    for preset in PRESETS {
        let reference = format!("{}@{}", preset.name, preset.version);
        let loaded =
            load::load(&reference, Layer::Run, TODAY, &mut |path| Err(format!("reads {path}"))).unwrap();
        // SSH on port 443 is bytes, and is said to be; so is that most of these hosts take uploads.
        let unsaid = loaded.warnings.iter().filter(|found| {
            found.code != "uploads" && (preset.name != "gitlab-ssh" || found.code != "unchecked")
        });
        assert_eq!(unsaid.count(), 0, "{reference}: {:?}", loaded.warnings);
        // That of an agent without a provider of its own permits nothing.
        let says_something = match preset.name {
            "opencode" => loaded.policy.allow.is_empty() && !loaded.policy.harmless.is_empty(),
            _ => !loaded.policy.allow.is_empty(),
        };
        assert!(says_something, "{reference}");
        assert_eq!(presets::find(preset.name).unwrap().text, preset.text);
        assert!(
            preset.summary().ends_with('.') || preset.summary().ends_with(':'),
            "{reference}: {}",
            preset.summary()
        );
    }
    let names: Vec<_> = PRESETS.iter().map(|preset| (preset.name, preset.version)).collect();
    assert!(names.is_sorted());
}

#[test]
fn every_line_has_a_source() {
    for preset in PRESETS {
        let reference = format!("{}@{}", preset.name, preset.version);
        let loaded = load::load(&reference, Layer::Run, TODAY, &mut |_| Err(String::new())).unwrap();
        for rule in &loaded.policy.allow {
            let before: Vec<&str> = preset.text.lines().take(rule.origin.line as usize - 1).collect();
            let mut comment = before.iter().rev().take_while(|line| line.trim_start().starts_with('#'));
            assert!(
                comment.any(|line| line.contains("https://")),
                "{reference}: {}: no source",
                rule.origin.text
            );
        }
    }
}

#[test]
fn uploads_are_marked_as_the_table_says() {
    for preset in PRESETS {
        let reference = format!("{}@{}", preset.name, preset.version);
        let policy = load::load(&reference, Layer::Run, TODAY, &mut |_| Err(String::new())).unwrap().policy;
        for rule in &policy.allow {
            let Matcher::Host(pattern) = &rule.matcher else { panic!("{reference}: {}", rule.origin.text) };
            assert!(!pattern.is_wildcard(), "{reference}: {pattern} permits more than is known");
            let marked = rule.reason.as_deref().is_some_and(|reason| reason.ends_with("accepts uploads"));
            assert_eq!(accepts_uploads(pattern).is_some(), marked, "{reference}: {pattern}");
        }
    }
}

#[test]
fn an_instance_of_ones_own() {
    for (url, text, protocol) in [
        ("https://gitlab.corp.example", "gitlab.corp.example:443", None),
        ("https://GitLab.corp.example/gitlab/", "gitlab.corp.example:443", None),
        ("https://user:secret@gitlab.corp.example:8443/", "gitlab.corp.example:8443", Some(Protocol::Tls)),
        ("http://gitlab.corp.example", "gitlab.corp.example:80", None),
        ("http://gitlab.corp.example:443", "gitlab.corp.example:443", Some(Protocol::Http)),
        ("https://gitlab:8929", "gitlab:8929", Some(Protocol::Tls)),
    ] {
        let rules = self_managed(url).unwrap();
        assert_eq!(rules.len(), 1, "{url}");
        assert_eq!((rules[0].origin.text.as_str(), rules[0].protocol), (text, protocol), "{url}");
        assert!(
            rules[0].private.is_empty() && !rules[0].host_access.is_given(),
            "{url}: nothing private is implied"
        );
    }
}

#[test]
fn an_instance_is_a_rule_and_its_password_is_not_repeated() {
    let load = |url: &str| {
        let source = load::LayerSource {
            gitlab: Some(url.to_owned()),
            ..load::LayerSource::files(Layer::Run, Vec::new())
        };
        load::load_layers(&[source], TODAY, &mut |_, _| Err(String::new()))
    };
    let loaded = load("https://user:secret@gitlab.corp.example:8443").unwrap();
    let origin = &loaded.policy.allow[0].origin;
    assert_eq!((origin.file.as_str(), origin.text.as_str()), ("--gitlab", "gitlab.corp.example:8443"));
    for url in ["https://user:secret@", "https://user:secret@10.0.0.1", "https://secret@gitlab.com"] {
        let errors = netpolicy::diagnostic::render(&load(url).unwrap_err());
        assert!(errors.starts_with("--gitlab") && !errors.contains("secret"), "{errors}");
    }
}

#[test]
fn no_instance() {
    for (url, error) in [
        ("gitlab.corp.example", InstanceError::Scheme),
        ("ssh://gitlab.corp.example", InstanceError::Scheme),
        ("https://10.0.0.1", InstanceError::Address),
        ("https://[::1]:8443", InstanceError::Address),
        ("https://gitlab.com/", InstanceError::GitlabCom),
    ] {
        assert_eq!(self_managed(url).unwrap_err(), error, "{url}");
    }
    for url in [
        "https://localhost:8080",
        "https://host.docker.internal",
        "https://",
        "https://a..b",
        "https://x.example:0",
    ] {
        assert!(self_managed(url).is_err(), "{url}");
    }
}

#[test]
fn what_does_no_harm_is_not_permitted_and_has_a_source() {
    let mut seen = 0;
    for preset in PRESETS {
        let policy = load::load(preset.name, Layer::Run, TODAY, &mut |_| Err(String::new())).unwrap().policy;
        for known in &policy.harmless {
            seen += 1;
            let permits = |rule: &netpolicy::policy::Rule| match &rule.matcher {
                Matcher::Host(pattern) => pattern.matches(known.host.name()),
                Matcher::Cidr(_) => false,
            };
            assert!(!policy.allow.iter().any(|rule| permits(rule)), "{}: {}", preset.name, known.host);
            assert!(!known.host.is_wildcard(), "{}: {}", preset.name, known.host);
        }
        let list = preset.text.split_once("  harmless:\n").map_or("", |(_, list)| list);
        assert!(list.is_empty() || list.trim_start().starts_with("# https://"), "{}", preset.name);
    }
    assert!(seen >= 4, "{seen}");
}
