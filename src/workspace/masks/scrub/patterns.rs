//! Patterns of secret keys, of harmless values, and of credentials in URLs.

use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::manner::Manner;

/// Words in a key that make its value a secret.
pub(super) const SECRET_WORDS: &str = r"password|passwd|pass_?phrase|passcode|pwd|pass\b|secret|token|authorization|authident|\bauth\b|auths\b|_auth\b|masterauth|auth[_-]?key|auth[_-]?string|http-basic|oauth\b|bearer|credential|api[_-]?key|private[_-]?key|access[_-]?key|key-data|key\b|keys\b|\bpsk\b|_psk\b|_pat\b|\bpat\b|_sas\b|\bsas\b|jwt|cookie|headers?\b|connection[_-]?string|\bdsn\b|sas_?url|webhook|bundle_[^\s=:]*__";
/// Ends of keys whose values only say where a secret is, or how long it lives; and keys that are
/// public.
const HARMLESS_ENDS: &str = r"(?:file|path|uri|url|endpoint|command|cmd|type|name|ttl|expiry|expires|date|scopes?|helper|store|providers?|alias|source|public[_-]?keys?|key\.?id)$|^bundle_(?:local|build|mirror|gem)__";
/// Ends that are secrets all the same: such an address is the permission to use it.
const NEVER_HARMLESS: &str = r"(?:sas|webhook|signed)[_-]?ur[il]$";
/// Sections whose every value is a secret.
const SECRET_SECTION: &str = r#"^\[+[ \t]*["']?(?:[^\s\]]*[-_.])?(?:tokens?|http-basic|credentials?|passwords?|secrets?|auth)(?:["'.][^\s\]]*)?\]+"#;

pub(super) struct Patterns {
    /// A line that gives a secret key a value: `k` the key, `v` the value.
    pub(super) line: Regex,
    /// Any line that gives a key a value, or is an item of a list.
    pub(super) any_line: Regex,
    /// A secret key within a line, in a flow mapping or an inline table.
    pub(super) inline: Regex,
    pub(super) secret_section: Regex,
    pub(super) secret_key: Regex,
    harmless_key: Regex,
    never_harmless: Regex,
    /// Values that are no secret: `${NAME}`, numbers, booleans.
    reference: Regex,
    trivial: Regex,
    /// Credentials before `@` in URLs.
    http_user: Regex,
    url_password: Regex,
    /// Credentials in a proxy's address without a scheme.
    proxy_user: Regex,
    /// conda's tokens in paths.
    path_token: Regex,
    xml: Vec<Regex>,
    xml_section: Regex,
    xml_value: Regex,
}

/// Compiles a pattern that a test has compiled.
pub(super) fn regex(pattern: &str) -> Regex {
    let built = RegexBuilder::new(pattern).unicode(false).case_insensitive(true).build();
    built.unwrap_or_else(|error| unreachable!("tests compile these: {error}"))
}

impl Patterns {
    pub(super) fn get() -> &'static Patterns {
        static PATTERNS: OnceLock<Patterns> = OnceLock::new();
        PATTERNS.get_or_init(|| {
            let words = format!("(?:{SECRET_WORDS})");
            let xml_words = "(?:password|passphrase|passwd|keystorepass|token|secret|apikey|api-key|privatekey)";
            let lead = r"^[ \t]*(?:[#;]+[ \t]*|-[ \t]+|export[ \t]+)*";
            Patterns {
                line: regex(&format!(
                    r#"{lead}(?P<k>["']?[^\s=#;]*?{words}[^\s=:"']*["']?)[ \t]*[:=][ \t]*(?P<v>.*?)[ \t]*$"#
                )),
                any_line: regex(
                    r#"^[ \t]*(?:(?P<dash>-)[ \t]+|export[ \t]+)*(?:(?P<k>"[^"]*"|'[^']*'|[^\s=:#;"'{\[][^=:#"'{\[]*?)[ \t]*(?:=|:(?:[ \t]|$))[ \t]*)?(?P<v>.*?)[ \t]*$"#,
                ),
                inline: regex(&format!(
                    r#"(?:^|[^$])[{{\[,(][ \t]*(?P<k>["']?[\w.\-]*{words}[\w.\-]*["']?)[ \t]*[:=][ \t]*"#
                )),
                secret_section: regex(SECRET_SECTION),
                secret_key: regex(&words),
                harmless_key: regex(HARMLESS_ENDS),
                never_harmless: regex(NEVER_HARMLESS),
                reference: regex(
                    r"^(?:\$\{[a-z_][a-z0-9_.]*(?::?-|\?)?\}|\$\{(?:input|env|localEnv):[\w.:-]*\}|%[a-z_][a-z0-9_]*%|\{\{[^{}]*\}\}|<%[^%]*%>|:|\s)*$",
                ),
                trivial: regex(r"^(?:true|false|yes|no|on|off|null|nil|none|~|\d{1,6})?$"),
                http_user: regex(r#"\b(?:https?|ftps?)://(?P<s>[^\s/?#@"'<>]+)@"#),
                url_password: regex(r#"\b[a-z][a-z0-9+.-]*://[^\s/?#:@"'<>]*:(?P<s>[^\s/?#@"'<>]+)@"#),
                proxy_user: regex(r#"(?m)^[^\r\n=:]*proxy[\w.-]*["']?[ \t]*[:= \t][ \t]*["']?(?P<s>[^\s/?#@"'<>:]+:[^\s/?#@"'<>]+)@"#),
                path_token: regex(r#"://[^\s"']+/t/(?P<s>[\w-]{8,})/"#),
                xml: vec![
                    regex(&format!(
                        r"(?s)<[\w.:-]*{xml_words}[\w.:-]*(?:\s[^>]*)?>(?P<s>[^<]*(?:<!\[CDATA\[.*?\]\]>)?[^<]*)</"
                    )),
                    regex(&format!(
                        r"(?s)<name>[^<]*(?:{xml_words}|authorization)[^<]*</name>\s*<value>(?P<s>[^<]*)</"
                    )),
                    regex(&format!(
                        r#"(?s)<[^<>]*\b(?:key|name)\s*=\s*["'][^"'<>]*{xml_words}[^"'<>]*["'][^<>]*\bvalue\s*=\s*["'](?P<s>[^"'<>]*)["']"#
                    )),
                    regex(&format!(
                        r#"(?s)<[^<>]*\bvalue\s*=\s*["'](?P<s>[^"'<>]*)["'][^<>]*\b(?:key|name)\s*=\s*["'][^"'<>]*{xml_words}"#
                    )),
                    regex(&format!(r#"(?s)\b[\w.:-]*{xml_words}\s*=\s*["'](?P<s>[^"'<>]*)["']"#)),
                ],
                xml_section: regex(r"(?s)<apikeys\b.*?</apikeys\s*>"),
                xml_value: regex(r#"\bvalue\s*=\s*["'](?P<s>[^"']*)["']"#),
            }
        })
    }

    /// Tells whether the value of this key is a secret.
    pub(super) fn is_secret(&self, key: &[u8]) -> bool {
        self.secret_key.is_match(key) && !self.is_harmless(key)
    }

    /// Tells whether a key with a telling word only says where a secret is.
    pub(super) fn is_harmless(&self, key: &[u8]) -> bool {
        let key = super::unquoted(key);
        self.harmless_key.is_match(key) && !self.never_harmless.is_match(key)
    }

    /// Tells whether a value is no secret, whatever its key.
    pub(super) fn is_plain(&self, value: &[u8]) -> bool {
        self.trivial.is_match(value) || self.reference.is_match(value)
    }

    pub(super) fn in_urls(&self, text: &[u8]) -> Vec<Range<usize>> {
        let found = [&self.http_user, &self.url_password, &self.proxy_user, &self.path_token];
        found.into_iter().flat_map(|regex| self.secrets(regex, text, Manner::Strict)).collect()
    }

    pub(super) fn in_xml(&self, text: &[u8], manner: Manner) -> Vec<Range<usize>> {
        let mut spans = self.in_urls(text);
        spans.extend(self.xml.iter().flat_map(|regex| self.secrets(regex, text, manner)));
        for section in self.xml_section.find_iter(text) {
            let inner = self.secrets(&self.xml_value, section.as_bytes(), manner);
            spans.extend(
                inner.into_iter().map(|span| section.start() + span.start..section.start() + span.end),
            );
        }
        spans
    }

    /// Returns what a pattern captures as `s`, unless that is no secret.
    pub(super) fn secrets(&self, regex: &Regex, text: &[u8], manner: Manner) -> Vec<Range<usize>> {
        let secret = |captures: Captures<'_>| {
            let found = captures.name("s")?;
            (!manner.is_plain(found.as_bytes())).then(|| found.range())
        };
        regex.captures_iter(text).filter_map(secret).collect()
    }
}
