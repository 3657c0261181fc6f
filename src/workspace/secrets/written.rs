//! A command as it may be written down: without secrets, and of bounded length.
//!
//! ```text
//!  words ─▶ values that are known to be secret ─▶ the rules ─▶ NAME=VALUE and --name VALUE of a telling name ─▶ shortened
//! ```
//! The log outlives the run, and others read it. What no rule knows for a secret stays.

use std::ops::Range;

use super::rules::Rules;
use super::sent::is_secret_name;
use crate::workspace::masks::{MASK, replace};

/// A value shorter than this is part of too many words.
const SHORTEST: usize = 6;
/// The longest word, in bytes, and the most words.
const LONGEST: usize = 1024;
const MOST: usize = 64;

/// Returns a command without secrets. `known` are values that are secret whatever they look like.
pub(crate) fn without_secrets(command: &[String], known: &[&[u8]]) -> Vec<String> {
    let mut written: Vec<String> = Vec::new();
    let mut told: Option<String> = None;
    for word in command.iter().take(MOST) {
        // The option before it may say that this is a secret.
        let written_word = match told.take() {
            Some(name) if !word.starts_with('-') && tells(&name, word) => MASK.to_owned(),
            _ => scrub(word, known),
        };
        told = word.strip_prefix('-').filter(|option| !option.contains('=')).map(name);
        written.push(shortened(written_word));
    }
    if command.len() > MOST {
        written.push(format!("… and {} more", command.len() - MOST));
    }
    written
}

/// Returns an option's name as a variable would be called.
fn name(option: &str) -> String {
    option.trim_start_matches('-').replace('-', "_")
}

/// Tells whether a name says of a value that it is a secret. A number of tokens is none.
fn tells(name: &str, value: &str) -> bool {
    let counts =
        name.to_ascii_uppercase().ends_with("TOKENS") && value.bytes().all(|byte| byte.is_ascii_digit());
    is_secret_name(name) && !counts
}

fn scrub(word: &str, known: &[&[u8]]) -> String {
    let bytes = word.as_bytes();
    let mut spans: Vec<Range<usize>> = Vec::new();
    for secret in known.iter().map(|secret| secret.trim_ascii()).filter(|secret| secret.len() >= SHORTEST) {
        let mut from = 0;
        while let Some(at) = position(&bytes[from..], secret) {
            spans.push(from + at..from + at + secret.len());
            from += at + secret.len();
        }
    }
    spans.extend(Rules::get().find(bytes).into_iter().map(|finding| finding.span));
    if let Some((before, value)) = word.split_once('=')
        && !value.is_empty()
        && tells(&name(before), value)
    {
        spans.push(before.len() + 1..word.len());
    }
    // Spans of bytes may cut a character of a hostile text.
    String::from_utf8_lossy(&replace(bytes, spans, |_| MASK.into())).into_owned()
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn shortened(word: String) -> String {
    if word.len() <= LONGEST {
        return word;
    }
    let end = (0..=LONGEST).rev().find(|at| word.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… ({} bytes more)", &word[..end], word.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(command: &[&str]) -> Vec<String> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        without_secrets(&command, &[b"correct-horse\n", b"1000"])
    }

    #[test]
    fn a_command_is_written_as_it_is_but_for_secrets() {
        for plain in [
            &["make", "test"][..],
            &["sh", "-c", "echo $HOME; exit 7"],
            &["claude", "--max-tokens", "1000", "-p", "fix the login page"],
            &["curl", "--token-file", "/run/secrets/token"],
        ] {
            assert_eq!(written(plain), plain);
        }
    }

    #[test]
    fn no_secret_is_written() {
        let token = format!("glpat-{}", "9dJq4TzX0kV2bLw7NmRs");
        for (command, secret) in [
            (
                vec!["sh".to_owned(), "-c".to_owned(), format!("curl -H 'PRIVATE-TOKEN: {token}' a.test")],
                "9dJq4TzX",
            ),
            (vec!["agent".to_owned(), format!("--key={token}")], "9dJq4TzX"),
            (vec!["agent".to_owned(), "--password=Tr0ub4dor-3".to_owned()], "Tr0ub4dor"),
            (vec!["agent".to_owned(), "--api-key".to_owned(), "Tr0ub4dor-3".to_owned()], "Tr0ub4dor"),
            (vec!["env".to_owned(), "DB_PASSWORD=Tr0ub4dor-3".to_owned(), "run".to_owned()], "Tr0ub4dor"),
            (vec!["agent".to_owned(), "say correct-horse twice: correct-horse".to_owned()], "correct-horse"),
            (vec!["psql".to_owned(), "postgres://app:Tr0ub4dor-3xy@db.corp/prod".to_owned()], "Tr0ub4dor"),
        ] {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let written = written(&words).join(" ");
            assert!(!written.contains(secret) && written.contains(MASK), "{written}");
        }
    }

    #[test]
    fn a_long_command_is_shortened() {
        let prompt = "ä".repeat(4000);
        let shown = &written(&["agent", &prompt])[1];
        assert!(shown.len() < 1100 && shown.ends_with("bytes more)"), "{shown}");
        let many: Vec<&str> = vec!["x"; 1000];
        let shown = written(&many);
        assert_eq!((shown.len(), shown[64].as_str()), (65, "… and 936 more"));
    }
}
