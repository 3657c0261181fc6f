use super::*;
use crate::serve::decide::member::GroupKey;

fn group(fields: &str) -> GroupKey {
    with(fields).unwrap_or_else(|denied| panic!("{fields}: {}", denied.message)).group
}

fn joins(key: &str) -> GroupKey {
    GroupKey::Joins(key.to_owned())
}

#[test]
fn the_first_that_fits_names_the_group() {
    let compose = r#""Labels":{"com.docker.compose.project":"shop","org.testcontainers.session-id":"s"}"#;
    for (fields, wanted) in [
        ("", GroupKey::Alone),
        (compose, joins("compose:shop")),
        (r#""Labels":{"com.docker.compose.project":""}"#, GroupKey::Alone),
        (
            r#""Labels":{"com.gitlab.gitlab-runner.job.id":"7","com.gitlab.gitlab-runner.runner.local_id":"2"}"#,
            joins("job:2:7"),
        ),
        (r#""Labels":{"org.testcontainers.session-id":"s1"}"#, joins("session:s1")),
        (r#""Labels":{"devcontainer.local_folder":"/home/u/p"}"#, joins("devcontainer:/home/u/p")),
        (r#""HostConfig":{"NetworkMode":"bridge"}"#, GroupKey::Alone),
        (r#""HostConfig":{"NetworkMode":"container:db"}"#, joins("compose:shop")),
        (
            r#""HostConfig":{"NetworkMode":"container:web"},"Labels":{"com.docker.compose.project":"x"}"#,
            joins("own-2"),
        ),
        // A network of a project leads to the project.
        (r#""HostConfig":{"NetworkMode":"shop_default"}"#, joins("compose:shop")),
        (r#""NetworkingConfig":{"EndpointsConfig":{"shop_default":null}}"#, joins("compose:shop")),
    ] {
        assert_eq!(group(fields), wanted, "{fields}");
    }
    let spec = with(r#""HostConfig":{"NetworkMode":"container:db"}"#).unwrap();
    assert_eq!(spec.beside, Some("1".repeat(64).parse().unwrap()), "that one's own fence, and no other");
    assert!(with(compose).unwrap().beside.is_none());
    let plain = format!("network:{}", "4".repeat(64));
    assert_eq!(group(r#""HostConfig":{"NetworkMode":"plain"}"#), joins(&plain));
    let by_id = format!(r#""HostConfig":{{"NetworkMode":"{}"}}"#, "4".repeat(64));
    assert_eq!(group(&by_id), joins(&plain), "a network by its id is the same");
}

#[test]
fn no_two_groups_have_one_key() {
    let labels = |runner: &str, job: &str| {
        let (runner, job) = (serde_json::json!(runner), serde_json::json!(job));
        group(&format!(
            r#""Labels":{{"com.gitlab.gitlab-runner.job.id":{job},"com.gitlab.gitlab-runner.runner.local_id":{runner}}}"#
        ))
    };
    assert_ne!(labels("1:2", "3"), labels("1", "2:3"));
    assert_ne!(labels("", "1:2"), labels("1", "2"));
    let long = "x".repeat(5000);
    let GroupKey::Joins(key) = labels("1", &long) else { panic!("no key") };
    assert!(key.len() < 100 && key.starts_with("job:#"), "{key}");
    let GroupKey::Joins(odd) = labels("1", "a\u{1b}[2J\nb") else { panic!("no key") };
    assert!(odd.is_ascii() && !odd.contains(char::is_control), "{odd:?}");
}

#[test]
fn networks_of_others_are_refused() {
    for (mode, status) in [
        ("host", 400),
        ("container:other", 404),
        ("container:", 400),
        ("container:a b", 400),
        ("ns:/proc/1/ns/net", 400),
        ("other", 404),
        ("HOST", 404),
        ("slirp4netns:allow_host_loopback=true", 400),
        ("default ", 400),
    ] {
        let mode = serde_json::json!(mode);
        assert_eq!(refused(with_host(&format!(r#""NetworkMode":{mode}"#))).status, status, "{mode}");
    }
    let endpoints = r#""NetworkingConfig":{"EndpointsConfig":{"other":{}}}"#;
    let denied = refused(with(endpoints));
    assert_eq!((denied.status, denied.message.as_str()), (404, "network other not found"));
    let none = with_host(r#""NetworkMode":"none""#).unwrap();
    assert!(none.cut_off && none.group == GroupKey::Alone && none.beside.is_none());
    let both = with(
        r#""Labels":{"com.docker.compose.project":"other"},"HostConfig":{"NetworkMode":"shop_default"}"#,
    )
    .unwrap();
    assert_eq!(both.group, joins("compose:other"));
    assert!(both.warnings.iter().any(|warning| warning.contains("another group")), "{:?}", both.warnings);
}

#[test]
fn names_of_members_are_given_within_their_group() {
    let spec = with_host(r#""NetworkMode":"shop_default","Links":["db:database"],"ExtraHosts":["sql:198.18.0.7","out:192.0.2.1"]"#).unwrap();
    let names: Vec<_> = spec.names_of.iter().map(|(name, id)| (name.as_str(), id.to_string())).collect();
    assert_eq!(names, [("database", "1".repeat(64)), ("sql", "1".repeat(64))]);
    assert!(spec.warnings.iter().any(|warning| warning.contains("out:192.0.2.1")));
    let local = with_host(r#""ExtraHosts":["sql:127.0.0.1"]"#).unwrap();
    assert_eq!((local.names.join(" "), local.warnings.len()), ("sql".to_owned(), 0), "of the one loopback");
    let alone = with_host(r#""Links":["db:database"]"#).unwrap();
    assert!(alone.names_of.is_empty() && !alone.warnings.is_empty(), "another group");
    assert_eq!(refused(with_host(r#""Links":["other:x"]"#)).status, 404);
    let many: Vec<String> = (0..300).map(|n| format!("\"x{n}:1.2.3.4\"")).collect();
    assert_eq!(refused(with_host(&format!(r#""ExtraHosts":[{}]"#, many.join(",")))).status, 400);
    for bad in ["localhost", "1.2.3.4", "a b", "", "-\u{e9}", "host.docker.internal", "a..b"] {
        assert_eq!(crate::serve::decide::usable(bad), None, "{bad}");
    }
}
