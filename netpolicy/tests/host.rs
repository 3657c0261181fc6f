//! Names that look alike are not alike.

use netpolicy::host::{HostError, HostName, HostPattern};

#[test]
fn patterns_match_whole_labels_only() {
    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "gitlab.com",
            &["gitlab.com", "GitLab.COM", "gitlab.com."],
            &[
                "www.gitlab.com",
                "evil-gitlab.com",
                "gitlab.com.evil.example",
                "gitlab.co",
                "gitlab.community",
                "gitlab_com",
                "xgitlab.com",
            ],
        ),
        (
            "*.gitlab.com",
            &["a.gitlab.com", "a.b.c.gitlab.com", "A.GITLAB.COM."],
            &["gitlab.com", "agitlab.com", "evil-gitlab.com", "a.gitlab.com.evil.example", "gitlab.com.a"],
        ),
        (
            ".gitlab.com",
            &["gitlab.com", "a.gitlab.com", "a.b.gitlab.com"],
            &["agitlab.com", "-.gitlab.comx", "com", "a.gitlab.org"],
        ),
        (
            "bücher.example",
            &["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"],
            &["bucher.example", "xn--bcher-kv.example"],
        ),
        // Cyrillic і: another name altogether.
        ("gitlab.com", &[], &["gіtlab.com", "gitlаb.com", "gitlab.сom"]),
        ("_service.example.com", &["_service.example.com"], &["service.example.com"]),
    ];
    for (pattern, accepted, refused) in table {
        let pattern = HostPattern::parse(pattern).unwrap();
        for name in *accepted {
            assert!(pattern.matches(&HostName::parse(name).unwrap()), "{pattern} should match {name}");
        }
        for name in *refused {
            let matches = HostName::parse(name).is_ok_and(|name| pattern.matches(&name));
            assert!(!matches, "{pattern} should not match {name}");
        }
    }
}

#[test]
fn what_is_no_name() {
    let long_label = "a".repeat(64);
    let long = format!("{}.example", ["a".repeat(60).as_str(); 5].join("."));
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a\tb",
        "a\0b",
        "a\nb",
        "a/b",
        "a:b",
        "a@b",
        "a%2eb",
        "a,b",
        "a*b",
        "*.a",
        "-a.example",
        "a-.example",
        "xn--.example",
        "xn--a.example",
        "xn--zzzzzz\u{7f}",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "a.1",
        "a.0x",
        "1.2.3.4.",
        "[::1]",
        "::1",
        "1.2.3.4.5",
        "a\u{202e}b.example",
        "a\u{200b}b",
        &long_label,
        &long,
    ] {
        if text == "a\u{200b}b" {
            // IDNA drops it: the name is `ab`, in full view.
            continue;
        }
        assert!(HostName::parse(text).is_err(), "{text:?} passed as {:?}", HostName::parse(text));
    }
}

#[test]
fn what_is_no_pattern() {
    for (text, error) in [
        ("*", HostError::Everything),
        ("*.", HostError::Everything),
        ("*.*", HostError::Everything),
        ("a.*", HostError::Wildcard),
        ("a*.example", HostError::Wildcard),
        ("*a.example", HostError::Wildcard),
        ("a.*.example", HostError::Wildcard),
        ("**.example", HostError::Wildcard),
        ("*.*.example", HostError::Wildcard),
        (".", HostError::Empty),
        ("..a", HostError::EmptyLabel),
    ] {
        assert_eq!(HostPattern::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn written_as_read() {
    for text in ["gitlab.com", "*.gitlab.com", ".gitlab.com"] {
        let pattern = HostPattern::parse(text).unwrap();
        assert_eq!(pattern.to_string(), text);
        let json = serde_json::to_string(&pattern).unwrap();
        assert_eq!(serde_json::from_str::<HostPattern>(&json).unwrap(), pattern);
    }
    assert!(serde_json::from_str::<HostName>("\"a..b\"").is_err());
}
