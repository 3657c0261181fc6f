//! Warnings about a policy as a whole: rules that can never permit, that say nothing new, that end,
//! and those that reach further than they look.
//!
//! ```text
//!  Draft rules (with their places) + Policy ──index──▶ covering rules, denials, ceilings ──▶ warnings, notes
//! ```

use std::sync::Arc;

use super::cut_presets::CutPresets;
use super::draft::{Draft, Placed};
use crate::diagnostic::Diagnostic;
use crate::index::RuleIndex;
use crate::policy::{Date, Layer, Matcher, Policy, Protocol, ResolvedBy, Rule};
use crate::uploads;
use crate::yaml::SourcePlace;

/// A rule that ends within so many days is spoken of.
const SOON: i64 = 14;
/// Warnings of one kind that are shown; of a list of a hundred thousand names nobody reads more.
const MOST: usize = 50;
/// Rules about the same name that are compared with each other: a hostile file has many.
const COMPARED: usize = 64;

/// Returns all findings of all layers.
pub(super) fn lint(drafts: &[Draft], policy: &Policy, today: Date) -> Vec<Diagnostic> {
    let allow: Vec<&Placed> = drafts.iter().flat_map(|draft| &draft.allow).collect();
    let permitted = RuleIndex::new(&policy.allow);
    let denied = RuleIndex::new(&policy.deny);
    let ceilings: Vec<(Layer, RuleIndex)> =
        policy.ceilings.iter().map(|ceiling| (ceiling.layer, RuleIndex::new(&ceiling.rules))).collect();

    let mut findings = Vec::new();
    let unheard = allow.iter().filter(|(rule, _)| is_unheard(rule, policy, &ceilings));
    let (beyond, untrusted): (Vec<&&Placed>, Vec<&&Placed>) =
        unheard.partition(|(rule, _)| rule.is_beyond_trust());
    for (code, rules, hint) in [("untrusted", &untrusted, APPROVE), ("needs-ceiling", &beyond, NEEDS_CEILING)]
    {
        if let Some((rule, place)) = rules.first() {
            findings.push(without_effect(code, rule, rules.len(), hint).at(place));
        }
    }
    let mut presets = CutPresets::default();
    for (id, (rule, place)) in (0u32..).zip(&allow) {
        // What a preset permits may well be denied elsewhere: that is how presets are narrowed. A
        // ceiling narrows those that its author did not think of, so it is spoken of once.
        let shipped = rule.origin.file.starts_with("preset ");
        let idle = match shipped {
            true => {
                let idle_anyway = expired(rule, today).is_some() || never_by_denial(rule, &denied).is_some();
                presets.add(rule, place, outside(rule, &ceilings).filter(|_| !idle_anyway));
                None
            }
            false => idle(id, rule, &permitted, &denied, &ceilings, today),
        };
        let finding = idle.or_else(|| ends_soon(rule, today));
        findings.extend(finding.map(|found| found.at(place)));
        findings.extend(wider_than_it_looks(rule).map(|found| found.at(place)));
        findings.extend(takes_uploads(rule, place));
    }
    findings.extend(presets.findings(policy));
    let entries = drafts.iter().filter_map(|draft| draft.ceiling.as_ref()).flatten();
    for (rule, place) in entries {
        let finding = expired(rule, today).or_else(|| ends_soon(rule, today));
        findings.extend(finding.map(|found| found.at(place)));
    }
    capped(findings)
}

/// Returns the reason for which a rule permits nothing, or nothing of its own.
fn idle(
    id: u32,
    rule: &Arc<Rule>,
    permitted: &RuleIndex,
    denied: &RuleIndex,
    ceilings: &[(Layer, RuleIndex)],
    today: Date,
) -> Option<LintFinding> {
    // One finding about what a rule is worth: the first that makes it idle says it all.
    expired(rule, today)
        .or_else(|| never_by_denial(rule, denied))
        .or_else(|| beyond_a_ceiling(rule, ceilings))
        .or_else(|| shadowed(id, rule, permitted))
}

/// A finding that has no place yet.
struct LintFinding {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl LintFinding {
    fn new(code: &'static str, message: String, hint: impl Into<String>) -> LintFinding {
        LintFinding { code, message, hint: Some(hint.into()) }
    }

    fn at(self, place: &SourcePlace) -> Diagnostic {
        place.warning(self.code, self.message, self.hint)
    }
}

fn capped(findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<Diagnostic> = Vec::new();
    let mut counts = std::collections::BTreeMap::<&'static str, usize>::new();
    for finding in findings {
        let count = counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= MOST {
            kept.push(finding);
        }
    }
    for (code, count) in counts.into_iter().filter(|(_, count)| *count > MOST) {
        let message = format!("{} more findings of the kind `{code}` are not shown", count - MOST);
        kept.push(SourcePlace::file("policy").warning("too-many", message, None));
    }
    kept
}

fn expired(rule: &Rule, today: Date) -> Option<LintFinding> {
    let last = rule.expires.filter(|_| rule.expired(today))?;
    let message = format!("`{}` permits nothing since {last} has passed", rule.origin.text);
    Some(LintFinding::new("expired", message, "remove it, or give it a later `expires`"))
}

fn ends_soon(rule: &Rule, today: Date) -> Option<LintFinding> {
    let last = rule.expires?;
    let left = i64::from(today.until(last).ok()?.get_days());
    if !(0..=SOON).contains(&left) {
        return None;
    }
    let when = match left {
        0 => "ends today".to_owned(),
        1 => "ends tomorrow".to_owned(),
        days => format!("ends in {days} days"),
    };
    let message = format!("`{}` {when}, on {last}", rule.origin.text);
    Some(LintFinding::new("expires-soon", message, "give it a later `expires` if it is still needed"))
}

fn never_by_denial(rule: &Rule, denied: &RuleIndex) -> Option<LintFinding> {
    let refuses_all = |denial: &&Arc<Rule>| denial.ports.is_empty() || within(&rule.ports, &denial.ports);
    let denial = looked_at(denied, rule).map(|(_, denial)| denial).find(refuses_all)?;
    let message = format!(
        "`{}` permits nothing: `{}` ({}) refuses all of it",
        rule.origin.text,
        denial.origin.text,
        denial.origin.place()
    );
    Some(LintFinding::new("denied", message, "denials always win: remove one of the two"))
}

/// Returns the rules of an index that speak about everything that a rule speaks about, as many as
/// are compared.
fn looked_at<'r>(index: &'r RuleIndex, rule: &'r Rule) -> impl Iterator<Item = (u32, &'r Arc<Rule>)> {
    index.covering(&rule.matcher).take(COMPARED)
}

/// Tells whether all of some ports are among others; both are sorted.
fn within(some: &[u16], others: &[u16]) -> bool {
    some.iter().all(|port| others.binary_search(port).is_ok())
}

/// Tells whether a rule is a project's own and nobody has approved or bounded it.
fn is_unheard(rule: &Rule, policy: &Policy, ceilings: &[(Layer, RuleIndex)]) -> bool {
    let bounded = ceilings.iter().any(|(of, _)| *of <= Layer::Project);
    let approved = policy.project_trusted && !rule.is_beyond_trust();
    rule.origin.layer == Layer::Project && !bounded && !approved
}

const APPROVE: &str = "approve them with `ringfence trust`, or set a `ceiling` in your own policy";
const NEEDS_CEILING: &str = "private addresses, ranges and unchecked bytes of a project count only inside a `ceiling` of your \
                             own policy, approved or not";

/// Makes one finding for all of some rules: the answer is the same.
fn without_effect(code: &'static str, rule: &Rule, count: usize, hint: &str) -> LintFinding {
    let what = match count {
        1 => format!("`{}` is", rule.origin.text),
        2 => format!("`{}` and 1 more rule are", rule.origin.text),
        _ => format!("`{}` and {} more rules are", rule.origin.text, count - 1),
    };
    LintFinding::new(code, format!("{what} the project's own word, and count for nothing yet"), hint)
}

fn beyond_a_ceiling(rule: &Rule, ceilings: &[(Layer, RuleIndex)]) -> Option<LintFinding> {
    let of = outside(rule, ceilings)?;
    let message = format!("`{}` reaches beyond the ceiling of the {of}'s policy", rule.origin.text);
    Some(LintFinding::new(
        "outside-ceiling",
        message,
        "only what lies inside the ceiling counts; `ringfence policy explain` shows it for a target",
    ))
}

/// Returns the layer whose ceiling does not contain the whole of a rule.
fn outside(rule: &Rule, ceilings: &[(Layer, RuleIndex)]) -> Option<Layer> {
    for (of, entries) in ceilings.iter().filter(|(of, _)| *of <= rule.origin.layer) {
        // Every port may have an entry of its own.
        let mut left: Vec<u16> = rule.ports.clone();
        for (_, entry) in looked_at(entries, rule).filter(|(_, entry)| as_wide(entry, rule)) {
            left.retain(|port| entry.ports.binary_search(port).is_err());
        }
        if !left.is_empty() {
            return Some(*of);
        }
    }
    None
}

/// Tells whether an entry of a ceiling grants, on the ports of both, at least the check, resolver
/// and private ranges of a rule.
fn as_wide(entry: &Rule, rule: &Rule) -> bool {
    rule.ports
        .iter()
        .filter(|port| entry.ports.binary_search(port).is_ok())
        .all(|port| rule.protocol_on(*port).is_within(entry.protocol_on(*port)))
        && (rule.resolved_by == ResolvedBy::Guard || entry.resolved_by == ResolvedBy::Proxy)
        && rule.host_access == entry.host_access
        && rule.private.iter().all(|net| entry.private.iter().any(|own| own.contains(net)))
}

/// Finds another rule of the same or a stronger layer that makes every grant of a rule.
fn shadowed(id: u32, rule: &Arc<Rule>, permitted: &RuleIndex) -> Option<LintFinding> {
    let (_, by) = looked_at(permitted, rule).find(|(other_id, other)| {
        // Of two that say the same, the later one is spoken of.
        let the_same = rule.matcher == other.matcher && grants_all_of(rule, other);
        *other_id != id && grants_all_of(other, rule) && (!the_same || *other_id < id)
    })?;
    let message = format!(
        "`{}` says nothing new: `{}` ({}) permits it too",
        rule.origin.text,
        by.origin.text,
        by.origin.place()
    );
    Some(LintFinding::new("shadowed", message, "remove one of the two"))
}

/// Tells whether one rule grants what another does of the targets that both speak about. A rule
/// with another check on a port does not: it may have been meant to be the stricter one.
fn grants_all_of(one: &Rule, other: &Rule) -> bool {
    one.origin.layer <= other.origin.layer
        && within(&other.ports, &one.ports)
        && other.ports.iter().all(|port| one.protocol_on(*port) == other.protocol_on(*port))
        && as_wide(one, other)
        && one.expires.is_none_or(|last| other.expires.is_some_and(|own| own <= last))
}

/// Notes a host that takes uploads: a way out for what the agent knows, and often a wanted one.
fn takes_uploads(rule: &Rule, place: &SourcePlace) -> Option<Diagnostic> {
    let Matcher::Host(pattern) = &rule.matcher else { return None };
    let what = uploads::accepts_uploads(pattern)?;
    let message =
        format!("`{}` takes uploads ({what}): what the agent sends there has left", rule.origin.text);
    Some(place.note("uploads", message))
}

fn wider_than_it_looks(rule: &Rule) -> Option<LintFinding> {
    if let Matcher::Cidr(net) = &rule.matcher {
        return (net.prefix_len() < 16).then(|| {
            let message =
                format!("{net} holds {} addresses", 1u64 << (32 - u32::from(net.prefix_len()).min(32)));
            LintFinding::new("wide-range", message, "permit the ranges that are needed")
        });
    }
    if let Some(net) = rule.private.iter().find(|net| net.prefix_len() < 16 && net.max_prefix_len() == 32) {
        let message = format!("`{}` may be answered with any address in {net}", rule.origin.text);
        return Some(LintFinding::new("wide-range", message, "name the ranges in which its servers stand"));
    }
    if rule.protocol == Some(Protocol::Tcp) && rule.ports.iter().any(|port| matches!(port, 80 | 443)) {
        let message = format!(
            "`{}` is permitted without a look at SNI or Host: another name on the same server is reached too",
            rule.origin.text
        );
        return Some(LintFinding::new(
            "unchecked",
            message,
            "leave `protocol: tcp` out where TLS or HTTP is spoken",
        ));
    }
    if rule.resolved_by == ResolvedBy::Proxy {
        let message =
            format!("`{}` is resolved by the proxy, so its address is never checked", rule.origin.text);
        return Some(LintFinding::new(
            "unchecked",
            message,
            "keep it to names that the guard cannot resolve",
        ));
    }
    None
}
