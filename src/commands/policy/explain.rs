//! `ringfence policy explain TARGET`: the verdict of the one decision function, offline.
//!
//! ```text
//!  TARGET ──parse──▶ Target, port ──decide──▶ Verdict ──▶ words or JSON
//! ```

use std::net::{IpAddr, SocketAddr};

use netpolicy::decide::{Question, Reason, Target, Verdict, decide};
use netpolicy::diagnostic::render;
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use serde_json::json;

use super::load_run_policy;
use crate::commands::{print, print_json};
use crate::error::Failure;

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
const CANNOT_TELL: u8 = 2;

/// Schemes whose port is known. `tcp` has none.
const SCHEMES: &[(&str, u16)] = &[
    ("https", 443),
    ("wss", 443),
    ("http", 80),
    ("ws", 80),
    ("ssh", 22),
    ("git+ssh", 22),
    ("sftp", 22),
    ("git", 9418),
    ("ftp", 21),
];

/// Says whether `text` may be reached under the policy of a run with these options.
pub fn explain(
    text: &str,
    policies: &[String],
    allow: &[String],
    deny: &[String],
    as_json: bool,
) -> Result<u8, Failure> {
    let wanted = Wanted::parse(text)?;
    let (policy, warnings) = load_run_policy(policies, allow, deny, false)
        .map_err(|failure| Failure { exit: CANNOT_TELL, ..failure })?;
    if !warnings.is_empty() {
        eprint!("{}", render(&warnings));
    }
    let surroundings = Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    let verdict = if wanted.udp {
        // Nothing but TCP leaves the fence, whatever the target.
        Verdict {
            allowed: false,
            reason: Reason::Protocol,
            rule: None,
            protocol: None,
            conditions: Vec::new(),
        }
    } else {
        let question = Question { target: &wanted.target, port: Some(wanted.port), address: None };
        decide(&policy, &surroundings, &question)
    };
    if as_json {
        print_json(&to_json(text, &verdict, &policy.digest()))?;
    } else {
        print(&to_words(&wanted, &verdict))?;
    }
    Ok(if verdict.allowed { ALLOWED } else { DENIED })
}

fn to_json(text: &str, verdict: &Verdict, digest: &str) -> serde_json::Value {
    let rule = verdict.rule.as_ref().map(|rule| {
        let origin = &rule.origin;
        json!({ "text": origin.text, "layer": origin.layer, "file": origin.file, "line": origin.line })
    });
    json!({
        "target": text,
        "verdict": if verdict.allowed { "allow" } else { "deny" },
        "reason": verdict.reason,
        "conditions": verdict.conditions,
        "rule": rule,
        "digest": digest,
    })
}

fn to_words(wanted: &Wanted, verdict: &Verdict) -> String {
    let word = if verdict.allowed { "allowed" } else { "denied" };
    let mut text = format!("{word}: {wanted}");
    if !verdict.allowed {
        text.push_str(&format!(" ({})", verdict.reason));
    }
    text.push('\n');
    if let Some(rule) = &verdict.rule {
        let origin = &rule.origin;
        let place = match origin.line {
            0 => origin.file.clone(),
            line => format!("{}:{line}", origin.file),
        };
        text.push_str(&format!("  rule: {} ({place})\n", origin.text));
        if let Some(reason) = &rule.reason {
            text.push_str(&format!("  reason given: {reason}\n"));
        }
    }
    for condition in &verdict.conditions {
        text.push_str(&format!("  if: {condition}\n"));
    }
    text
}

/// What a person asks about.
#[derive(Debug)]
struct Wanted {
    target: Target,
    port: u16,
    udp: bool,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Name(name) => write!(f, "{name}:{}", self.port),
            Target::Address(addr) => write!(f, "{}", SocketAddr::new(*addr, self.port)),
        }
    }
}

impl Wanted {
    /// `https://host/path`, `host`, `host:port`, `tcp://addr:port`, `ssh://user@host`, `git@host:path`.
    fn parse(text: &str) -> Result<Wanted, Failure> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (user, place) = match authority.rsplit_once('@') {
            Some((_, place)) => (true, place),
            None => (false, authority),
        };
        let (place, default) = match scheme.as_deref() {
            None if user => (place.split(':').next().unwrap_or(place), Some(22)),
            None => (place, Some(443)),
            Some("tcp" | "udp") => (place, None),
            Some(scheme) => {
                let known = SCHEMES.iter().find(|(known, _)| *known == scheme);
                let (_, port) =
                    known.ok_or_else(|| bad(text, format!("the scheme `{scheme}` is not known")))?;
                (place, Some(*port))
            }
        };
        let (host, port) = host_and_port(place).map_err(|why| bad(text, why))?;
        let port = port.or(default).ok_or_else(|| bad(text, "the port is missing".to_owned()))?;
        let target = match host.parse::<IpAddr>() {
            Ok(addr) => Target::Address(addr),
            Err(_) => Target::Name(HostName::parse(host).map_err(|error| bad(text, error.to_string()))?),
        };
        Ok(Wanted { target, port, udp: scheme.as_deref() == Some("udp") })
    }
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), String> {
    if place.parse::<IpAddr>().is_ok() {
        return Ok((place, None));
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let Some(text) = port else { return Ok((host, None)) };
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(format!("`{text}` is no port")),
    }
}

fn bad(text: &str, why: String) -> Failure {
    let mut failure = Failure::new(CANNOT_TELL, format!("cannot tell what `{text}` is"));
    failure.causes.push(why);
    failure.hint("write https://HOST/PATH, HOST, HOST:PORT, tcp://ADDRESS:PORT or ssh://HOST")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, expected) in [
            ("https://gitlab.com/a/b?c", "gitlab.com:443"),
            ("http://gitlab.com", "gitlab.com:80"),
            ("https://user:secret@GitLab.com.:8443/", "gitlab.com:8443"),
            ("gitlab.com", "gitlab.com:443"),
            ("gitlab.com:22", "gitlab.com:22"),
            ("ssh://git@gitlab.com/group/project", "gitlab.com:22"),
            ("git@gitlab.com:group/project.git", "gitlab.com:22"),
            ("tcp://10.0.0.1:22", "10.0.0.1:22"),
            ("tcp://[::1]:22", "[::1]:22"),
            ("10.0.0.1", "10.0.0.1:443"),
            ("::1", "[::1]:443"),
        ] {
            assert_eq!(Wanted::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn no_targets() {
        for text in
            ["", "tcp://gitlab.com", "gopher://gitlab.com", "gitlab.com:0", "gitlab.com:x", "a b", "127.1"]
        {
            assert_eq!(Wanted::parse(text).unwrap_err().exit, CANNOT_TELL, "{text}");
        }
    }
}
