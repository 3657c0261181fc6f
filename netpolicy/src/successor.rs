//! A policy that takes another's place while its run goes on.
//!
//! ```text
//!  policy now ──the project's rules──────┐
//!  layers read anew, without the project ┴──▶ the policy from now on, or what only a new run can follow
//! ```
//! The project's own file is never read again: the agent may have written it. What the container
//! and the guard were made with cannot change under them, and is not silently left as it was
//! either.

use std::sync::Arc;

use serde_json::Value;

use crate::policy::{Layer, Policy, Rule};
use crate::settings::NoticeDetail;

/// Reason for which a policy cannot take the place of another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The policy changes settings that only a new run can follow.
    #[error("it changes {}, which only a new run can follow", .0.join(", "))]
    Fixed(Vec<String>),
    /// The organisation's rules are missing: they were read on another machine, or removed.
    #[error("the organisation's policy held at the start and is missing now")]
    OrganisationGone,
}

/// Keys that hold rules, and what is said about refusals. They may change; every other key of a
/// policy is one that a run is made with.
const RULES: [&str; 6] = ["allow", "deny", "ceilings", "harmless", "observing_forbidden", "tests"];

/// Returns the policy that a run has from now on: rules, ceilings and tests of `next`, those of the
/// project as they were.
///
/// # Errors
/// When `next` differs in anything else than rules and the budget of names, or has lost the
/// organisation's layer.
pub fn successor(now: &Policy, next: &Policy) -> Result<Policy, Unfit> {
    if has_organisation(now) && !has_organisation(next) {
        return Err(Unfit::OrganisationGone);
    }
    let mut policy = next.clone();
    keep_projects(&now.allow, &mut policy.allow);
    keep_projects(&now.deny, &mut policy.deny);
    policy.tests.retain(|test| test.origin.layer != Layer::Project);
    policy.tests.extend(now.tests.iter().filter(|test| test.origin.layer == Layer::Project).cloned());
    policy.project_trusted = now.project_trusted;
    // The project's word is not read again, and counts all the same.
    policy.notice = now.notice.max(next.notice);
    policy.network_denied = now.network_denied;
    policy.network_denied_to = now.network_denied_to.clone();
    policy.network_observed = now.network_observed;
    policy.connections.at_once.lowering = now.connections.at_once.lowering.clone();
    policy.connections.per_second.lowering = now.connections.per_second.lowering.clone();
    // As with the notice: what the project forbids stays forbidden.
    policy.observing_forbidden = policy
        .observing_forbidden
        .or_else(|| now.observing_forbidden.clone().filter(|origin| origin.layer == Layer::Project));
    let changed = changed(&fixed(now), &fixed(&policy));
    if changed.is_empty() { Ok(policy) } else { Err(Unfit::Fixed(changed)) }
}

fn has_organisation(policy: &Policy) -> bool {
    policy.ceilings.iter().any(|ceiling| ceiling.layer == Layer::Organisation)
        || policy.allow.iter().chain(&policy.deny).any(|rule| rule.origin.layer == Layer::Organisation)
}

fn keep_projects(now: &[Arc<Rule>], next: &mut Vec<Arc<Rule>>) {
    next.retain(|rule| rule.origin.layer != Layer::Project);
    next.extend(now.iter().filter(|rule| rule.origin.layer == Layer::Project).cloned());
}

/// Returns a policy without the parts that may change.
fn fixed(policy: &Policy) -> Value {
    let mut policy = policy.clone();
    policy.dns.names_per_wildcard = 0;
    policy.notice = NoticeDetail::default();
    let mut value = serde_json::to_value(&policy).unwrap_or_default();
    if let Some(keys) = value.as_object_mut() {
        keys.retain(|key, _| !RULES.contains(&key.as_str()));
        // A line that moved has not changed.
        keys.insert("connections".to_owned(), policy.connections.canonical());
    }
    value
}

/// Returns the keys in which two policies differ, as policy files write them.
fn changed(now: &Value, next: &Value) -> Vec<String> {
    let (Some(now), Some(next)) = (now.as_object(), next.as_object()) else {
        // A policy that cannot be written down is not compared, so it is not taken.
        return vec!["the policy".to_owned()];
    };
    let mut keys: Vec<&String> = now.keys().chain(next.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = keys.into_iter().filter(|key| now.get(*key) != next.get(*key));
    differs
        .map(|key| match key.as_str() {
            "dns" | "proxy" => format!("network.{key}"),
            "require" => "engine.require".to_owned(),
            "connections" => "container.connections".to_owned(),
            key => key.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample::policy;
    use crate::policy::Ceiling;

    fn texts(rules: &[Arc<Rule>]) -> Vec<&str> {
        rules.iter().map(|rule| rule.origin.text.as_str()).collect()
    }

    #[test]
    fn rules_are_the_new_ones_and_the_projects_stay() {
        let ceiling = "network: {ceiling: [.test], deny: [bad.test]}\n";
        let now = policy(&[
            (Layer::User, ceiling),
            (Layer::Run, "network: {allow: [a.test]}\n"),
            (Layer::Project, "network: {allow: [p.test], deny: [q.test]}\n"),
        ]);
        let next = policy(&[
            (Layer::User, "network: {ceiling: [.test, .example]}\n"),
            (Layer::Run, "network: {allow: [b.example], dns: {names-per-wildcard: 3}}\n"),
        ]);
        let then = successor(&now, &next).unwrap();
        assert_eq!(texts(&then.allow), ["b.example:443", "p.test:443"]);
        assert_eq!(texts(&then.deny), ["q.test"]);
        let ceilings = |ceiling: &Ceiling| texts(&ceiling.rules).len();
        assert_eq!(then.ceilings.iter().map(ceilings).collect::<Vec<_>>(), [2]);
        assert_eq!(then.dns.names_per_wildcard, 3);
        // Whatever `next` says of the project is not believed.
        let forged = policy(&[(Layer::User, ceiling), (Layer::Project, "network: {allow: [evil.test]}\n")]);
        assert_eq!(texts(&successor(&now, &forged).unwrap().allow), ["p.test:443"]);
    }

    #[test]
    fn the_network_stays_denied_and_an_approval_what_it_was() {
        let mut now = policy(&[(Layer::Run, "")]);
        (now.network_denied, now.project_trusted) = (true, false);
        let mut next = policy(&[(Layer::Run, "network: {allow: [a.test]}\n")]);
        (next.network_denied, next.project_trusted) = (false, true);
        let then = successor(&now, &next).unwrap();
        assert!(then.network_denied && !then.project_trusted);
    }

    #[test]
    fn a_notice_gets_briefer_and_never_full_again() {
        let (full, brief) =
            (policy(&[(Layer::Run, "")]), policy(&[(Layer::Project, "notice: brief\n"), (Layer::Run, "")]));
        for (now, next, then) in [(&full, &full, "Full"), (&full, &brief, "Brief"), (&brief, &full, "Brief")]
        {
            assert_eq!(format!("{:?}", successor(now, next).unwrap().notice), then);
        }
    }

    #[test]
    fn what_a_run_is_made_with_cannot_change() {
        let now = policy(&[(Layer::Run, "network: {allow: [a.test]}\n")]);
        for (text, key) in [
            ("network: {dns: {upstreams: [192.0.2.1]}}\n", "network.dns"),
            ("network: {dns: {virtual-range: 26.0.0.0/16}}\n", "network.dns"),
            ("network: {proxy: \"http://proxy.example:3128\"}\n", "network.proxy"),
            ("container: {memory: 1GiB}\n", "container"),
            ("container: {connections: 9}\n", "container.connections"),
            ("engine: {require: [vm]}\n", "engine.require"),
        ] {
            let next = policy(&[(Layer::Run, text)]);
            assert_eq!(successor(&now, &next), Err(Unfit::Fixed(vec![key.to_owned()])), "{text}");
        }
    }

    #[test]
    fn numbers_of_connections_stay_where_their_line_moved_and_the_project_is_not_read() {
        let set = "container: {connections: 9, connections-per-second: 3}\n";
        let now = policy(&[
            (Layer::Run, &format!("{set}network: {{allow: [a.test]}}\n")),
            (Layer::Project, "container: {connections: 5}\n"),
        ]);
        let next = policy(&[(Layer::Run, &format!("network: {{allow: [a.test, b.test]}}\n{set}"))]);
        let then = successor(&now, &next).unwrap();
        assert_eq!(then.connections.at_once.smallest(), Some(5));
        assert_eq!(then.connections.canonical(), now.connections.canonical());
    }

    #[test]
    fn the_organisations_layer_cannot_be_lost() {
        for organisation in ["network: {ceiling: []}\n", "network: {deny: [a.test]}\n"] {
            let now = policy(&[(Layer::Organisation, organisation), (Layer::Run, "")]);
            let next = policy(&[(Layer::Run, "network: {allow: [a.test]}\n")]);
            assert_eq!(successor(&now, &next), Err(Unfit::OrganisationGone), "{organisation}");
            assert!(successor(&now, &now).is_ok());
        }
    }
}
