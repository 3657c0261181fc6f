//! A proposal as YAML, as JSON, and what is said about it.

use netpolicy::diagnostic::harmless;
use netpolicy::host::{HostName, HostPattern};
use netpolicy::lookalike::lookalike;
use netpolicy::policy::{Matcher, Policy, Rule};
use netpolicy::print;
use netpolicy::uploads::accepts_uploads;
use serde_json::json;

use super::proposal::{GUESSED, LearnedRule, Proposal};
use super::sightings::Outcomes;
use crate::commands::save::known_names;

/// Names of a pattern that are listed.
const LISTED: usize = 5;
/// Targets that are listed as left out.
const LEFT_OUT: usize = 50;

const HEAD: &str =
    "# Learned by `ringfence policy learn` from what agents asked for: read it before you use it.\n";
const DOUBTFUL: &str = "Not proposed; remove the mark before the entry where it is needed:";

/// Writes the proposal as a policy file.
pub(super) fn yaml(proposal: &Proposal) -> String {
    let known = known_names(&Policy::nothing());
    let comments: Vec<(&Rule, String)> =
        proposal.rules.iter().map(|learned| (&learned.rule, comment(learned, &known))).collect();
    let find = |rule: &Rule| {
        let same = |(other, _): &&(&Rule, String)| other.matcher == rule.matcher && other.ports == rule.ports;
        comments.iter().find(same).map(|(_, words)| words.clone())
    };
    let allow = proposal.rules.iter().map(|learned| learned.rule.clone().into()).collect();
    let mut text = HEAD.to_owned() + &print::policy(&Policy { allow, ..Policy::nothing() }, &find);
    if proposal.doubtful.is_empty() {
        return text;
    }
    if proposal.rules.is_empty() {
        text.push_str("# network:\n#   allow:\n");
    }
    text.push_str(&format!("    # {DOUBTFUL}\n"));
    for learned in &proposal.doubtful {
        let (entry, words) = (print::entry(&learned.rule, false), comment(learned, &known));
        text.push_str(&format!("    # - {entry}  # {}\n", harmless(&words)));
    }
    text
}

/// Says what a rule rests on.
fn comment(learned: &LearnedRule, known: &[HostName]) -> String {
    let tally = &learned.tally;
    let plural = |count: u64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut words = vec![format!(
        "{} in {}, first {}",
        plural(tally.attempts, "attempt"),
        plural(tally.runs.len() as u64, "run"),
        tally.first
    )];
    if !learned.names.is_empty() {
        let names: Vec<&str> = learned.names.iter().take(LISTED).map(HostName::as_str).collect();
        let more = learned.names.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        words.push(format!("in the place of {}{more}", names.join(", ")));
    }
    match tally.outcomes {
        Outcomes { reached: true, .. } => {}
        Outcomes { refused: true, .. } => words.push("refused so far".to_owned()),
        Outcomes { failed: true, .. } => words.push("failed so far".to_owned()),
        _ => {}
    }
    if learned.is_guess {
        let port =
            if learned.rule.ports.len() > 1 { format!("port {GUESSED}") } else { "the port".to_owned() };
        words.push(format!("{port} is a guess"));
    }
    words.extend(learned.doubt.as_ref().map(ToString::to_string));
    words.extend(uploads(&learned.rule).map(|what| format!("accepts uploads: {what}")));
    if let Matcher::Host(HostPattern::Exact(host)) = &learned.rule.matcher {
        words.extend(lookalike(host, known).map(|mark| format!("look twice: {mark}")));
    }
    words.join("; ")
}

/// Returns the data that the hosts of a rule are known to take from every sender.
fn uploads(rule: &Rule) -> Option<&'static str> {
    match &rule.matcher {
        Matcher::Host(pattern) => accepts_uploads(pattern),
        Matcher::Cidr(_) => None,
    }
}

/// Returns the proposal as JSON.
pub(super) fn json(sources: &[String], proposal: &Proposal) -> serde_json::Value {
    let rule = |learned: &LearnedRule| {
        json!({
            "rule": learned.rule.origin.text,
            "protocol": learned.rule.protocol,
            "attempts": learned.tally.attempts,
            "first": learned.tally.first,
            "runs": learned.tally.runs.iter().filter_map(|run| sources.get(*run)).collect::<Vec<_>>(),
            "guess": learned.is_guess,
            "names": learned.names,
            "doubt": learned.doubt.as_ref().map(ToString::to_string),
            "uploads": uploads(&learned.rule),
        })
    };
    let left_out =
        |(target, count, why): &(String, u64, String)| json!({"target": target, "count": count, "why": why});
    json!({
        "runs": sources,
        "policy": yaml(proposal),
        "rules": proposal.rules.iter().map(rule).collect::<Vec<_>>(),
        "doubtful": proposal.doubtful.iter().map(rule).collect::<Vec<_>>(),
        "left_out": proposal.left_out.iter().map(left_out).collect::<Vec<_>>(),
        "beyond": proposal.beyond,
    })
}

/// Says what was learned, and what was left out.
pub(super) fn account(runs: usize, proposal: &Proposal) -> String {
    let mut text = String::new();
    if !proposal.left_out.is_empty() || proposal.beyond > 0 {
        text.push_str("left out:\n");
    }
    for (target, count, why) in proposal.left_out.iter().take(LEFT_OUT) {
        text.push_str(&format!("{count:>5} × {}  ({})\n", harmless(target), harmless(why)));
    }
    if proposal.left_out.len() > LEFT_OUT {
        text.push_str(&format!(
            "      and {} more, which --json lists\n",
            proposal.left_out.len() - LEFT_OUT
        ));
    }
    if proposal.beyond > 0 {
        text.push_str(&format!("{:>5} × targets beyond those that are remembered\n", proposal.beyond));
    }
    for pattern in &proposal.idle {
        text.push_str(&format!("{pattern} is left out: no name under it is needed\n"));
    }
    let (rules, doubtful) = (proposal.rules.len(), proposal.doubtful.len());
    let lines = |count: usize| if count == 1 { "line" } else { "lines" };
    text.push_str(&format!(
        "{rules} {} from {runs} run{}, {doubtful} commented out\n",
        lines(rules),
        if runs == 1 { "" } else { "s" }
    ));
    text
}
