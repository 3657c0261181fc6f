//! Check of what a person types or hands over against the secret rules, before anything is created
//! (R10).
//!
//! ```text
//!  command, -e NAME=VALUE, --env-file, --prompt ──▶ rules ──▶ a finding ends the start: where, which rule, what to do instead
//!  -e NAME, --secret NAME[=FILE] ──▶ consent: not looked at, never shown
//! ```
//! A literal stays in the shell's history, in the list of processes and in the container's
//! configuration; a name does not.

use super::rules::{Rules, is_placeholder};
use crate::term::{COULD_NOT_RUN, Failure};

/// Names of variables whose values are secrets.
const NAMES: [&str; 8] =
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "CREDENTIAL"];
/// Ends of such names that say where a secret is, or about it.
const HARMLESS: [&str; 10] =
    ["_FILE", "_PATH", "_URL", "_URI", "_NAME", "_ID", "_TYPE", "_LIMIT", "_TTL", "_COUNT"];
/// The rule of [`NAMES`].
const BY_NAME: &str = "secret-variable";

/// A text and where it stands.
pub(crate) struct Sent<'a> {
    /// Place as `--allow-secret` names it: `argument:3`, `env:NAME`, `prompt`, `env-file:NAME`.
    pub(crate) place: String,
    /// The variable's name, for a value of one.
    pub(crate) variable: Option<&'a str>,
    /// The text.
    pub(crate) text: &'a [u8],
}

/// Ends the start when a text holds a secret that `allowed` (`RULE@PLACE`) does not name.
pub(crate) fn check(sent: &[Sent<'_>], allowed: &[String]) -> Result<(), Failure> {
    let mut causes = Vec::new();
    let mut first = None;
    for one in sent {
        let mut found: Vec<(&str, String)> = Vec::new();
        for finding in Rules::get().find(one.text) {
            let before = &one.text[..finding.span.start];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            let place = if one.variable.is_some() { String::new() } else { format!(" at {line}:{column}") };
            found.push((finding.rule, format!("{place}{}", beginning(&one.text[finding.span]))));
        }
        if found.is_empty() && one.variable.is_some_and(|name| is_secret_variable(name, one.text)) {
            found.push((BY_NAME, String::new()));
        }
        for (rule, at) in found {
            let word = format!("{rule}@{}", one.place);
            if !allowed.contains(&word) {
                causes.push(format!("{}: {rule}{at}", one.place));
                first.get_or_insert(word);
            }
        }
    }
    let Some(first) = first else { return Ok(()) };
    let mut failure = Failure::new(
        COULD_NOT_RUN,
        "what would be sent to the agent or to a service holds a secret in the clear",
    );
    failure.causes = causes;
    let by_name = match first.contains("@service") {
        true => "--service-env NAME:VARIABLE",
        false => "-e NAME, or --secret NAME (a file in memory)",
    };
    Err(failure.hint(format!(
        "pass it by name, from your environment: {by_name}; or, if it is none: --allow-secret {first}"
    )))
}

/// Returns the mark of the issuer, which is no secret; nothing for a secret that carries none.
fn beginning(secret: &[u8]) -> String {
    let mark: Vec<u8> = secret.iter().copied().take(4).collect();
    let has_mark = secret.len() >= 20
        && mark.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_');
    match has_mark && secret[..secret.len().min(12)].iter().any(|byte| matches!(byte, b'-' | b'_')) {
        true => format!(" ({}…)", String::from_utf8_lossy(&mark)),
        false => String::new(),
    }
}

/// Tells whether the name of a variable says that its value is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|word| name.contains(word)) && !HARMLESS.iter().any(|end| name.ends_with(end))
}

/// Tells whether a variable's value is a secret, by its name.
pub(crate) fn is_secret_variable(name: &str, value: &[u8]) -> bool {
    is_secret_name(name)
        && value.len() >= 6
        && !value.starts_with(b"/")
        && !value.iter().all(u8::is_ascii_digit)
        && !is_placeholder(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs")
    }

    fn checked(place: &str, variable: Option<&str>, text: &str, allowed: &[&str]) -> Result<(), Failure> {
        let allowed: Vec<String> = allowed.iter().map(|word| (*word).to_owned()).collect();
        check(&[Sent { place: place.to_owned(), variable, text: text.as_bytes() }], &allowed)
    }

    #[test]
    fn a_literal_is_told_by_place_and_rule_and_never_shown() {
        let text = format!("first line\nuse {} for it", token());
        let failure = checked("prompt", None, &text, &[]).unwrap_err();
        assert_eq!(failure.exit, COULD_NOT_RUN);
        assert_eq!(failure.causes, ["prompt: gitlab-pat at 2:5 (glpa…)"]);
        assert!(failure.hint.as_deref().unwrap().ends_with("--allow-secret gitlab-pat@prompt"));
        assert!(!failure.to_string().contains("9dJq"), "{failure}");
        assert!(checked("prompt", None, &text, &["gitlab-pat@prompt"]).is_ok());
        assert!(checked("prompt", None, &text, &["gitlab-pat@argument:1"]).is_err());
        let failure = checked("argument:2", None, "postgres://app:Tr0ub4dor-3xyz@db/prod", &[]).unwrap_err();
        assert!(!failure.to_string().contains("Tr0"), "{failure}");
    }

    #[test]
    fn a_telling_name_makes_a_value_a_secret() {
        for (name, value) in
            [("DB_PASSWORD", "hunter22"), ("api_key", "abcdef"), ("GITLAB_TOKEN", "x1y2z3w4")]
        {
            let failure = checked("env:X", Some(name), value, &[]).unwrap_err();
            assert_eq!(failure.causes, ["env:X: secret-variable"], "{name}");
            assert!(!failure.to_string().contains(value), "{failure}");
        }
        for (name, value) in [
            ("TOKEN_LIMIT", "4096000"),
            ("PASSWORD_FILE", "run/secrets/x"),
            ("DB_PASSWORD", "changeme"),
            ("DB_PASSWORD", "/run/secrets/db"),
            ("MAX_TOKENS", "128000"),
            ("EDITOR", "vim -u NONE"),
        ] {
            assert!(checked("env:X", Some(name), value, &[]).is_ok(), "{name}");
        }
    }
}
