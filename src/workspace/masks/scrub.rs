//! Configuration without its secret values, the rest intact.
//!
//! An emptied configuration would do harm: a registry mapping that is gone sends package managers to the public registry. What is
//! written in a way that this file does not read for certain is hidden whole.

use std::ops::Range;
use std::sync::OnceLock;

use regex::bytes::{Captures, Regex, RegexBuilder};
use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "masked-by-ringfence";

/// How a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `key = value` or `key: value`, one a line: INI, properties, TOML, YAML, HCL.
    Lines,
    /// git's own INI.
    Git,
    /// JSON.
    Json,
    /// XML.
    Xml,
}

/// What is left of a configuration.
#[derive(Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// It holds no secret: it stays as it is, and the agent may change it.
    Clean,
    /// The same without its secrets.
    Masked(Vec<u8>),
    /// It cannot be read for certain.
    Unclear,
}

/// Takes the secret values out.
pub fn scrub(form: Form, text: &[u8]) -> Scrubbed {
    let patterns = Patterns::get();
    match form {
        Form::Json => json(text),
        Form::Xml => masked(text, patterns.in_xml(text)),
        Form::Lines | Form::Git => {
            if std::str::from_utf8(text).is_err() || text.contains(&0) {
                return Scrubbed::Unclear;
            }
            match patterns.in_lines(form, text) {
                Some(spans) => masked(text, spans),
                None => Scrubbed::Unclear,
            }
        }
    }
}

/// A text with other words in the place of some spans, which may overlap.
pub fn replace(text: &[u8], mut spans: Vec<Range<usize>>, with: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    spans.sort_by_key(|span| (span.start, span.end));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for span in spans {
        if span.start < at {
            // What overlaps is one secret, and has its words already.
            at = at.max(span.end);
            continue;
        }
        out.extend_from_slice(&text[at..span.start]);
        out.extend_from_slice(&with(span.len()));
        at = span.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn masked(text: &[u8], spans: Vec<Range<usize>>) -> Scrubbed {
    if spans.is_empty() {
        return Scrubbed::Clean;
    }
    Scrubbed::Masked(replace(text, spans, |_| MASK.into()))
}

/// Words in a key that make its value a secret.
const SECRET_WORDS: &str = r"password|passwd|passphrase|pwd|\bpass\b|_pass\b|secret|token|authorization|authident|\bauth\b|auths\b|_auth\b|http-basic|oauth\b|bearer|credential|api[_-]?key|private[_-]?key|access[_-]?key|key-data|\bkey\b|extraheader|__(?:com|org|net|io|dev|co|eu|example|corp|internal|local|lan)\b";
/// Ends of keys whose values only say where a secret is, or how long it lives.
const HARMLESS_ENDS: &str =
    r"(?:file|path|uri|url|endpoint|command|cmd|type|name|ttl|expiry|expires|date|scopes?|helper|store)$";

struct Patterns {
    /// A line whose key is secret: `k` the key, `v` the value.
    line: Regex,
    /// A secret key within a line, in a flow mapping.
    inline: Regex,
    secret_key: Regex,
    harmless_key: Regex,
    /// Values that are no secret: `${NAME}`, numbers, booleans.
    reference: Regex,
    trivial: Regex,
    /// What stands before `@` in URLs.
    http_user: Regex,
    url_password: Regex,
    /// conda's tokens in paths.
    path_token: Regex,
    xml: Vec<Regex>,
    xml_section: Regex,
    xml_value: Regex,
}

impl Patterns {
    fn get() -> &'static Patterns {
        static PATTERNS: OnceLock<Patterns> = OnceLock::new();
        PATTERNS.get_or_init(|| {
            let regex = |pattern: &str| {
                let built = RegexBuilder::new(pattern).unicode(false).case_insensitive(true).build();
                built.unwrap_or_else(|error| unreachable!("tests compile these: {error}"))
            };
            let words = format!("(?:{SECRET_WORDS})");
            let xml_words = "(?:password|passphrase|passwd|token|secret|apikey|api-key|privatekey)";
            Patterns {
                line: regex(&format!(
                    r#"(?m)^[ \t]*(?:[#;]+[ \t]*|-[ \t]+|export[ \t]+)*(?P<k>["']?[^\s=#;]*?{words}[\w.\-]*["']?)[ \t]*[:=][ \t]*(?P<v>[^\r\n]*?)[ \t]*\r?$"#
                )),
                inline: regex(&format!(r#"(?m)(?:^|[^$])[{{\[,(][ \t]*["']?[\w.\-]*{words}[\w.\-]*["']?[ \t]*[:=]"#)),
                secret_key: regex(&words),
                harmless_key: regex(HARMLESS_ENDS),
                reference: regex(r"^(?:\$\{[a-z_][a-z0-9_.]*(?::?-)?\}|%[a-z_][a-z0-9_]*%|:|\s)*$"),
                trivial: regex(r"^(?:true|false|yes|no|on|off|null|nil|none|~|\d{1,6})?$"),
                http_user: regex(r#"\b(?:https?|ftps?)://(?P<s>[^\s/?#@"'<>]+)@"#),
                url_password: regex(r#"\b[a-z][a-z0-9+.-]*://[^\s/?#:@"'<>]*:(?P<s>[^\s/?#@"'<>]+)@"#),
                path_token: regex(r#"://[^\s"']+/t/(?P<s>[\w-]{8,})/"#),
                xml: vec![
                    regex(&format!(
                        r"(?s)<[\w.:-]*{xml_words}[\w.:-]*(?:\s[^>]*)?>(?P<s>[^<]*(?:<!\[CDATA\[.*?\]\]>)?[^<]*)</"
                    )),
                    regex(r"(?s)<name>\s*(?:private-token|job-token|deploy-token|authorization)\s*</name>\s*<value>(?P<s>[^<]*)</"),
                    regex(&format!(
                        r#"(?s)<[^<>]*\bkey\s*=\s*["'][^"'<>]*{xml_words}[^"'<>]*["'][^<>]*\bvalue\s*=\s*["'](?P<s>[^"'<>]*)["']"#
                    )),
                    regex(&format!(
                        r#"(?s)<[^<>]*\bvalue\s*=\s*["'](?P<s>[^"'<>]*)["'][^<>]*\bkey\s*=\s*["'][^"'<>]*{xml_words}"#
                    )),
                    regex(&format!(r#"(?s)\b[\w.:-]*{xml_words}\s*=\s*["'](?P<s>[^"'<>]*)["']"#)),
                ],
                xml_section: regex(r"(?s)<apikeys\b.*?</apikeys\s*>"),
                xml_value: regex(r#"\bvalue\s*=\s*["'](?P<s>[^"']*)["']"#),
            }
        })
    }

    /// Where the secrets are; `None` when a secret key's value is not on its line.
    fn in_lines(&self, form: Form, text: &[u8]) -> Option<Vec<Range<usize>>> {
        if form == Form::Lines && self.inline.is_match(text) {
            return None;
        }
        let mut spans = self.in_urls(text);
        for captures in self.line.captures_iter(text) {
            let (Some(key), Some(value)) = (captures.name("k"), captures.name("v")) else { return None };
            if self.harmless_key.is_match(key.as_bytes().trim_ascii_end_matches_quote()) {
                continue;
            }
            spans.extend(self.value(text, value.range())?);
        }
        Some(spans)
    }

    /// The part of a value that is secret; `None` when the value goes on elsewhere.
    fn value(&self, text: &[u8], span: Range<usize>) -> Option<Option<Range<usize>>> {
        let value = &text[span.clone()];
        if self.trivial.is_match(value) || self.reference.is_match(value) {
            return Some(None);
        }
        let (first, last) = (value.first()?, value.last()?);
        match first {
            quote @ (b'"' | b'\'') => {
                let end = value.iter().skip(1).position(|byte| byte == quote)? + 1;
                let inner = &value[1..end];
                // `"""` and `'''` open a text of several lines.
                if inner.is_empty() && value.len() > 2 && value[2] == *quote {
                    return None;
                }
                if self.trivial.is_match(inner) || self.reference.is_match(inner) {
                    return Some(None);
                }
                Some(Some(span.start + 1..span.start + end))
            }
            b'|' | b'>' | b'{' | b'[' | b'<' => None,
            _ if *last == b'\\' => None,
            _ => Some(Some(span)),
        }
    }

    fn in_urls(&self, text: &[u8]) -> Vec<Range<usize>> {
        let found = [&self.http_user, &self.url_password, &self.path_token];
        found.into_iter().flat_map(|regex| self.secrets(regex, text)).collect()
    }

    fn in_xml(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut spans = self.in_urls(text);
        spans.extend(self.xml.iter().flat_map(|regex| self.secrets(regex, text)));
        for section in self.xml_section.find_iter(text) {
            let inner = self.secrets(&self.xml_value, section.as_bytes());
            spans.extend(
                inner.into_iter().map(|span| section.start() + span.start..section.start() + span.end),
            );
        }
        spans
    }

    /// What a pattern captures, unless it only refers to a secret.
    fn secrets(&self, regex: &Regex, text: &[u8]) -> Vec<Range<usize>> {
        let secret = |captures: Captures<'_>| {
            let found = captures.name("s")?;
            let harmless =
                self.trivial.is_match(found.as_bytes()) || self.reference.is_match(found.as_bytes());
            (!harmless).then(|| found.range())
        };
        regex.captures_iter(text).filter_map(secret).collect()
    }
}

/// A key without the quote that ends it.
trait Unquoted {
    fn trim_ascii_end_matches_quote(&self) -> &[u8];
}

impl Unquoted for [u8] {
    fn trim_ascii_end_matches_quote(&self) -> &[u8] {
        match self {
            [rest @ .., b'"' | b'\''] => rest,
            all => all,
        }
    }
}

fn json(text: &[u8]) -> Scrubbed {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return Scrubbed::Unclear };
    if !scrub_json(&mut value, false) {
        return Scrubbed::Clean;
    }
    match serde_json::to_vec_pretty(&value) {
        Ok(text) => Scrubbed::Masked(text),
        Err(_) => Scrubbed::Unclear,
    }
}

/// Masks below secret keys; whether anything was.
fn scrub_json(value: &mut Value, secret: bool) -> bool {
    let patterns = Patterns::get();
    match value {
        Value::Object(map) => map.iter_mut().fold(false, |any, (key, value)| {
            let key = key.as_bytes();
            let secret = secret
                || (patterns.secret_key.is_match(key)
                    && !(patterns.harmless_key.is_match(key) && value.is_string()));
            scrub_json(value, secret) || any
        }),
        // Every item, not only up to the first.
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| scrub_json(item, secret).then_some(())).count() > 0
        }
        Value::String(text) if secret && !text.is_empty() => {
            *text = MASK.to_owned();
            true
        }
        Value::Number(_) if secret => {
            *value = Value::String(MASK.to_owned());
            true
        }
        Value::String(text) => {
            let spans = patterns.in_urls(text.as_bytes());
            if spans.is_empty() {
                return false;
            }
            let replaced = replace(text.as_bytes(), spans, |_| MASK.into());
            *text = String::from_utf8_lossy(&replaced).into_owned();
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, as text; `clean` or `unclear` else.
    fn left(form: Form, text: &str) -> String {
        match scrub(form, text.as_bytes()) {
            Scrubbed::Clean => "clean".to_owned(),
            Scrubbed::Unclear => "unclear".to_owned(),
            Scrubbed::Masked(left) => String::from_utf8(left).unwrap().replace(MASK, "MASK"),
        }
    }

    #[test]
    fn registry_settings_keep_their_mapping_and_lose_their_secrets() {
        assert_eq!(
            left(
                Form::Lines,
                "@corp:registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=npm_abc\n//npm.corp.example/:_password=\"cHc=\"\n//npm.corp.example/:always-auth=true\nemail=me@corp.example\n"
            ),
            "@corp:registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=MASK\n//npm.corp.example/:_password=\"MASK\"\n//npm.corp.example/:always-auth=true\nemail=me@corp.example\n"
        );
        assert_eq!(
            left(
                Form::Lines,
                "[global]\nindex-url = https://me:pw@pip.corp.example/simple\nextra-index-url=https://tok@x.example/\ntrusted-host = pip.corp.example\n"
            ),
            "[global]\nindex-url = https://MASK@pip.corp.example/simple\nextra-index-url=https://MASK@x.example/\ntrusted-host = pip.corp.example\n"
        );
        assert_eq!(
            left(Form::Lines, "[pypi]\nusername = __token__\npassword: pypi-xyz\n"),
            "[pypi]\nusername = __token__\npassword: MASK\n"
        );
        assert_eq!(
            left(
                Form::Lines,
                "npmScopes:\n  corp:\n    npmAuthToken: \"abc\"\n    npmRegistryServer: https://npm.corp.example\n"
            ),
            "npmScopes:\n  corp:\n    npmAuthToken: \"MASK\"\n    npmRegistryServer: https://npm.corp.example\n"
        );
        assert_eq!(
            left(Form::Lines, "org.gradle.jvmargs=-Xmx1g\nsigning.password=s\nnexusPassword = t\n"),
            "org.gradle.jvmargs=-Xmx1g\nsigning.password=MASK\nnexusPassword = MASK\n"
        );
        assert_eq!(
            left(
                Form::Lines,
                "[registries.corp]\nindex = \"sparse+https://c.example/\"\ntoken = \"Bearer x\" # mine\n"
            ),
            "[registries.corp]\nindex = \"sparse+https://c.example/\"\ntoken = \"MASK\" # mine\n"
        );
    }

    #[test]
    fn clusters_and_clouds() {
        assert_eq!(
            left(
                Form::Lines,
                "clusters:\n- cluster:\n    certificate-authority-data: LS0t\n    server: https://k.example\nusers:\n- name: me\n  user:\n    client-certificate-data: LS0t\n    client-key-data: LS0tS0VZ\n    token: abc\n"
            ),
            "clusters:\n- cluster:\n    certificate-authority-data: LS0t\n    server: https://k.example\nusers:\n- name: me\n  user:\n    client-certificate-data: LS0t\n    client-key-data: MASK\n    token: MASK\n"
        );
        assert_eq!(
            left(Form::Json, r#"{"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"desktop"}"#),
            "{\n  \"auths\": {\n    \"r.example\": {\n      \"auth\": \"MASK\"\n    }\n  },\n  \"credsStore\": \"desktop\"\n}"
        );
        assert_eq!(
            left(
                Form::Json,
                r#"{"github-oauth":{"github.com":"x"},"http-basic":{"h":{"username":"u","password":"p"}}}"#
            )
            .matches("MASK")
            .count(),
            3
        );
        assert_eq!(left(Form::Json, r#"{"auths":{"r.example":{}},"credsStore":"desktop"}"#), "clean");
    }

    #[test]
    fn builds_in_xml() {
        assert_eq!(
            left(
                Form::Xml,
                "<settings><servers><server><id>x</id><username>u</username><password>p&amp;w</password></server></servers><mirrors><mirror><url>https://m.example</url></mirror></mirrors></settings>"
            ),
            "<settings><servers><server><id>x</id><username>u</username><password>MASK</password></server></servers><mirrors><mirror><url>https://m.example</url></mirror></mirrors></settings>"
        );
        assert_eq!(
            left(Form::Xml, "<property><name>Private-Token</name>\n<value>abc</value></property>"),
            "<property><name>Private-Token</name>\n<value>MASK</value></property>"
        );
        assert_eq!(
            left(
                Form::Xml,
                "<packageSources><add key=\"corp\" value=\"https://n.example\" /></packageSources><packageSourceCredentials><corp><add key=\"Username\" value=\"u\" /><add key=\"ClearTextPassword\" value=\"p\" /></corp></packageSourceCredentials><apikeys><add key=\"https://n.example\" value=\"ENC\" /></apikeys>"
            ),
            "<packageSources><add key=\"corp\" value=\"https://n.example\" /></packageSources><packageSourceCredentials><corp><add key=\"Username\" value=\"u\" /><add key=\"ClearTextPassword\" value=\"MASK\" /></corp></packageSourceCredentials><apikeys><add key=\"https://n.example\" value=\"MASK\" /></apikeys>"
        );
        assert_eq!(left(Form::Xml, "<password>${env.PASSWORD}</password>"), "clean".to_owned());
    }

    #[test]
    fn what_was_commented_out_is_a_secret_still() {
        assert_eq!(left(Form::Lines, "# password = old\n;token=older\n"), "# password = MASK\n;token=MASK\n");
    }

    #[test]
    fn git_remotes() {
        assert_eq!(
            left(
                Form::Git,
                "[remote \"origin\"]\n\turl = https://oauth2:glpat-abc@gitlab.com/a/b.git\n\tpushurl = ssh://git@gitlab.com/a/b.git\n[http \"https://gitlab.com/\"]\n\textraheader = AUTHORIZATION: basic abc\n"
            ),
            "[remote \"origin\"]\n\turl = https://MASK@gitlab.com/a/b.git\n\tpushurl = ssh://git@gitlab.com/a/b.git\n[http \"https://gitlab.com/\"]\n\textraheader = MASK\n"
        );
        assert_eq!(left(Form::Git, "[remote \"origin\"]\n\turl = git@gitlab.com:a/b.git\n"), "clean");
    }

    #[test]
    fn what_refers_to_a_secret_is_none() {
        for text in [
            "//r.example/:_authToken=${NPM_TOKEN}\n",
            "npmAuthToken: \"${NPM_TOKEN:-}\"\n",
            "password_file = /run/pw\n",
            "[distutils]\nindex-servers = pypi\n",
            "index-url = https://${USER}:${PASS}@r.example/simple\n",
            "# the password: see the handbook\n",
        ] {
            assert_eq!(left(Form::Lines, text), "clean", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_for_certain_is_hidden() {
        for text in [
            "token: |\n  abc\n",
            "users: [{name: me, user: {token: abc}}]\n",
            "db = { user = \"u\", password = \"p\" }\n",
            "key = \"\"\"\nabc\n\"\"\"\n",
            "private_key = <<EOT\nabc\nEOT\n",
            "password = a\\\nb\n",
            "password = \"a\nb\"\n",
            "token\0 = a",
        ] {
            assert_eq!(left(Form::Lines, text), "unclear", "{text}");
        }
        assert_eq!(left(Form::Json, "{\"auths\": // logins\n {}}"), "unclear");
    }
}
