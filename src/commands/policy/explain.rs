//! `ringfence policy explain TARGET`: the verdict of the one decision function, offline, and how it
//! came to be.
//!
//! ```text
//!  TARGET ──parse──▶ Endpoint ──Decider::explain──▶ Verdict, considerations ──▶ words and a tree, or JSON
//!                                    └─ --resolve ─▶ [`resolved`]: the upstreams' addresses, each decided
//! ```

use std::fmt::Write;
use std::net::IpAddr;

use netpolicy::decide::{Considered, Decider, Finding, Question, Reason, Target, Verdict};
use netpolicy::floor::Surroundings;
use netpolicy::host::HostName;
use netpolicy::policy::{Matcher, Policy, Rule};
use netpolicy::ruleset::FILTER_PORT;
use netpolicy::target::Endpoint;
use netpolicy::virtual_names::VirtualNames;
use serde_json::json;

use super::headroom::Headroom;
use super::resolved::{self, Outcome, Resolved};
use super::{COULD_NOT_TELL, load_for};
use crate::cli::policy::ExplainArgs;
use crate::term::Failure;
use crate::term::{print, print_json};

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;

/// Says whether a target may be reached under the policy of a run with these options.
pub(crate) fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let mut wanted = Endpoint::parse(&args.target).map_err(|error| bad(&args.target, error.to_string()))?;
    let loaded = load_for(&args.policy, &args.layers, args.network)?;
    crate::layers::warn_of_nothing(&loaded);
    let policy = loaded.policy;
    // Inside the fence an address of the virtual range is the name that it stands for.
    if let Some(name) = name_behind(&policy, &wanted.target) {
        wanted.target = Target::Name(name);
    }
    let surroundings = Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() };
    let digest = policy.digest();
    let question = Question {
        transport: wanted.transport,
        ..Question::about(&wanted.target, crate::host::clock::today()).port(wanted.port)
    };
    let decider = Decider::new(policy);
    let (verdict, considered) = decider.explain(&surroundings, &question);
    let headroom = Headroom::of(&decider, &surroundings, &question, &verdict);
    let hint = if verdict.allowed { None } else { decider.with_itself(&surroundings, &question) };
    let hint = hint.map(|wider| hint_of(&wider)).or_else(|| of_the_agent_itself(&wanted, &verdict));
    let resolved = match (args.resolve && verdict.allowed, &wanted.target) {
        (true, Target::Name(name)) => Some(resolved::look(&decider, name, &question)?),
        _ => None,
    };
    if args.json {
        let mut all = to_json(&args.target, &verdict, &considered, &digest);
        if let (Some(headroom), Some(object)) = (&headroom, all.as_object_mut()) {
            object.insert("headroom".to_owned(), headroom.to_json());
        }
        if let (Some(hint), Some(object)) = (&hint, all.as_object_mut()) {
            object.insert("hint".to_owned(), json!(hint));
        }
        if let (Some(resolved), Some(object)) = (&resolved, all.as_object_mut()) {
            object.insert("resolved".to_owned(), resolved.to_json());
        }
        print_json(&all)?;
    } else {
        let more = resolved.as_ref().map(Resolved::to_words).unwrap_or_default();
        let more = hint.map_or(more, |hint| format!("  hint: {hint}\n"));
        let more = headroom.map_or(String::new(), |headroom| headroom.to_words()) + &more;
        let outcome = resolved.as_ref().map(Resolved::outcome);
        print(&(to_words(&wanted, &verdict, &considered, outcome) + &more))?;
    }
    Ok(match resolved.map(|resolved| resolved.outcome()) {
        Some(Outcome::Unknown) => COULD_NOT_TELL,
        Some(Outcome::Refused) => DENIED,
        Some(Outcome::Reached) => ALLOWED,
        None if verdict.allowed => ALLOWED,
        None => DENIED,
    })
}

/// Says of the loopback what the decision does not: inside the fence it is the agent's own.
fn of_the_agent_itself(wanted: &Endpoint, verdict: &Verdict) -> Option<String> {
    let is_loopback = match &wanted.target {
        Target::Name(name) => name.as_str() == "localhost" || name.as_str().ends_with(".localhost"),
        Target::Address(address) => address.is_loopback(),
    };
    (is_loopback && !verdict.allowed).then(|| {
        "inside the fence this is the agent's own loopback, which it reaches whatever a policy says; this machine's is \
         host.docker.internal"
            .to_owned()
    })
}

/// Suggests a rule in place of one that leaves its own name out.
fn hint_of(wider: &Rule) -> String {
    let Matcher::Host(pattern) = &wider.matcher else { return String::new() };
    format!("`{pattern}` in place of `{}` would permit it", named(wider))
}

/// Returns the name that a virtual address stands for, as far as the policy alone tells: names
/// under wildcards get theirs in a run.
fn name_behind(policy: &Policy, target: &Target) -> Option<HostName> {
    match target {
        Target::Address(IpAddr::V4(address)) => VirtualNames::new(policy).name_of(*address).cloned(),
        _ => None,
    }
}

fn bad(text: &str, why: String) -> Failure {
    let mut failure = Failure::new(COULD_NOT_TELL, format!("cannot tell what `{text}` is"));
    failure.causes.push(why);
    failure.hint("write https://HOST/PATH, HOST, HOST:PORT, tcp://ADDRESS:PORT or ssh://HOST")
}

fn to_json(target: &str, verdict: &Verdict, considered: &[Considered], digest: &str) -> serde_json::Value {
    let rule = |rule: &Rule| {
        let origin = &rule.origin;
        json!({ "text": origin.text, "layer": origin.layer, "file": origin.file, "line": origin.line })
    };
    let steps: Vec<serde_json::Value> = considered
        .iter()
        .map(|step| json!({ "finding": words_of(step), "rule": step.rule.as_deref().map(rule) }))
        .collect();
    json!({
        "target": target,
        "verdict": if verdict.allowed { "allow" } else { "deny" },
        "reason": verdict.reason,
        "conditions": verdict.conditions,
        "rule": verdict.rule.as_deref().map(rule),
        "considered": steps,
        "digest": digest,
    })
}

fn to_words(
    wanted: &Endpoint,
    verdict: &Verdict,
    considered: &[Considered],
    resolved: Option<Outcome>,
) -> String {
    let word = match (verdict.allowed, resolved) {
        (true, None | Some(Outcome::Reached)) => "allowed",
        (true, Some(Outcome::Refused)) => "allowed by its name, denied by its address",
        (true, Some(Outcome::Unknown)) => "allowed by its name",
        (false, _) => "denied",
    };
    let mut text = format!("{word}: {wanted}");
    if verdict.reason != Reason::Allowed {
        text.push_str(&format!(" ({})", verdict.reason));
    }
    text.push('\n');
    if let Some(rule) = &verdict.rule {
        text.push_str(&format!("  rule: {}\n", named(rule)));
        if let Some(reason) = &rule.reason {
            text.push_str(&format!("  reason given: {reason}\n"));
        }
        if let Some(last) = rule.expires {
            text.push_str(&format!("  until: {last}\n"));
        }
    }
    for condition in &verdict.conditions {
        text.push_str(&format!("  if: {condition}\n"));
    }
    text.push_str("  considered:\n");
    draw(&mut text, considered);
    text
}

/// Draws the considerations as a tree: what follows a candidate is about that candidate.
fn draw(text: &mut String, considered: &[Considered]) {
    let mut groups: Vec<(&Considered, Vec<&Considered>)> = Vec::new();
    let mut in_candidate = false;
    for step in considered {
        match groups.last_mut() {
            Some((_, children)) if in_candidate && step.finding != Finding::Candidate => children.push(step),
            _ => {
                in_candidate = step.finding == Finding::Candidate;
                groups.push((step, Vec::new()));
            }
        }
    }
    for (index, (step, children)) in groups.iter().enumerate() {
        let last = index + 1 == groups.len();
        let (branch, trunk) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {branch} {}", line_of(step));
        for (index, child) in children.iter().enumerate() {
            let branch = if index + 1 == children.len() { "└─" } else { "├─" };
            let _ = writeln!(text, "    {trunk}   {branch} {}", line_of(child));
        }
    }
}

fn line_of(step: &Considered) -> String {
    let named_itself = matches!(
        step.finding,
        Finding::Candidate
            | Finding::Denies
            | Finding::DeniesOtherPorts
            | Finding::DeniesAddress
            | Finding::InCeiling(_)
    );
    match &step.rule {
        Some(rule) if named_itself => format!("{}: {}", words_of(step), named(rule)),
        _ => words_of(step),
    }
}

fn words_of(step: &Considered) -> String {
    match step.finding {
        Finding::NetworkDenied => "the run has no network".to_owned(),
        Finding::Transport => "only TCP leaves the fence, and DNS to the filter".to_owned(),
        Finding::ReservedPort(FILTER_PORT) => {
            "port 53 of every address is the DNS filter's, whatever a policy says".to_owned()
        }
        Finding::ReservedPort(port) => format!("the fence keeps port {port} for itself"),
        Finding::HostAlias(reason) => {
            format!("the name stands for the host or a metadata service ({reason})")
        }
        Finding::Denies => "denied by".to_owned(),
        Finding::DeniesOtherPorts => "denied on other ports by".to_owned(),
        Finding::NothingDenies => "no denial speaks about it".to_owned(),
        Finding::NothingAllows => "no rule permits it".to_owned(),
        Finding::Candidate => "rule".to_owned(),
        Finding::OtherPorts => match &step.rule {
            Some(rule) => {
                let ports: Vec<String> = rule.ports.iter().map(u16::to_string).collect();
                format!("it permits other ports: {}", ports.join(", "))
            }
            None => "it permits other ports".to_owned(),
        },
        Finding::Expired => match step.rule.as_ref().and_then(|rule| rule.expires) {
            Some(last) => format!("it ended with {last}"),
            None => "it has ended".to_owned(),
        },
        Finding::Untrusted => {
            "it is the project's own word, without a ceiling over it and not approved (ringfence trust)"
                .to_owned()
        }
        Finding::BeyondTrust => {
            "the project is approved, but private addresses, ranges and unchecked bytes need a ceiling"
                .to_owned()
        }
        Finding::Trusted => "the project's policy is approved as it is".to_owned(),
        Finding::InCeiling(layer) => format!("inside the {layer}'s ceiling"),
        Finding::OutsideCeiling(layer) => format!("outside the {layer}'s ceiling"),
        Finding::NotByProxy => "it does not let the proxy resolve the name".to_owned(),
        Finding::DeniesAddress => "its address is denied by".to_owned(),
        Finding::Floor(reason) => format!("the floor refuses the address ({reason})"),
        Finding::Permits => "it permits".to_owned(),
        Finding::NotPublic => "the run is observed, and the name is no public one".to_owned(),
        Finding::Observed => "the run is observed: every public name is permitted".to_owned(),
    }
}

/// Writes a rule with its place: `gitlab.com:443 (run, p.yml:4)`.
pub(crate) fn named(rule: &Rule) -> String {
    let origin = &rule.origin;
    format!("{} ({}, {})", origin.text, origin.layer, origin.place())
}
