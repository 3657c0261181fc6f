//! Headroom under the ceilings: which layers could permit a target that no rule permits now.
//!
//! ```text
//!  policy ─▶ for each layer: nothing but a rule of that layer for the very target ──explain──▶ permitted? else: by which ceiling not?
//! ```
//! The ceilings, denials and the floor stay as they are, and the one decision judges each rule.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::decide::{Decider, Finding, Question, Verdict};
use crate::floor::{self, Surroundings};
use crate::host::HostPattern;
use crate::host_access::HostAccess;
use crate::policy::{Layer, Matcher, Origin, Policy, Rule};
use crate::reason::Reason;
use crate::target::Target;

/// Layers that hold rules, strongest first.
const LAYERS: [Layer; 4] = [Layer::Organisation, Layer::User, Layer::Run, Layer::Project];

/// Answer to a rule that a layer would add for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "of")]
pub enum Answer {
    /// The rule would permit it.
    Permits,
    /// The rule would permit it once a person has approved the project's policy.
    AfterApproval,
    /// The ceiling of this layer does not contain it.
    OutsideCeiling(Layer),
    /// A project's rule of this kind counts inside a ceiling only, and there is none.
    NeedsCeiling,
}

/// Answer to the rule of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Headroom {
    /// The layer.
    pub layer: Layer,
    /// The decision about its rule.
    #[serde(flatten)]
    pub answer: Answer,
}

/// Answers for each layer, strongest first. Empty where no rule of any layer would permit the
/// target, whatever the ceilings say: it is denied, or the floor refuses it.
pub fn of(policy: &Policy, surroundings: &Surroundings, question: &Question<'_>) -> Vec<Headroom> {
    let answer = |layer| Some(Headroom { layer, answer: answer(policy, surroundings, question, layer)? });
    LAYERS.into_iter().map(answer).collect::<Option<_>>().unwrap_or_default()
}

/// Judges a target as if a layer permitted it by a further rule: ceilings, denials and the floor
/// stay as they are. Permitted where the policy permits it anyway.
pub fn as_if_permitted(
    policy: &Policy,
    surroundings: &Surroundings,
    question: &Question<'_>,
    layer: Layer,
) -> Verdict {
    let decide = |policy: Policy| Decider::new(policy).decide(surroundings, question);
    let own = decide(policy.clone());
    if own.allowed {
        return own;
    }
    let verdicts = rule(question, layer).into_iter().flat_map(|rule| ways(&rule, question.target));
    let mut verdicts: Vec<Verdict> = verdicts
        .map(|rule| decide(Policy { allow: vec![rule.into()], network_observed: false, ..policy.clone() }))
        .collect();
    let best = verdicts.iter().position(|verdict| verdict.allowed).unwrap_or_default();
    if verdicts.is_empty() { own } else { verdicts.swap_remove(best) }
}

/// Returns a rule as a layer would write it for a target of its kind: a private address with its
/// range, a name of the host with either way to it.
fn ways(rule: &Rule, target: &Target) -> Vec<Rule> {
    let with = |host_access| Rule { host_access, ..rule.clone() };
    match target {
        Target::Name(name) if floor::refused_name(name).is_some() => {
            vec![with(HostAccess::Address), with(HostAccess::Loopback)]
        }
        Target::Address(address) if floor::PRIVATE_RANGES.iter().any(|net| net.contains(address)) => {
            vec![Rule { private: vec![IpNet::from(*address)], ..rule.clone() }]
        }
        Target::Name(_) | Target::Address(_) => vec![rule.clone()],
    }
}

fn answer(policy: &Policy, s: &Surroundings, q: &Question<'_>, layer: Layer) -> Option<Answer> {
    let rule = rule(q, layer)?;
    let asked = |project_trusted| {
        let allow = vec![rule.clone().into()];
        Decider::new(Policy { allow, project_trusted, ..policy.clone() }).explain(s, q)
    };
    let (verdict, considered) = asked(false);
    if verdict.allowed {
        return Some(Answer::Permits);
    }
    match verdict.reason {
        Reason::OutsideCeiling => considered.iter().find_map(|step| match step.finding {
            Finding::OutsideCeiling(of) => Some(Answer::OutsideCeiling(of)),
            _ => None,
        }),
        Reason::UntrustedLayer if asked(true).0.allowed => Some(Answer::AfterApproval),
        Reason::UntrustedLayer => Some(Answer::NeedsCeiling),
        _ => None,
    }
}

/// Makes the narrowest rule for a question's target; none where no policy can hold one.
fn rule(q: &Question<'_>, layer: Layer) -> Option<Rule> {
    let matcher = match q.target {
        Target::Name(name) => Matcher::Host(HostPattern::Exact(name.clone())),
        Target::Address(IpAddr::V4(address)) => Matcher::Cidr(IpNet::from(IpAddr::V4(*address))),
        // No policy can permit one.
        Target::Address(IpAddr::V6(_)) => return None,
    };
    let ports = vec![q.port?];
    let origin =
        Origin { layer, file: "a further rule".to_owned(), line: 0, text: Rule::text(&matcher, &ports) };
    Some(Rule::new(matcher, ports, origin))
}
