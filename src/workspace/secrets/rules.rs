//! Finding secrets in bytes, by how they look.
//!
//! ```text
//!  bytes ──keywords, one pass over all of them──▶ the few rules that can hold ──regex, entropy, placeholders──▶ findings
//! ```
//! Time is linear in the bytes: neither the keywords' automaton nor the `regex` crate goes back.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use base64::Engine;
use regex::bytes::{Regex, RegexBuilder};

/// The rules as text; its head says where they are from.
const TEXT: &str = include_str!("rules.txt");
/// The rule for keys in PEM.
const KEY: &str = "private-key";
/// Words that only an example has in the place of a secret.
const PLACEHOLDERS: [&[u8]; 22] = [
    b"example",
    b"placeholder",
    b"changeme",
    b"change-me",
    b"change_me",
    b"your",
    b"xxxx",
    b"dummy",
    b"redacted",
    b"sample",
    b"masked",
    b"password",
    b"passwd",
    b"secret",
    b"token",
    b"****",
    b"...",
    b"${",
    b"{{",
    b"$(",
    b"%(",
    // dotenv's own example.
    b"key_1234",
];

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// Range of the secret itself in the text.
    pub(crate) span: Range<usize>,
}

struct Rule {
    name: &'static str,
    least_entropy: f64,
    loose: bool,
    pattern: &'static str,
    /// Compiled when a text first has one of its keywords: most never have.
    regex: OnceLock<Regex>,
}

impl Rule {
    fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| {
            let built = RegexBuilder::new(self.pattern).unicode(false).size_limit(64 << 20).build();
            built.unwrap_or_else(|error| unreachable!("a test compiles every rule: {error}"))
        })
    }
}

/// All rules.
pub(crate) struct Rules {
    keywords: AhoCorasick,
    /// The rule of each keyword.
    owners: Vec<usize>,
    rules: Vec<Rule>,
}

impl Rules {
    /// Returns the rules, which are made once.
    pub(crate) fn get() -> &'static Rules {
        static RULES: OnceLock<Rules> = OnceLock::new();
        RULES.get_or_init(Rules::read)
    }

    fn read() -> Rules {
        let (mut rules, mut words, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut columns = line.splitn(5, ' ');
            let mut column = || columns.next().unwrap_or_default();
            let (name, entropy, manner, keywords, pattern) =
                (column(), column(), column(), column(), column());
            for word in keywords.split(',') {
                words.push(word);
                owners.push(rules.len());
            }
            rules.push(Rule {
                name,
                least_entropy: entropy.parse().unwrap_or(0.0),
                loose: manner == "loose",
                pattern,
                regex: OnceLock::new(),
            });
        }
        let keywords = AhoCorasick::builder().ascii_case_insensitive(true).build(words);
        let keywords =
            keywords.unwrap_or_else(|error| unreachable!("a few hundred words make an automaton: {error}"));
        Rules { keywords, owners, rules }
    }

    /// Finds the secrets of a text, in order, none within another.
    pub(crate) fn find(&self, text: &[u8]) -> Vec<Finding> {
        let mut possible = vec![false; self.rules.len()];
        for word in self.keywords.find_overlapping_iter(text) {
            possible[self.owners[word.pattern().as_usize()]] = true;
        }
        let mut findings = Vec::new();
        for rule in self.rules.iter().zip(possible).filter(|(_, possible)| *possible).map(|(rule, _)| rule) {
            for captures in rule.regex().captures_iter(text) {
                let group = captures.name("s");
                let Some(found) = group.or_else(|| captures.get(0)) else { continue };
                let secret = found.as_bytes();
                let spared = match rule.loose {
                    true => is_placeholder(secret) || is_placeholder(&of_base64(secret)),
                    false => is_drill(secret) || (rule.name == KEY && is_cut(secret, &text[found.end()..])),
                };
                if entropy(secret) >= rule.least_entropy && !spared {
                    // A group says itself where it ends.
                    let rest = if group.is_some() { 0 } else { rest_of_word(&text[found.end()..]) };
                    let end = found.end() + rest;
                    findings.push(Finding { rule: rule.name, span: found.start()..end });
                }
            }
        }
        findings.sort_by_key(|finding| (finding.span.start, std::cmp::Reverse(finding.span.end)));
        let mut end = 0;
        findings.retain(|finding| {
            let outer = finding.span.end > end;
            end = end.max(finding.span.end);
            outer
        });
        findings
    }
}

/// Tells whether a private key is one of documentation: it has an end, a line of dots, and too
/// little besides to be a key.
fn is_cut(key: &[u8], rest: &[u8]) -> bool {
    let mut lines = key.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let dots = |line: &[u8]| {
        let line = line.strip_prefix(b"# ").unwrap_or(line);
        line.len() >= 3 && line.iter().all(|byte| *byte == b'.') || line == "…".as_bytes()
    };
    rest.starts_with(b"-----END")
        && lines.clone().any(dots)
        && lines.by_ref().filter(|line| !dots(line)).count() <= 6
}

/// Decodes base64; returns nothing where a text is none.
fn of_base64(text: &[u8]) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

/// Measures the rest of the word behind a token of fixed length: newer, longer forms are masked
/// whole.
fn rest_of_word(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
}

/// Tells whether a text stands where a secret would, in an example or a template.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    PLACEHOLDERS.iter().any(|word| has(word)) || lower.starts_with(b"$") || is_drill(text)
}

/// Tells whether a text with its issuer's mark is documentation: there it ends in "example" or has
/// letters in a row.
fn is_drill(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    lower.ends_with(b"example") || has(b"abcdefghijklmnopqrstuvwxyz") || has(b"xxxxxxxx") || has(b"00000000")
}

/// Computes Shannon's entropy, in bits a byte.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let all = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_whole() {
        let rules = Rules::get();
        assert!(rules.rules.len() > 90, "{}", rules.rules.len());
        for rule in &rules.rules {
            rule.regex();
        }
        let names: std::collections::BTreeSet<_> = rules.rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.rules.len(), "every name stands once");
        assert!(rules.keywords.patterns_len() == rules.owners.len());
    }

    /// Texts with a secret, made so that no scanner takes this file for a leak: `~` is left out of
    /// them.
    const SECRETS: &[(&str, &str, &str)] = &[
        ("gitlab-pat", "token = \"{}\", x", "glpat-~9dJq4TzX0kV2bLw7NmRs"),
        ("gitlab-pat", "see {}!", "glpat-~9dJq4TzX0kV2bLw7NmRs.01.0z1b2c3d4"),
        ("github-pat", "{}", "ghp_~9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB"),
        ("aws-access-token", "id={}\n", "AKIA~Q4TZX7KV2BLW6NMR"),
        (
            "aws-secret-access-key",
            "aws_secret_access_key = {}\n",
            "kD9s/Jq4TzX0kV2bLw7NmRs3YcH6GfP8~eUa1QtBz",
        ),
        (
            "anthropic-api-key",
            "'{}'",
            "sk-ant-~api03-9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB0123456789AAA",
        ),
        ("slack-bot-token", "{}", "xoxb-~123456789012-123456789012-9dJq4TzX0kV2bLw7NmRs3YcH"),
        ("stripe-access-token", "({})", "sk_live_~9dJq4TzX0kV2bLw7NmRs"),
        (
            "private-key",
            "-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----",
            "\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC~BKcwggSj\n",
        ),
        (
            "private-key",
            "-----BEGIN RSA PRIVATE KEY-----{}",
            "\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC~cut off in the mid",
        ),
        ("url-password", "postgres://app:{}@db.corp.example/prod", "Tr0ub4dor~-3xy"),
        ("authorization-header", "curl -H 'Authorization: Bearer {}'", "9dJq4TzX0kV2bLw7~NmRs3YcH"),
        (
            "json-web-token",
            "SESSION={}",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.~dozjgNryP4J3jVmNHl0w5N",
        ),
        (
            "azure-storage-key",
            "AccountKey={};",
            "kD9sJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtBkD9sJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB0123~45abcd==",
        ),
    ];

    #[test]
    fn a_secret_is_found_whole_and_nothing_else() {
        for (rule, text, secret) in SECRETS {
            let secret = secret.replace('~', "");
            let text = text.replace("{}", &secret);
            let found = Rules::get().find(text.as_bytes());
            let shown: Vec<_> =
                found.iter().map(|finding| (finding.rule, &text[finding.span.clone()])).collect();
            // The lengths of routable tokens end before their last parts.
            let expected = secret.split_once(".01.").map_or(secret.as_str(), |(first, _)| first);
            assert_eq!(shown, [(*rule, expected)], "{text}");
        }
    }

    #[test]
    fn what_examples_and_code_say_is_no_secret() {
        for text in [
            "https://user:password@example.com/",
            "https://user:${PASSWORD}@example.com/",
            "http://USER:YOUR-TOKEN-HERE@host/",
            "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
            "glpat-xxxxxxxxxxxxxxxxxxxx",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "if text.contains(\"-----BEGIN PRIVATE KEY-----\") { return text.find(\"-----END PRIVATE KEY-----\"); }",
            "Authorization: Bearer <your access token here>",
            "const tokenizer = makeTokenizer(options)",
            "'//registry.npmjs.org/:_authToken': 'abcd1234',",
            // `isaacs:not my real password`
            "'//basic.auth.only.foo.com:_auth': 'aXNhYWNzOm5vdCBteSByZWFsIHBhc3N3b3Jk',",
            "valid uri format like dotenv://:key_1234@dotenv.org/vault/.env.vault",
            "-----BEGIN RSA PRIVATE KEY-----\n  MIIEpAIBAAKCAQEA2iX3M4d3LHrRAoVUbeFZN3EaGzKhyBsz7GWwTgETiNj\n  ....\n  -----END RSA PRIVATE KEY-----\n",
            "sha512-9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1Q==",
        ] {
            assert_eq!(Rules::get().find(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn a_key_that_is_whole_or_has_no_end_is_one() {
        let line = "9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB9dJq4TzX0kV2bLw7NmRs3YcH6GfP\n";
        let (begin, end) = ("-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n");
        for text in [
            format!("{begin}{}{end}", line.repeat(3)),
            format!("{begin}{}...\n", line.repeat(2)),
            // Dots in a comment do not make a key an example.
            format!("{begin}{}...\n{end}", line.repeat(12)),
        ] {
            assert_eq!(Rules::get().find(text.as_bytes()).len(), 1, "{text}");
        }
        for (text, rule) in [
            ("//r.corp.example/:_password=\"cGFzczEyMzQ=\"", "npm-registry-auth"),
            ("'//r.corp.example/:_authToken': '9dJq4TzX0kV2bLw7NmRs'", "npm-registry-token"),
        ] {
            let found = Rules::get().find(text.as_bytes());
            assert_eq!(found.first().map(|found| found.rule), Some(rule), "{text}");
        }
    }

    #[test]
    fn entropy_is_bits_a_byte() {
        assert_eq!(entropy(b"aaaa"), 0.0);
        assert_eq!(entropy(b"abcd"), 2.0);
        assert_eq!(entropy(b""), 0.0);
    }
}
