//! Other programs' lists: what comes across, what does not, and that nothing comes across that was not permitted.

use std::fmt::Write;

use fuzz::proptest::prelude::*;
use netpolicy::decide::{Question, Target, decide};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::import::{Format, ImportError, Imported, import};
use netpolicy::policy::{Date, Layer, Policy};

const TODAY: Date = Date::constant(2026, 11, 25);

fn outcome(file: &str, text: &str, format: Option<Format>) -> String {
    let mut shown = format!("== {file}\n");
    match import(file, text, format, Layer::Run) {
        Ok(imported) => {
            let _ = writeln!(shown, "format: {}", imported.format.as_str());
            for (word, rules) in [("allow", &imported.allow), ("deny", &imported.deny)] {
                for rule in rules {
                    let _ = writeln!(shown, "{word} {} (line {})", rule.origin.text, rule.origin.line);
                }
            }
            for note in &imported.notes {
                let _ = writeln!(shown, "{note}");
            }
        }
        Err(ImportError::Unreadable(findings)) => {
            let _ = writeln!(shown, "{}", netpolicy::diagnostic::render(&findings));
        }
        Err(error) => {
            let _ = writeln!(shown, "error: {error}");
        }
    }
    shown
}

/// The shapes are those of public files; of their contents no more is here than a test needs.
const SAMPLES: &[(&str, &str)] = &[
    // The project's own, as a ruby library of GitLab's has it.
    (".gitlab/duo/agent-config.yml", "network_policy:\n  allowed_domains:\n    - api.osv.dev\n"),
    // Every key of the reference page.
    (
        "agent-config.yml",
        "image: python:3.11\nsetup_script:\n  - apt-get update && apt-get install -y build-essential\ncache:\n  paths: [.cache/pip]\n\
             network_policy:\n  include_recommended_allowed: true\n  allow_all_unix_sockets: true\n  allowed_domains:\n    - my-own-site.com\n    \
             - \"*.corp.example\"\n    - localhost\n    - \"*.co.uk\"\n    - 10.1.2.3\n    - .dotted.example\n    - bücher.example\n    - api.example.com:8443\n  \
             denied_domains:\n    - malicious.com\n    - 10.0.0.1\n",
    ),
    ("agent-config.yml", "image: node:22\n"),
    ("agent-config.yml", "network_policy:\n  allowed_domains: api.osv.dev\n"),
    ("agent-config.yml", "network_policy:\n  allowed_domains: &a [api.osv.dev]\n  denied_domains: *a\n"),
    // What GitLab's runner writes for srt.
    (
        "srt-settings.json",
        r#"{"network":{"allowedDomains":["host.docker.internal","localhost","gitlab.com","*.gitlab.com","duo-workflow-svc.runway.gitlab.net"],"deniedDomains":[],"allowAllUnixSockets":false},"filesystem":{"denyRead":["~/.ssh"],"allowWrite":["./","/tmp"]}}"#,
    ),
    // srt's README.
    (
        ".srt-settings.json",
        "{\n\t\"network\": {\n\t\t\"allowedDomains\": [\"github.com\", \"*.github.com\"],\n\t\t\"deniedDomains\": [\"malicious.com\"],\n\t\t\"allowUnixSockets\": [\"/var/run/docker.sock\"],\n\t\t\"allowLocalBinding\": false\n\t}\n}\n",
    ),
    // An agent's settings that embed it.
    (
        "settings.json",
        r#"{"permissions": {"allow": ["Bash"]}, "sandbox": {"enabled": true, "network": {"allowedDomains": ["github.com:443", "[2001:db8::1]:443"], "deniedDomains": ["*:22", "[2001:db8::1]"]}}}"#,
    ),
    ("everything-denied.json", r#"{"network": {"allowedDomains": ["github.com"], "deniedDomains": ["*"]}}"#),
    ("nothing-listed.json", r#"{"network": {"deniedDomains": ["x.example"]}}"#),
    // The firewall's own example of a configuration.
    (
        "awf.json",
        r#"{"$schema": "https://example.com/awf-config.schema.json", "network": {"allowDomains": ["github.com", "*.githubusercontent.com", "api-*.example.com", "http://legacy.example", "https://secure.example/", "localhost"], "blockDomains": ["internal-*.example.com", "https://evil.github.com"], "dnsServers": ["198.51.100.1"]}, "security": {"allowHostPorts": "3000"}}"#,
    ),
    (
        "allowed-domains.txt",
        "# GitHub domains\ngithub.com\napi.github.com\n\nexample.org, registry.example.org\n*.googleapis.com\nexample.com # inline\n",
    ),
    ("awf.yml", "network:\n  allowDomains:\n    - github.com\n  blockDomains:\n    - \"*\"\n"),
    // httpjail's README, and the forms that people anchor.
    ("rules.txt", "# rules\nallow-get: github\\.com\ndeny: telemetry\nallow: .*\n"),
    (
        "rules.txt",
        "allow: github\\.com\nallow: githubusercontent\\.com\ndeny: .*\nallow: late\\.example\\.com\n",
    ),
    (
        "rules.txt",
        "deny-post: ^https://uploads\\.example\\.com/\nallow: ^https://([^/]+\\.)?example\\.com/\nallow: https?://.*\\.example\\.org/.*\n\
             deny: telemetry\\.\nallow: ^https://api\\.example\\.net(/|$)\nallow: telemetry.example.net\nallow: ^https://.*\\.late\\.example/\n\
             allow: ^https://x\\.example/path\ndeny: (a|b)+\nallow: ^https://last\\.example/\n",
    ),
    ("rules.js", "r.host === 'github.com'\n"),
    // A list and two configurations of Squid.
    ("whitelist.txt", ".github.com\ngitlab.com # exact\n*.example.com\n"),
    ("plain.txt", "github.com\ngitlab.com\n"),
    (
        "squid.conf",
        "acl localnet src 10.0.0.0/8\nacl SSL_ports port 443\nacl Safe_ports port 80\nacl Safe_ports port 443\nacl CONNECT method CONNECT\n\
             acl allow_website dstdomain .google.com .youtube.com\nhttp_access allow localhost manager\nhttp_access deny manager\nhttp_access deny !Safe_ports\n\
             http_access deny CONNECT !SSL_ports\nhttp_access allow localnet allow_website\nhttp_access deny all\nhttp_port 3128\n",
    ),
    (
        "squid.conf",
        "acl Safe_ports port 443\nacl whitelist dstdomain .example.com\nacl bad dstdomain bad.example.com\nacl meta dst 169.254.169.254\n\
             http_access deny !Safe_ports\nhttp_access deny meta\nhttp_access deny bad\nhttp_access deny !whitelist\nhttp_access allow localhost\nhttp_access deny all\n",
    ),
    (
        "squid.conf",
        "acl a dstdomain .a.example\nacl words url_regex -i casino\nacl files dstdomain \"/etc/squid/list\"\nhttp_access allow files\nhttp_access allow all\nhttp_access deny words\nhttp_access allow a\n",
    ),
    // A statement over several lines.
    (
        "squid.conf",
        "acl good dstdomain .a.example \\\n    .b.example # why\nhttp_access allow \\\n good\nhttp_access deny all\n",
    ),
    // JSON with comments, which name the keys of another format.
    (
        "settings.json",
        "// allowDomains is another program's word\n{\n  /* why */\n  \"network\": {\n    \"allowedDomains\": [\n      \"a.example\", // the one\n    ],\n  },\n}\n",
    ),
    ("broken.json", "{\n  \"network\": {\n    \"allowedDomains\": [\"a.example\"\n"),
    (
        "twice.json",
        "{\"network\": {\"allowedDomains\": [\"a.example\"], \"allowedDomains\": [\"b.example\"]}}\n",
    ),
    ("nothing.txt", ""),
    ("prose.txt", "this is: no list\n"),
];

#[test]
fn samples() {
    let all: Vec<String> = SAMPLES.iter().map(|(file, text)| outcome(file, text, None)).collect();
    insta::assert_snapshot!("import_samples", all.join("\n"));
}

#[test]
fn a_plain_list_means_what_the_given_format_says() {
    let text = "github.com\n";
    assert!(permits(&read(Format::GhAw, text), "api.github.com", 443));
    assert!(!permits(&read(Format::Squid, text), "api.github.com", 443));
    assert!(permits(&read(Format::Squid, text), "github.com", 443));
}

#[test]
fn the_project_layer_gets_its_rules_with_their_lines() {
    let text = "image: x\nnetwork_policy:\n  denied_domains:\n    - bad.example\n  allowed_domains:\n    - good.example\n";
    let imported =
        import(".gitlab/duo/agent-config.yml", text, Some(Format::Gitlab), Layer::Project).unwrap();
    let origin = &imported.allow[0].origin;
    assert_eq!((origin.layer, origin.line, origin.text.as_str()), (Layer::Project, 6, "good.example:443"));
    assert_eq!((imported.deny[0].origin.line, imported.deny[0].origin.text.as_str()), (4, "bad.example"));
}

#[test]
fn what_is_too_large_is_refused() {
    let large = "x.example\n".repeat(500_000);
    assert_eq!(import("x", &large, Some(Format::Squid), Layer::Run), Err(ImportError::TooLarge));
    let mut many = String::new();
    for number in 0..100_001 {
        let _ = writeln!(many, "x{number}.example");
    }
    assert_eq!(import("x", &many, Some(Format::Squid), Layer::Run), Err(ImportError::TooMany));
}

/// What is printed is a policy, and says the same; whatever the text.
#[test]
fn fuzz_import() {
    const WORDS: &[&[u8]] = &[
        b"network_policy:\n",
        b"  allowed_domains: [",
        b"denied_domains",
        b"\"network\"",
        b"\"allowedDomains\": [",
        b"\"blockDomains\": [",
        b"allow: ",
        b"deny: ",
        b"deny-post: ",
        b"^https?://",
        b"(.*\\.)?",
        b"acl x dstdomain ",
        b"http_access allow ",
        b"http_access deny !",
        b"*.",
        b".",
        b"*",
        b":443",
        b"x.example",
        b"localhost",
        b"10.0.0.1",
        b"[::1]",
        b"xn--",
        b"\"",
        b", ",
        b"\n",
        b"#",
        b"\xff",
    ];
    let seeds: Vec<Vec<u8>> = SAMPLES.iter().map(|(_, text)| text.as_bytes().to_vec()).collect();
    fuzz::run("import", &fuzz::bytes(seeds, WORDS, 4 * 1024), |input| {
        let text = String::from_utf8_lossy(&input.0);
        for format in Format::ALL {
            let Ok(imported) = import("x", &text, Some(format), Layer::Run) else { continue };
            for note in &imported.notes {
                prop_assert!(note.to_string().chars().all(netpolicy::diagnostic::is_harmless), "{note}");
            }
            let policy = policy(&imported);
            let printed = netpolicy::print::policy(&policy, &|rule| Some(rule.origin.file.clone()));
            let loaded = netpolicy::load::load("p.yml", Layer::Run, TODAY, &mut |_| Ok(printed.clone()));
            match loaded {
                Ok(loaded) => prop_assert_eq!(loaded.policy.canonical(), policy.canonical()),
                Err(errors) => return Err(TestCaseError::fail(format!("{printed}\n{errors:?}"))),
            }
        }
        Ok(())
    });
}

fn read(format: Format, text: &str) -> Imported {
    import("sample", text, Some(format), Layer::Run).expect("a good file")
}

fn policy(imported: &Imported) -> Policy {
    Policy {
        allow: imported.allow.iter().cloned().map(Into::into).collect(),
        deny: imported.deny.iter().cloned().map(Into::into).collect(),
        ..Policy::nothing()
    }
}

/// The one decision function's word on an import.
fn permits(imported: &Imported, name: &str, port: u16) -> bool {
    let policy = policy(imported);
    let target = Target::Name(HostName::parse(name).expect("a name"));
    decide(&policy, &Surroundings::default(), &Question::about(&target, TODAY).port(port)).allowed
}

fn name() -> impl Strategy<Value = String> {
    // Few labels, so that names and entries meet.
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "a-b", "xy"]), 2..5)
        .prop_map(|labels| format!("{}.test", labels.join(".")))
}

fn entry() -> impl Strategy<Value = String> {
    (
        prop::sample::select(vec!["", "*.", ".", "http://", "https://", "a*.", "*"]),
        name(),
        prop::sample::select(vec!["", ":443", ":22", "."]),
    )
        .prop_map(|(before, name, after)| format!("{before}{name}{after}"))
}

/// What srt's documentation says of one entry.
fn srt_matches(entry: &str, name: &str, port: u16) -> bool {
    let (pattern, wanted) = match entry.rsplit_once(':') {
        Some((pattern, digits)) if digits.parse::<u16>().is_ok() => (pattern, digits.parse::<u16>().ok()),
        _ => (entry, None),
    };
    let host = match pattern.strip_prefix("*.") {
        Some(base) => name.len() > base.len() && name.ends_with(&format!(".{base}")),
        None => name == pattern,
    };
    host && wanted.is_none_or(|wanted| wanted == port)
}

/// What awf's documentation says: a glob whose `*` is any run of characters, or a name with everything below it.
fn awf_matches(entry: &str, name: &str, port: u16) -> bool {
    let (bare, ports): (&str, &[u16]) = match (entry.strip_prefix("https://"), entry.strip_prefix("http://"))
    {
        (Some(bare), _) => (bare, &[443]),
        (_, Some(bare)) => (bare, &[80]),
        _ => (entry, &[80, 443]),
    };
    let host = if bare.contains('*') {
        glob(bare.as_bytes(), name.as_bytes())
    } else {
        let bare = bare.strip_prefix('.').unwrap_or(bare);
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        name == bare || name.ends_with(&format!(".{bare}"))
    };
    host && ports.contains(&port)
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => glob(rest, text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some((own, rest)), Some((other, others))) => own == other && glob(rest, others),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn srt_and_gitlab_never_widen(
        allowed in prop::collection::vec(entry(), 0..6),
        denied in prop::collection::vec(prop_oneof![8 => entry(), 1 => Just("*".to_owned()), 1 => Just("*:443".to_owned())], 0..4),
        name in name(),
        port in prop::sample::select(vec![22, 80, 443]),
    ) {
        let refused = denied.iter().any(|entry| entry == "*" || (entry == "*:443" && port == 443) || srt_matches(entry, &name, port));
        let reference = !refused && allowed.iter().any(|entry| srt_matches(entry, &name, port));
        let json = serde_json::json!({"network": {"allowedDomains": allowed, "deniedDomains": denied}}).to_string();
        prop_assert!(!permits(&read(Format::Srt, &json), &name, port) || reference, "srt: {json} {name}:{port}");
        let json = serde_json::json!({"network_policy": {"allowed_domains": allowed, "denied_domains": denied}}).to_string();
        prop_assert!(!permits(&read(Format::Gitlab, &json), &name, port) || reference, "gitlab: {json} {name}:{port}");
    }

    #[test]
    fn gh_aw_never_widens(
        allowed in prop::collection::vec(entry(), 0..6),
        denied in prop::collection::vec(entry(), 0..4),
        name in name(),
        port in prop::sample::select(vec![22, 80, 443]),
    ) {
        let any = |list: &[String]| list.iter().any(|entry| awf_matches(entry, &name, port));
        let json = serde_json::json!({"network": {"allowDomains": allowed, "blockDomains": denied}}).to_string();
        let permitted = permits(&read(Format::GhAw, &json), &name, port);
        prop_assert!(!permitted || (any(&allowed) && !any(&denied)), "{json} {name}:{port}");
    }

    #[test]
    fn squid_never_widens(
        lists in prop::collection::vec(prop::collection::vec(entry(), 1..3), 3),
        accesses in prop::collection::vec((any::<bool>(), any::<bool>(), 0..4_usize), 1..6),
        name in name(),
    ) {
        let mut text = String::new();
        for (index, list) in lists.iter().enumerate() {
            let _ = writeln!(text, "acl list{index} dstdomain {}", list.join(" "));
        }
        let mut reference = None;
        for (allow, negated, index) in &accesses {
            let bang = if *negated { "!" } else { "" };
            let which = if *index == 3 { "all".to_owned() } else { format!("{bang}list{index}") };
            let _ = writeln!(text, "http_access {} {which}", if *allow { "allow" } else { "deny" });
            let listed = lists.get(*index).is_none_or(|list| list.iter().any(|entry| match entry.strip_prefix('.') {
                Some(bare) => name == bare || name.ends_with(&format!(".{bare}")),
                None => name == *entry,
            }));
            if reference.is_none() && (*index == 3 || listed != *negated) {
                reference = Some(*allow);
            }
        }
        let permitted = permits(&read(Format::Squid, &text), &name, 443);
        prop_assert!(!permitted || reference == Some(true), "{text} {name}");
    }

    #[test]
    fn httpjail_never_widens(
        rules in prop::collection::vec((any::<bool>(), prop::sample::select(vec!["", "^https://", "https://", "^https://(.*\\.)?", ".*\\."]), prop_oneof![name(), Just("ab".to_owned())], prop::sample::select(vec!["", "/", "/.*", "(/|$)", "/x"])), 0..6),
        name in name(),
    ) {
        let url = format!("https://{name}/");
        let mut text = String::new();
        let mut reference = None;
        for (allow, before, host, after) in &rules {
            let _ = writeln!(text, "{}: {before}{}{after}", if *allow { "allow" } else { "deny" }, host.replace('.', "\\."));
            let end = match *after { "/x" => "/x", "/" | "/.*" | "(/|$)" => "/", _ => "" };
            let plain = format!("{host}{end}");
            let matched = match *before {
                "^https://" => url["https://".len()..].starts_with(&plain),
                "https://" => url.contains(&format!("https://{plain}")),
                "^https://(.*\\.)?" => url["https://".len()..].starts_with(&plain) || url["https://".len()..].contains(&format!(".{plain}")),
                ".*\\." => url.contains(&format!(".{plain}")),
                _ => url.contains(&plain),
            };
            if reference.is_none() && matched {
                reference = Some(*allow);
            }
        }
        let permitted = permits(&read(Format::Httpjail, &text), &name, 443);
        prop_assert!(!permitted || reference == Some(true), "{text} {name}");
    }

    #[test]
    fn no_text_makes_an_importer_panic(text in "\\PC{0,60}|(allow|deny|acl|http_access| |:|\\.|\\*|-|!|\n|[a-z\\\\(|)?]){0,40}") {
        for format in Format::ALL {
            let _ = import("x", &text, Some(format), Layer::Run);
        }
        let _ = import("x", &text, None, Layer::Run);
    }
}
