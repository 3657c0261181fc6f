//! What is said about policies that cannot be used: every entry's messages are kept as a snapshot.

use std::collections::HashMap;

use netpolicy::diagnostic::{Severity, render};
use netpolicy::load::{load, rule_from_flag};
use netpolicy::policy::{Date, Layer};

/// A title, and the policy; `allow` entries alone where the text begins with `-`.
const TODAY: Date = Date::constant(2026, 11, 25);

const BAD: &[(&str, &str)] = &[
    ("empty file", ""),
    ("only a comment", "# nothing\n"),
    ("a list", "[a, b]\n"),
    ("a word", "gitlab.com\n"),
    ("no version", "network: {allow: [gitlab.com]}\n"),
    ("another version", "version: 2\n"),
    ("a quoted version", "version: \"1\"\n"),
    ("a boolean as version", "version: true\n"),
    ("unknown key", "version: 1\nnetwrok: {}\n"),
    ("a key in the wrong place", "version: 1\nallow: [gitlab.com]\n"),
    ("a key like none other", "version: 1\nfirewall: off\n"),
    (
        "keys of later versions",
        "version: 1\ncontainer: {time: 1:30}\nengine: {}\ntests: []\nnetwork:\n  ceiling: []\n  proxy: x\n  dns: {domains: {}}\n",
    ),
    ("duplicate key", "version: 1\nnetwork: {}\nnetwork: {}\n"),
    (
        "duplicate key deep down",
        "version: 1\nnetwork:\n  allow:\n    - host: a.example\n      host: b.example\n",
    ),
    ("anchor and alias", "version: 1\nnetwork:\n  allow: &list [gitlab.com]\n  deny: *list\n"),
    ("merge key", "version: 1\nnetwork:\n  <<: {allow: []}\n"),
    ("tag", "version: 1\nnetwork: !!map {}\n"),
    ("two documents", "version: 1\n---\nversion: 1\n"),
    ("a key that is a list", "version: 1\n? [a]\n: b\n"),
    ("not YAML", "version: 1\nnetwork: [\n"),
    ("tabs", "version: 1\nnetwork:\n\tallow: []\n"),
    (
        "too deep",
        "version: 1\nnetwork: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
    ),
    ("a scalar for a list", "version: 1\nnetwork:\n  allow: gitlab.com\n"),
    ("nothing for a list", "version: 1\nnetwork:\n  allow:\n"),
    ("a mapping for a list", "version: 1\nnetwork:\n  allow: {host: gitlab.com}\n"),
    ("star without quotes", "- *.gitlab.com\n- gitlab.com:0\n- host: *.example.com\n"),
    ("lone star", "- *\n"),
    ("lone star in quotes", "- \"*\"\n"),
    ("public suffixes", "- \"*.com\"\n- .co.uk\n- \"*.xn--p1ai\"\n- \"*.рф\"\n"),
    ("stars in the wrong place", "- \"a.*.example.com\"\n- \"*gitlab.com\"\n- \"gitlab.*\"\n"),
    ("URLs", "- http://gitlab.com\n- https://user:pw@gitlab.com:8443/a?b#c\n- ftp://\n"),
    ("paths", "- gitlab.com/group\n- git@gitlab.com\n"),
    (
        "ports",
        "- gitlab.com:0\n- gitlab.com:65536\n- gitlab.com:https\n- \"gitlab.com:\"\n- gitlab.com:*\n- gitlab.com:8000-9000\n- gitlab.com:+443\n- a:1:2\n",
    ),
    (
        "port lists",
        "- {host: gitlab.com, ports: 443}\n- {host: gitlab.com, ports: []}\n- {host: gitlab.com, ports: [\"443\"]}\n- {host: gitlab.com, ports: [true, 0, 1.5]}\n",
    ),
    ("a space after the colon", "- api.example.com: 8443\n"),
    (
        "addresses as hosts",
        "- 10.0.0.1\n- 10.0.0.1:22\n- \"[::1]:80\"\n- \"::1\"\n- 127.1\n- \"0x7f.1\"\n- \"2130706433\"\n- 10.0.0.0/8\n",
    ),
    ("wrong types", "- 8443\n- true\n- ~\n- [gitlab.com]\n- 1.5\n"),
    ("bad names", "- a..b\n- -a.example\n- \"a b\"\n- \"\"\n- xn--a.example\n- a_b.example:x\n"),
    (
        "ranges",
        "- {cidr: 198.51.100.1/24, ports: [1]}\n- {cidr: 0.0.0.0/0, ports: [1]}\n- {cidr: 198.51.100.1, ports: [1]}\n- {cidr: 300.1.1.1/8, ports: [1]}\n- {cidr: \"2001:db8::/32\", ports: [1]}\n- {cidr: 198.51.100.0/24}\n",
    ),
    ("a range with a protocol", "- {cidr: 198.51.100.0/24, ports: [443], protocol: tls}\n"),
    ("a range over the virtual range", "- {cidr: 25.0.0.0/8, ports: [443]}\n"),
    (
        "udp",
        "- gitlab.com:443/udp\n- {host: gitlab.com, protocol: udp}\n- {host: gitlab.com, protocol: https}\n- {host: gitlab.com, protocol: tsl}\n",
    ),
    (
        "private",
        "- {host: a.example, private: [8.8.8.0/24]}\n- {host: a.example, private: [10.0.0.1/8]}\n- {host: a.example, private: [0.0.0.0/0, 169.254.0.0/16, 127.0.0.0/8, \"fe80::/10\"]}\n- {host: a.example, private: 10.0.0.0/8}\n",
    ),
    (
        "rule without a target",
        "- {ports: [443]}\n- {}\n- {host: a.example, cidr: 198.51.100.0/24, ports: [1]}\n",
    ),
    (
        "rule with unknown keys",
        "- {host: a.example, port: [443]}\n- {host: a.example, expires: someday}\n- {host: a.example, host-access: true}\n- {hots: a.example}\n",
    ),
    ("a port in host", "- {host: \"a.example:443\"}\n"),
    ("reason", "- {host: a.example, reason: 5}\n- {host: a.example, reason: \"a\\u0007\"}\n"),
    (
        "host aliases",
        "- host.docker.internal\n- localhost:3000\n- \"*.docker.internal\"\n- metadata.google.internal\n",
    ),
    (
        "denials",
        "version: 1\nnetwork:\n  deny:\n    - \"*\"\n    - 10.0.0.1\n    - {host: a.example, protocol: tls}\n    - {cidr: \"::ffff:10.0.0.0/104\"}\n    - {host: a.example, privat: []}\n",
    ),
    (
        "upstreams",
        "version: 1\nnetwork:\n  dns:\n    upstreams: [sytem, tls://1.1.1.1#one.one, https://dns.example/dns-query, 1.1.1.1:0, 0.0.0.0, dns.example, 53]\n",
    ),
    ("no upstreams", "version: 1\nnetwork: {dns: {upstreams: []}}\n"),
    ("numbers", "version: 1\nnetwork: {dns: {names-per-wildcard: 0}}\n"),
    ("a text for a number", "version: 1\nnetwork: {dns: {names-per-wildcard: many}}\n"),
    ("virtual range", "version: 1\nnetwork: {dns: {virtual-range: 127.0.0.0/16}}\n"),
    ("narrow virtual range", "version: 1\nnetwork: {dns: {virtual-range: 25.0.0.0/30}}\n"),
    ("unknown presets", "version: 1\nextends: [gitlab, gitlab@9, gitlba@1, nobody@1]\n"),
    ("missing file", "version: 1\nextends: [./gone.yml]\n"),
    ("the other extension", "version: 1\nextends: [./team.yaml]\n"),
    ("a circle", "version: 1\nextends: [./circle.yml]\n"),
    ("itself", "version: 1\nextends: [\"../x/./p.yml\"]\n"),
    ("an error in an extended file", "version: 1\nextends: [./broken.yml]\nnetwork: {allow: [a:b]}\n"),
    ("extends as a word", "version: 1\nextends: gitlab@1\n"),
    (
        "many errors at once",
        "version: 3\nextens: []\nnetwork:\n  alow: []\n  allow:\n    - http://a.example\n    - b.example:99999\n  dns: {upstream: []}\n",
    ),
];

fn files(entry: &str) -> HashMap<&'static str, String> {
    HashMap::from([
        ("x/team.yml", "version: 1\n".to_owned()),
        ("x/circle.yml", "version: 1\nextends: [./round.yml]\n".to_owned()),
        ("x/round.yml", "version: 1\nextends: [../x/./circle.yml]\n".to_owned()),
        ("x/p.yml", entry.to_owned()),
        ("x/../x/./p.yml", entry.to_owned()),
        ("x/../x/./circle.yml", "version: 1\nextends: [round.yml]\n".to_owned()),
        ("x/broken.yml", "version: 1\nnetwork:\n  allow: [10.0.0.1]\n".to_owned()),
    ])
}

fn findings(text: &str) -> String {
    let text = match text.starts_with('-') {
        true => format!(
            "version: 1\nnetwork:\n  allow:\n{}",
            text.lines().map(|line| format!("    {line}\n")).collect::<String>()
        ),
        false => text.to_owned(),
    };
    let files = files(&text);
    let mut read = |path: &str| files.get(path).cloned().ok_or_else(|| "no such file".to_owned());
    match load("x/p.yml", Layer::Run, TODAY, &mut read) {
        Ok(_) => panic!("this passed:\n{text}"),
        Err(findings) => {
            assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
            render(&findings)
        }
    }
}

#[test]
fn messages() {
    assert!(BAD.len() >= 35);
    let all: Vec<String> =
        BAD.iter().map(|(title, text)| format!("## {title}\n\n{}", findings(text))).collect();
    insta::assert_snapshot!("messages", all.join("\n"));
}

#[test]
fn every_entry_of_a_list_of_mistakes_is_found() {
    for (title, text) in BAD.iter().filter(|(_, text)| text.starts_with('-')) {
        let rendered = findings(text);
        for line in 4..4 + text.lines().count() {
            assert!(
                rendered.contains(&format!("x/p.yml:{line}:")),
                "{title}: line {line} passed\n{rendered}"
            );
        }
    }
}

#[test]
fn flags() {
    let mut text = String::new();
    for (flag, value) in [
        ("--allow", "http://gitlab.com"),
        ("--allow", "10.0.0.0/8"),
        ("--allow", "*"),
        ("--allow", "gitlab.com:99999"),
        ("--deny", "10.0.0.1/8"),
        ("--deny", ""),
    ] {
        text.push_str(&render(&[*rule_from_flag(flag, value).unwrap_err()]));
    }
    insta::assert_snapshot!("flags", text);
    for (flag, value, canonical) in [
        ("--allow", "gitlab.com", "gitlab.com:443"),
        ("--allow", "*.gitlab.com:8443", "*.gitlab.com:8443"),
        ("--deny", "gitlab.com", "gitlab.com"),
        ("--deny", "10.0.0.0/8", "10.0.0.0/8"),
        ("--deny", "10.0.0.1", "10.0.0.1/32"),
        ("--deny", "::1", "::1/128"),
    ] {
        assert_eq!(rule_from_flag(flag, value).unwrap().origin.text, canonical);
    }
}

#[test]
fn a_huge_file_is_refused_and_a_huge_line_is_not_repeated() {
    let large = format!("version: 1\n#{}\n", "x".repeat(17 << 20));
    assert!(findings(&large).contains("larger than 16 MiB"));
    let wide = format!("version: 1\nnetwork: {{allow: [{}]}}\n", vec!["10.0.0.1"; 100_000].join(", "));
    let text = findings(&wide);
    assert!(text.contains("more findings") && text.len() < 100_000, "{}", text.len());
}
