//! `ringfence policy explain TARGET`: the verdict of the one decision function, offline.
//!
//! ```text
//!  TARGET ──parse──▶ Target, port ──decide──▶ Verdict ──▶ words or JSON
//! ```

use netpolicy::decide::{Question, Verdict, decide};
use netpolicy::diagnostic::render;
use netpolicy::floor::Surroundings;
use netpolicy::target::Endpoint;
use serde_json::json;

use super::load_run_policy;
use crate::commands::{print, print_json};
use crate::error::Failure;

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
const CANNOT_TELL: u8 = 2;

/// Says whether `text` may be reached under the policy of a run with these options.
pub fn explain(
    text: &str,
    policies: &[String],
    allow: &[String],
    deny: &[String],
    as_json: bool,
) -> Result<u8, Failure> {
    let wanted = Endpoint::parse(text).map_err(|error| bad(text, error.to_string()))?;
    let (policy, warnings) = load_run_policy(policies, allow, deny, false)
        .map_err(|failure| Failure { exit: CANNOT_TELL, ..failure })?;
    if !warnings.is_empty() {
        eprint!("{}", render(&warnings));
    }
    let surroundings = Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    let question = Question {
        transport: wanted.transport,
        ..Question::about(&wanted.target, crate::clock::today()).port(wanted.port)
    };
    let verdict = decide(&policy, &surroundings, &question);
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

fn to_words(wanted: &Endpoint, verdict: &Verdict) -> String {
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

fn bad(text: &str, why: String) -> Failure {
    let mut failure = Failure::new(CANNOT_TELL, format!("cannot tell what `{text}` is"));
    failure.causes.push(why);
    failure.hint("write https://HOST/PATH, HOST, HOST:PORT, tcp://ADDRESS:PORT or ssh://HOST")
}
