//! Rules of httpjail and its relatives: `allow: REGEX`, `deny-post: REGEX`, a line each; the first
//! that matches a URL wins.
//!
//! ```text
//!  ^https://(.*\.)?x\.example/ ──Pattern::read──▶ scheme, below?, host, path? ──┬─ allow ──▶ a name, where no denial before it can match
//!                                                                               └─ deny  ──▶ a name, and what it may match besides
//! ```
//! The expressions are searched for in a URL, so `x\.example` matches everything below that name
//! too, and much else. Only expressions that spell a host out are read. A denial that is not
//! understood ends what is permitted.

use super::imported::ImportError;
use super::intake::{self, Intake};

/// Beginnings that stand for any name below, at any depth: with the name itself, and without.
const AT_OR_BELOW: &[&str] = &[
    r"(.*\.)?",
    r"(.+\.)?",
    r"([^/]*\.)?",
    r"([^/]+\.)?",
    r"(?:.*\.)?",
    r"(?:.+\.)?",
    r"(?:[^/]*\.)?",
    r"(?:[^/]+\.)?",
];
const BELOW: &[&str] = &[r".*\.", r".+\.", r"[^/]*\.", r"[^/]+\."];
/// Ends that any path satisfies.
const ANY_PATH: &[&str] =
    &["", "/", "/.*", "/.*$", ".*", ".*$", "(/.*)?", "(/.*)?$", "(/|$)", "(?:/.*)?", "(?:/|$)"];
/// Expressions that match every URL.
const EVERYTHING: &[&str] = &["", ".*", "^.*$", "^.*", ".*$", ".", ".+", "^", "^https?://", "https?://"];

/// Tells whether a line is a rule: `allow: …`, `deny-get: …`.
pub(super) fn is_rule(line: &str) -> bool {
    split(line).is_some()
}

fn split(line: &str) -> Option<(&str, Option<&str>, &str)> {
    let (action, regex) = line.split_once(':')?;
    let (action, method) = match action.trim().split_once('-') {
        Some((action, method)) => (action, Some(method)),
        None => (action.trim(), None),
    };
    matches!(action, "allow" | "deny").then_some((action, method, regex.trim()))
}

pub(super) fn read(text: &str, intake: &mut Intake) -> Result<(), ImportError> {
    let mut before = Denials::default();
    let mut narrower = false;
    for (line, content) in intake::lines(text) {
        let Some((action, method, regex)) = split(content) else {
            if line == 1 || content.contains("r.host") || content.contains("=>") {
                return Err(ImportError::Program);
            }
            let message = "a rule is `allow: REGEX` or `deny: REGEX`".to_owned();
            return Err(ImportError::Shape { line, message });
        };
        if let Some(ended) = before.everything {
            intake.leave_out(line, content, &format!("line {ended} refuses everything before it"));
        } else if action == "deny" {
            deny(line, content, method, regex, intake, &mut before);
        } else if method.is_some() {
            intake.leave_out(line, content, "a method cannot be told apart inside TLS");
        } else {
            narrower |= allow(line, content, regex, intake, &before);
        }
    }
    if narrower {
        intake.narrower(
            0,
            "the expressions",
            "they also match URLs that merely contain the name; the name is what is permitted",
        );
    }
    Ok(())
}

fn allow(line: u32, content: &str, regex: &str, intake: &mut Intake, before: &Denials) -> bool {
    if EVERYTHING.contains(&regex) {
        intake.leave_out(line, content, "it would permit every name");
        return false;
    }
    let Some(pattern) = Pattern::read(regex).filter(|pattern| ANY_PATH.contains(&pattern.tail)) else {
        intake.leave_out(line, content, "not an expression that names one host with every path");
        return false;
    };
    if let Some(denial) = before.unreadable {
        intake.leave_out(
            line,
            content,
            &format!("the denial in line {denial}, which is not understood, may refuse it"),
        );
        return false;
    }
    let host = pattern.host.as_str();
    if let Some(denial) = before.refuses(host) {
        intake.leave_out(line, content, &format!("line {denial} refuses it before"));
        return false;
    }
    match (pattern.below, before.literals.first()) {
        (Below::No, _) => intake.allow(line, content, host, pattern.ports),
        (Below::Too, None) => intake.allow(line, content, &format!(".{host}"), pattern.ports),
        (Below::Only, None) => intake.allow(line, content, &format!("*.{host}"), pattern.ports),
        (Below::Too, Some((denial, _))) => {
            intake.narrower(
                line,
                content,
                &format!("only `{host}` itself: line {denial} may refuse names below it"),
            );
            intake.allow(line, content, host, pattern.ports);
        }
        (Below::Only, Some((denial, _))) => {
            intake.leave_out(line, content, &format!("line {denial} may refuse names below it"));
        }
    }
    true
}

fn deny(
    line: u32,
    content: &str,
    method: Option<&str>,
    regex: &str,
    intake: &mut Intake,
    before: &mut Denials,
) {
    if method.is_some() {
        intake.narrower(line, content, "refused whatever the method");
    }
    if EVERYTHING.contains(&regex) {
        before.everything = Some(line);
        return;
    }
    // `telemetry`: no host, but a text that can be searched for in one.
    // An alternative in what follows the host would refuse something else altogether.
    let plain = |pattern: &Pattern<'_>| ANY_PATH.contains(&pattern.tail) || !pattern.tail.contains('|');
    let Some(pattern) = Pattern::read(regex).filter(plain).or_else(|| Pattern::word(regex)) else {
        intake.leave_out(line, content, "not understood; what follows is not permitted");
        before.unreadable.get_or_insert(line);
        return;
    };
    let whole = ["/", "(/", "$", ":"].iter().any(|end| pattern.tail.starts_with(end));
    if !ANY_PATH.contains(&pattern.tail) {
        intake.narrower(line, content, "refused whatever the path");
    }
    let exact = whole && pattern.scheme && pattern.below == Below::No && !pattern.probe.contains(ANY);
    if !exact {
        before.literals.push((line, pattern.probe.clone()));
    }
    if pattern.host.trim_matches('.').contains('.') {
        let dot = if pattern.below == Below::No { "" } else { "." };
        intake.deny(line, content, &format!("{dot}{}", pattern.host), &[]);
    } else {
        intake.narrower(line, content, "names in which it stands are not permitted by what follows");
    }
}

/// The denials that stand before a rule.
#[derive(Default)]
struct Denials {
    /// Texts that no permitted name may hold.
    literals: Vec<(u32, String)>,
    unreadable: Option<u32>,
    everything: Option<u32>,
}

impl Denials {
    /// Returns the line of the denial that matches `https://HOST/` already.
    fn refuses(&self, host: &str) -> Option<u32> {
        let url = format!("https://{host}/");
        let fits = |part: &[u8], probe: &str| {
            part.iter().zip(probe.bytes()).all(|(own, wanted)| *own == wanted || char::from(wanted) == ANY)
        };
        let found = |probe: &str| url.as_bytes().windows(probe.len().max(1)).any(|part| fits(part, probe));
        self.literals.iter().find(|(_, probe)| found(probe)).map(|(line, _)| *line)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    No,
    Too,
    Only,
}

/// An expression that spells a host out.
struct Pattern<'r> {
    scheme: bool,
    ports: &'static [u16],
    below: Below,
    host: String,
    /// The host as it is searched for: a bare dot fits any character.
    probe: String,
    /// The rest behind the host, unread.
    tail: &'r str,
}

impl<'r> Pattern<'r> {
    fn read(regex: &'r str) -> Option<Pattern<'r>> {
        let (rest, any_case) = match regex.strip_prefix("(?i)") {
            Some(rest) => (rest, true),
            None => (regex, false),
        };
        let (rest, anchored) = match rest.strip_prefix('^') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let schemes: &[(&str, &[u16])] = &[
            ("https?://", &[80, 443]),
            (r"https?:\/\/", &[80, 443]),
            ("https://", &[443]),
            (r"https:\/\/", &[443]),
            ("http://", &[80]),
            (r"http:\/\/", &[80]),
        ];
        let found = schemes.iter().find_map(|(scheme, ports)| Some((rest.strip_prefix(scheme)?, *ports)));
        let (rest, scheme, ports) = match found {
            Some((rest, ports)) => (rest, true, ports),
            // `^x` is never the beginning of a URL.
            None if anchored => return None,
            None => (rest, false, &[80u16, 443] as &[u16]),
        };
        let strip = |begins: &[&str]| begins.iter().find_map(|begin| rest.strip_prefix(begin));
        let (rest, below) = match (strip(AT_OR_BELOW), strip(BELOW)) {
            (Some(rest), _) => (rest, Below::Too),
            (None, Some(rest)) => (rest, Below::Only),
            (None, None) if scheme => (rest, Below::No),
            (None, None) => (rest, Below::Too),
        };
        let (probe, tail) = literal(rest);
        let probe = if any_case { probe.to_ascii_lowercase() } else { probe };
        let host = probe.replace(ANY, ".");
        // The host of a URL is in lower case: another spelling matches nothing.
        let good = host.contains('.') && !host.starts_with('.') && !host.ends_with('.');
        let lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
        (good && lower).then_some(Pattern { scheme, ports, below, host, probe, tail })
    }

    /// Reads a text without any operator.
    fn word(regex: &'r str) -> Option<Pattern<'r>> {
        let (probe, tail) = literal(regex);
        let good = !probe.is_empty() && tail.is_empty();
        let host = probe.replace(ANY, ".");
        good.then_some(Pattern { scheme: false, ports: &[], below: Below::Too, host, probe, tail })
    }
}

/// Stands for a bare dot.
const ANY: char = '?';

/// Splits off the letters, digits, hyphens and dots that an expression begins with, as far as no
/// operator changes them.
fn literal(regex: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = regex;
    loop {
        let (character, after) = if let Some(after) = rest.strip_prefix(r"\.") {
            ('.', after)
        } else if let Some(after) = rest.strip_prefix(r"\-") {
            ('-', after)
        } else {
            match rest.chars().next() {
                Some('.') => (ANY, &rest[1..]),
                Some(c) if c.is_ascii_alphanumeric() || c == '-' => (c, &rest[1..]),
                _ => return (text, rest),
            }
        };
        // What an operator changes is no longer a letter.
        if after.starts_with(['*', '+', '?', '{', '|']) {
            return (text, rest);
        }
        text.push(character);
        rest = after;
    }
}
