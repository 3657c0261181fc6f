//! What is said about policies that cannot be used: every entry's messages are kept as a snapshot.

use netpolicy::diagnostic::{Severity, render};
use netpolicy::load::{LayerSource, load_layers, rule_from_flag};
use netpolicy::policy::{Date, Layer};

mod corpus;

use corpus::{BAD, BAD_BYTES, document, files};

const TODAY: Date = Date::constant(2026, 11, 25);

fn findings(entry: &str) -> String {
    findings_of_bytes(document(entry).as_bytes())
}

fn findings_of_bytes(text: &[u8]) -> String {
    let files = files(&String::from_utf8_lossy(text));
    let mut read = |_: Layer, path: &str| match path {
        "x/p.yml" => Ok(text.to_vec()),
        path => {
            files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| "no such file".to_owned())
        }
    };
    let source = LayerSource::files(Layer::Run, vec!["x/p.yml".to_owned()]);
    match load_layers(&[source], TODAY, &mut read) {
        Ok(_) => panic!("this passed:\n{}", String::from_utf8_lossy(text)),
        Err(findings) => {
            assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
            let text = render(&findings);
            // Nothing that a file holds may reach a terminal as more than a picture of itself.
            assert!(text.chars().all(|c| c == '\n' || netpolicy::diagnostic::is_harmless(c)), "{text:?}");
            text
        }
    }
}

#[test]
fn messages() {
    assert!(BAD.len() >= 85);
    let of_text = BAD.iter().map(|(title, text)| format!("## {title}\n\n{}", findings(text)));
    let of_bytes = BAD_BYTES.iter().map(|(title, text)| format!("## {title}\n\n{}", findings_of_bytes(text)));
    let all: Vec<String> = of_text.chain(of_bytes).collect();
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
fn a_password_in_a_proxy_is_not_shown_again() {
    for (title, _) in BAD.iter().filter(|(_, text)| text.contains("hunter2")) {
        let (_, text) = BAD.iter().find(|(other, _)| other == title).unwrap();
        assert!(!findings(text).contains("hunter2"), "{title}");
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
