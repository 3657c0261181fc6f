//! Targets that a policy permits, one by one, for somebody who is to be told them.
//!
//! ```text
//!  Policy.allow ──each target, each port──▶ decide ──permitted──▶ Permitted: host or range, port, protocol
//! ```
//! Each is asked of the one decision, so ceilings, denials, expiry and the floor count. Nothing is
//! said of what is refused, nor of the files and words of rules.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::decide::{Decider, Question};
use crate::floor::Surroundings;
use crate::host::{HostName, HostPattern};
use crate::policy::{Date, Matcher, Policy, Protocol};
use crate::target::Target;

/// Target and port that are permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permitted {
    /// The host or the range.
    #[serde(flatten)]
    pub destination: Destination,
    /// The port.
    pub port: u16,
    /// Check of the connection by the gate.
    pub protocol: Protocol,
}

/// Host or range that is permitted, as policies write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// A name, or `*.NAME` for all names below one.
    Host(String),
    /// A range of addresses.
    Range(String),
}

/// Returns a target for which the answer to a rule can be asked. A wildcard is tried with a name
/// that no other rule speaks of, a range with its first address.
pub fn example(matcher: &Matcher) -> Target {
    match matcher {
        Matcher::Host(HostPattern::Below(name)) => {
            let below = HostName::parse(&format!("any-name-below.{name}"));
            Target::Name(below.unwrap_or_else(|_| name.clone()))
        }
        Matcher::Host(pattern) => Target::Name(pattern.name().clone()),
        Matcher::Cidr(range) => Target::Address(range.addr()),
    }
}

/// Returns everything that the policy permits on a day, each once, in order.
///
/// Some names below a wildcard, and some addresses of a range, may be refused all the same.
pub fn permitted(policy: &Policy, surroundings: &Surroundings, today: Date) -> Vec<Permitted> {
    let decider = Decider::new(policy.clone());
    let mut found = BTreeMap::new();
    for rule in &policy.allow {
        for matcher in parts(&rule.matcher) {
            let target = example(&matcher);
            let destination = match &matcher {
                Matcher::Host(pattern) => Destination::Host(pattern.to_string()),
                Matcher::Cidr(range) => Destination::Range(range.to_string()),
            };
            for port in &rule.ports {
                let verdict = decider.decide(surroundings, &Question::about(&target, today).port(*port));
                if let (true, Some(protocol)) = (verdict.allowed, verdict.protocol) {
                    found.insert((destination.clone(), *port), protocol);
                }
            }
        }
    }
    let permitted = |((destination, port), protocol): ((Destination, u16), Protocol)| Permitted {
        destination,
        port,
        protocol,
    };
    found.into_iter().map(permitted).collect()
}

/// Returns the parts of a pattern that one example each stands for: `.x` is `x` and `*.x`.
fn parts(matcher: &Matcher) -> Vec<Matcher> {
    match matcher {
        Matcher::Host(HostPattern::AtOrBelow(name)) => {
            [HostPattern::Exact(name.clone()), HostPattern::Below(name.clone())].map(Matcher::Host).to_vec()
        }
        other => vec![other.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;
    use crate::policy::Layer;

    /// Returns what these layers permit, a line each.
    fn of(layers: &[(Layer, &str)], denied: bool) -> Vec<String> {
        let texts: Vec<(Layer, String)> =
            layers.iter().map(|(layer, text)| (*layer, format!("network: {text}\n"))).collect();
        let texts: Vec<(Layer, &str)> = texts.iter().map(|(layer, text)| (*layer, &**text)).collect();
        let mut policy = sample::policy(&texts);
        policy.network_denied = denied;
        let line = |one: &Permitted| {
            let (Destination::Host(to) | Destination::Range(to)) = &one.destination;
            format!("{to}:{} {}", one.port, one.protocol.as_str())
        };
        permitted(&policy, &Surroundings::default(), sample::today()).iter().map(line).collect()
    }

    #[test]
    fn ceilings_denials_and_expiry_count_and_nothing_of_them_is_said() {
        let user = "{ceiling: [.test, {cidr: 198.51.100.0/24, ports: [22]}], deny: [bad.test, b.few.test]}";
        let run = "{allow: [a.test, bad.test, out.example, .few.test, '*.wide.test:8443', \
                   {host: old.test, expires: 2025-01-01}, {host: a.test, ports: [80, 443, 7000]}, \
                   {cidr: 198.51.100.0/24, ports: [22]}, {cidr: 198.51.101.0/24, ports: [22]}]}";
        assert_eq!(
            of(&[(Layer::User, user), (Layer::Run, run)], false),
            ["*.few.test:443 tls", "a.test:443 tls", "few.test:443 tls", "198.51.100.0/24:22 tcp"]
        );
        let wide = "{ceiling: [{host: .test, ports: [80, 443, 7000, 8443]}]}";
        assert_eq!(
            of(
                &[(Layer::User, wide), (Layer::Run, "{allow: [{host: a.test, ports: [80, 443, 7000]}]}")],
                false
            ),
            ["a.test:80 http", "a.test:443 tls", "a.test:7000 auto"]
        );
    }

    #[test]
    fn a_denied_network_and_a_project_that_nobody_approved_permit_nothing() {
        assert_eq!(of(&[(Layer::Run, "{allow: [a.test]}")], false), ["a.test:443 tls"]);
        assert_eq!(of(&[(Layer::Run, "{allow: [a.test]}")], true), Vec::<String>::new());
        assert_eq!(of(&[(Layer::Project, "{allow: [a.test]}")], false), Vec::<String>::new());
    }
}
