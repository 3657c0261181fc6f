//! A policy that is printed and read again is the same policy.

use netpolicy::diagnostic::render;
use netpolicy::load::load;
use netpolicy::policy::{Date, Layer, Policy};
use netpolicy::print;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const TODAY: Date = Date::constant(2026, 11, 25);

fn read(text: &str) -> Policy {
    match load("p.yml", Layer::Organisation, TODAY, &mut |_| Ok(text.to_owned())) {
        Ok(loaded) => loaded.policy,
        Err(findings) => panic!("{text}\n{}", render(&findings)),
    }
}

fn host() -> impl Strategy<Value = String> {
    let name = select(vec![
        "gitlab.com",
        "a.b.example",
        "x.example",
        "bücher.example",
        "_srv.example",
        "true.example",
        "null",
        "off",
        "xn--bcher-kva.example",
        "1e3.example",
        "0x1f.example",
    ]);
    (select(vec!["", "*.", "."]), name).prop_map(|(star, name)| format!("{star}{name}"))
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(select(vec![22u16, 80, 443, 8443, 65535]), 1..4)
}

fn reason() -> impl Strategy<Value = String> {
    // Whatever a person may type that the language takes: at most 500 characters, no control characters.
    prop_oneof![
        select(vec![
            "because",
            "yes",
            "1.5",
            "- a",
            "# no comment",
            "a: b",
            "\"quoted\" \\ back",
            "{x}",
            "ü → 日本"
        ])
        .prop_map(str::to_owned),
        "[^\\p{C}]{0,40}",
        "\\PC{0,20}",
    ]
    .prop_filter("a reason", |text| !text.trim().is_empty() && !text.chars().any(char::is_control))
}

/// A JSON string is a YAML string, save for a few characters that YAML wants written out.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_graphic() || c == ' ' => quoted.push(c),
            c if u32::from(c) > 0xffff => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    quoted + "\""
}

fn rule() -> impl Strategy<Value = String> {
    let details = vec![
        "protocol: tls",
        "private: [10.20.0.0/16, \"fd00:1::/64\"]",
        "expires: 2027-01-31",
        "resolved-by: proxy",
    ];
    prop_oneof![
        host().prop_map(|host| quoted(&host)),
        (host(), select(vec![22u16, 443, 8443])).prop_map(|(host, port)| quoted(&format!("{host}:{port}"))),
        (host(), ports(), subsequence(details, 0..4), prop::option::of(reason())).prop_map(
            |(host, ports, details, reason)| {
                let mut keys = vec![format!("host: {}", quoted(&host)), format!("ports: {ports:?}")];
                keys.extend(details.into_iter().map(str::to_owned));
                keys.extend(reason.map(|reason| format!("reason: {}", quoted(&reason))));
                format!("{{{}}}", keys.join(", "))
            }
        ),
        (ports(), prop::option::of(reason())).prop_map(|(ports, reason)| {
            let reason = reason.map(|reason| format!(", reason: {}", quoted(&reason))).unwrap_or_default();
            format!("{{cidr: 198.51.100.0/24, ports: {ports:?}{reason}}}")
        }),
        Just("{host: host.docker.internal, ports: [3000], host-access: true}".to_owned()),
        Just("{host: host.docker.internal, ports: [3000], host-access: loopback}".to_owned()),
    ]
}

fn denial() -> impl Strategy<Value = String> {
    prop_oneof![
        host().prop_map(|host| quoted(&host)),
        (host(), ports()).prop_map(|(host, ports)| format!("{{host: {}, ports: {ports:?}}}", quoted(&host))),
        select(vec![
            "{cidr: 0.0.0.0/0, ports: [25]}",
            "{cidr: \"2001:db8::/32\"}",
            "{cidr: 10.0.0.0/8, reason: x}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn settings() -> impl Strategy<Value = (String, String)> {
    let network = vec![
        "  dns: {upstreams: [system, 10.0.0.53, \"[2001:db8::1]:5353\", \"tls://198.51.100.53#dns.example\", \"tls://[2001:db8::1]:8853#dns.example\", \"https://dns.example:8443/q\"], domains: {corp.example: [10.0.0.53], b.example: [system]}, names-per-wildcard: 3, virtual-range: 26.0.0.0/20, upstream-fake-range: [198.18.0.0/16]}\n",
        "  proxy: {url: \"http://proxy.corp.example:3128\", credentials-env: PROXY_AUTH}\n  no-proxy: [.corp.example, \"*.b.example\", 10.0.0.0/8, \"2001:db8::/32\"]\n",
        "  proxy: {url: \"http://proxy.corp.example:3128\", resolves-names: true}\n",
        "  ceiling: []\n",
        "  ceiling: [.gitlab.com, {host: a.example, ports: [443, 22], private: [10.0.0.0/16]}]\n",
    ];
    let top = vec![
        "workspace: {mask: [deploy/], unmask: [tests/keys, \"*.pem\"], hide-committed: true}\ncredentials: {scopes: [ai_workflows, api], max-lifetime: 8h}\nnotice: brief\n",
        "container: {cpus: 0.5, memory: 4GiB, pids: 100, disk: 1500MiB, time: 1h 30m, connections: 20, connections-per-second: 4000, runtime: runsc, ca: /etc/ca.pem}\n",
        "engine: {require: [vm, patched]}\n",
        "tests: [{allow: \"https://gitlab.com/x\"}, {deny: \"tcp://10.0.0.1:22\"}, {deny: \"udp://a.example:53\"}, {allow: \"[2001:db8::1]:80\"}, {deny: a.example}]\n",
    ];
    (subsequence(network, 0..5), subsequence(top, 0..4)).prop_map(|(network, top)| {
        let mut network: Vec<&str> = network;
        // One ceiling at most: a key stands once.
        if network.iter().filter(|text| text.starts_with("  ceiling")).count() > 1 {
            network.pop();
        }
        // And one proxy.
        if network.iter().filter(|text| text.starts_with("  proxy")).count() > 1 {
            network.retain(|text| !text.contains("resolves-names"));
        }
        (network.concat(), top.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(384) })]

    #[test]
    fn parse_print_parse_is_the_identity(
        allow in prop::collection::vec(rule(), 0..6),
        deny in prop::collection::vec(denial(), 0..4),
        (network, top) in settings(),
    ) {
        let list = |key: &str, items: &[String]| {
            items.iter().fold(format!("  {key}:{}\n", if items.is_empty() { " []" } else { "" }), |text, item| {
                format!("{text}    - {item}\n")
            })
        };
        let text = format!("version: 1\nnetwork:\n{}{}{network}{top}", list("allow", &allow), list("deny", &deny));
        let policy = read(&text);
        for printed in [
            print::policy(&policy, &|_| None),
            print::policy(&policy, &|rule| Some(format!("{}:{}\n# second line", rule.origin.file, rule.origin.line))),
        ] {
            let again = read(&printed);
            prop_assert_eq!(policy.canonical(), again.canonical(), "{}\n{}", text, printed);
            prop_assert_eq!(policy.digest(), again.digest());
            let words = |policy: &Policy| -> Vec<String> {
                policy.allow.iter().chain(&policy.deny).map(|rule| rule.origin.text.clone()).collect()
            };
            prop_assert_eq!(words(&policy), words(&again));
        }
    }
}

#[test]
fn nothing_is_printed_as_nothing() {
    assert_eq!(print::policy(&Policy::nothing(), &|_| None), "version: 1\n");
}
