//! Bytes of a hostile author, given to everything that reads policies.

mod corpus;

use std::net::IpAddr;

use corpus::{BAD, BAD_BYTES, document, files};
use fuzz::proptest::prelude::*;
use netpolicy::decide::{Decider, Question, Target};
use netpolicy::diagnostic::{Severity, is_harmless, render};
use netpolicy::floor::Surroundings;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::load::{LayerSource, load, load_layers};
use netpolicy::policy::{Date, Layer};
use netpolicy::presets::PRESETS;
use netpolicy::print;
use netpolicy::target::Endpoint;

const TODAY: Date = Date::constant(2026, 11, 25);

const WORDS: &[&[u8]] = &[
    b"version: 1\n",
    b"network:\n",
    b"  allow:\n",
    b"  deny:\n",
    b"  ceiling:\n",
    b"    - ",
    b"host: ",
    b"cidr: ",
    b"ports: [443]",
    b"private: [10.0.0.0/8]",
    b"expires: 2027-01-31",
    b"host-access: true",
    b"extends: [./p.yml]",
    b"dns: {upstreams: [",
    b"domains: {",
    b"proxy: http://",
    b"container: {",
    b"tests:\n",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!map ",
    b"---\n",
    b"\"",
    b"'",
    b"|\n",
    b">-\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"# ",
    b"\t",
    b"\r\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"xn--",
    b".",
    b"..",
    b"*.",
    b":65535",
    b"0.0.0.0/0",
    b"::/0",
    b"\xff",
];

#[test]
fn fuzz_policy() {
    let mut seeds: Vec<Vec<u8>> = PRESETS.iter().map(|preset| preset.text.as_bytes().to_vec()).collect();
    seeds.extend(BAD.iter().map(|(_, text)| document(text).into_bytes()));
    seeds.extend(BAD_BYTES.iter().map(|(_, text)| text.to_vec()));
    seeds.push(b"version: 1\nnetwork:\n  allow:\n    - {host: a.example, ports: [443, 22], protocol: tcp, private: [10.0.0.0/16], expires: 2027-01-31, reason: x}\n    - \"*.b.example:8443\"\n  deny: [{cidr: 10.0.0.0/8}]\n  ceiling: [.example]\n  dns: {upstreams: [\"tls://198.51.100.53#d.example\"], domains: {c.example: [10.0.0.53]}}\n  proxy: http://p.example:1\ncontainer: {cpus: 1, time: 1h}\nengine: {require: [vm]}\ntests: [{allow: a.example}]\n".to_vec());
    let beside = files("version: 1\n");
    fuzz::run("policy", &fuzz::bytes(seeds, WORDS, 8 * 1024), |input| {
        for layer in [Layer::Organisation, Layer::Project] {
            let source = LayerSource {
                root: Some("x".to_owned()),
                ..LayerSource::files(layer, vec!["x/p.yml".into()])
            };
            let mut read = |_: Layer, path: &str| match path {
                "x/p.yml" => Ok(input.0.clone()),
                path => beside
                    .get(path)
                    .map(|text| text.clone().into_bytes())
                    .ok_or_else(|| "no such file".to_owned()),
            };
            match load_layers(&[source], TODAY, &mut read) {
                Err(findings) => {
                    prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
                    let lines = input.0.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count() + 2;
                    for finding in &findings {
                        prop_assert!((finding.line as usize) <= lines, "{finding:?}");
                    }
                    prop_assert!(render(&findings).chars().all(|c| c == '\n' || is_harmless(c)));
                }
                Ok(loaded) => {
                    let printed = print::policy(&loaded.policy, &|_| None);
                    let again = load("q.yml", layer, TODAY, &mut |_| Ok(printed.clone()));
                    let Ok(again) = again else {
                        return Err(TestCaseError::fail(format!("not read again:\n{printed}\n{again:?}")));
                    };
                    prop_assert_eq!(again.policy.canonical(), loaded.policy.canonical());
                    let decider = Decider::new(loaded.policy);
                    for text in
                        ["a.example:443", "x.b.example:8443", "10.0.0.1:443", "host.docker.internal:3000"]
                    {
                        let endpoint =
                            Endpoint::parse(text).map_err(|error| TestCaseError::fail(error.to_string()))?;
                        let question = Question::about(&endpoint.target, TODAY).port(endpoint.port);
                        let (verdict, notes) = decider.explain(&Surroundings::default(), &question);
                        prop_assert_eq!(&verdict, &decider.decide(&Surroundings::default(), &question));
                        prop_assert!(!notes.is_empty());
                        // The project's own word is worth nothing by itself.
                        prop_assert!(layer != Layer::Project || !verdict.allowed);
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn fuzz_host() {
    let seeds = [
        "gitlab.com",
        "*.gitlab.com",
        ".gitlab.com",
        "GITLAB.COM.",
        "xn--bcher-kva.example",
        "bücher.example",
        "a.b.c.d.e.f",
        "127.1",
        "0x7f.1",
        "a_b.example",
        "gitlab.com:443",
        "faß.example",
        "日本.example",
    ];
    let seeds = seeds.map(|text| text.as_bytes().to_vec()).to_vec();
    let words: &[&[u8]] = &[
        b".",
        b"*",
        b"-",
        b"xn--",
        b"com",
        "\u{202e}".as_bytes(),
        "\u{ff0e}".as_bytes(),
        "\u{3002}".as_bytes(),
        "ı".as_bytes(),
        b"\0",
        b"%2e",
        b"0x",
        b"1",
    ];
    fuzz::run("host", &fuzz::bytes(seeds, words, 600), |input| {
        let text = String::from_utf8_lossy(&input.0);
        if let Ok(name) = HostName::parse(&text) {
            let plain = name.as_str();
            prop_assert!(plain.len() <= 253 && !plain.is_empty());
            prop_assert!(
                plain.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')),
                "{plain}"
            );
            prop_assert!(plain.split('.').all(|label| (1..=63).contains(&label.len())), "{plain}");
            prop_assert!(plain.parse::<IpAddr>().is_err());
            prop_assert_eq!(HostName::parse(plain), Ok(name.clone()));
        }
        if let Ok(pattern) = HostPattern::parse(&text) {
            prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern.clone()));
            let own = pattern.name().clone();
            let name = |text: String| HostName::parse(&text);
            prop_assert_eq!(pattern.matches(&own), !matches!(pattern, HostPattern::Below(_)));
            if let Ok(below) = name(format!("x.{own}")) {
                prop_assert_eq!(pattern.matches(&below), pattern.is_wildcard());
            }
            for other in
                [format!("x{own}"), format!("x-{own}"), format!("{own}.evil.invalid"), format!("{own}x")]
            {
                // Below a pattern that is itself the ending, it would rightly match.
                if let (Ok(other), false) = (name(other), own.as_str().ends_with("invalid")) {
                    prop_assert!(!pattern.matches(&other), "{pattern} matches {other}");
                }
            }
        }
        Ok(())
    });
}

#[test]
fn fuzz_target() {
    let seeds = [
        "https://gitlab.com/a?b#c",
        "gitlab.com:22",
        "git@gitlab.com:a/b.git",
        "tcp://[::1]:22",
        "ssh://u@h.example",
        "udp://a.example:53",
        "10.0.0.1",
    ];
    let seeds = seeds.map(|text| text.as_bytes().to_vec()).to_vec();
    let words: &[&[u8]] =
        &[b"://", b"@", b":", b"[", b"]", b"/", b"?", b"#", b"tcp", b"udp", b"65536", b"+1"];
    fuzz::run("target", &fuzz::bytes(seeds, words, 300), |input| {
        let text = String::from_utf8_lossy(&input.0);
        if let Ok(endpoint) = Endpoint::parse(&text) {
            prop_assert!(endpoint.port > 0);
            if let Target::Name(name) = &endpoint.target {
                prop_assert_eq!(HostName::parse(name.as_str()), Ok(name.clone()));
            }
            let scheme = if endpoint.to_string().starts_with("udp://") { "" } else { "tcp://" };
            let again = Endpoint::parse(&format!("{scheme}{endpoint}"));
            prop_assert_eq!(again.as_ref(), Ok(&endpoint));
        }
        Ok(())
    });
}
