//! An observed run (`--network observe`): public names that no rule permits.
//!
//! ```text
//!  a name that no rule permits ──public by its form?──▶ a rule of the run's layer, for this name and port
//!                                                        └─ ceilings, denied ranges, floor: as for any rule
//! ```
//! It adds a rule, and takes no check away. The rule has no `private`, no host access and no range,
//! so it opens no address that a rule without them could not.

use std::sync::Arc;

use super::verdict::Notes;
use super::{Decider, Finding, Question, Reason, Refusal, Verdict, allowed, denies_port};
use crate::floor::{self, Surroundings};
use crate::host::{HostName, HostPattern};
use crate::policy::{Layer, Matcher, Origin, Policy, Rule};
use crate::ruleset::RESERVED_PORTS;

/// Text and place of the permission, as verdicts and events show them.
const EVERY_NAME: &str = "every public name";
const OPTION: &str = "--network observe";
/// Port that stands for all where none is asked about.
const ANY_PORT: u16 = 443;
/// Domains that no public name is in: RFC 6762 (appendix G too), 8375, and ICANN's `internal`.
const NEVER_PUBLIC: [&str; 9] =
    ["corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain", "private"];

impl Decider {
    /// Judges a name that no rule permits. Nothing: the run is not observed, or the name is not
    /// public.
    pub(super) fn judge_observed(
        &self,
        s: &Surroundings,
        name: &HostName,
        q: &Question<'_>,
        denials: &[&Arc<Rule>],
        notes: &mut Notes<'_>,
    ) -> Option<Verdict> {
        // No connection goes to port 0.
        if !self.policy.is_observed() || q.port == Some(0) {
            return None;
        }
        if !is_public(name, &self.policy) {
            notes.add(Finding::NotPublic, None);
            return None;
        }
        let mut refusal: Option<Refusal> = None;
        for port in self.observed_ports(name, q, denials) {
            let rule = Arc::new(observing_rule(name, port));
            let denied = denials.iter().find(|denial| denies_port(denial, Some(port)));
            let found = match denied {
                Some(denial) => Some((Reason::DeniedByRule, Arc::clone(denial))),
                None => {
                    self.refusal_of_grant(s, &rule, port, q, notes).or_else(|| veiled(s, &rule, q, notes))
                }
            };
            match found {
                None => {
                    notes.add(Finding::Observed, Some(&rule));
                    let conditions = self.conditions(&rule, name, q, port);
                    let verdict = allowed(&rule, rule.protocol_on(port), conditions);
                    return Some(Verdict { reason: Reason::Observed, ..verdict });
                }
                Some(found) => refusal = refusal.or(Some(found)),
            }
        }
        refusal.map(|(reason, rule)| Verdict::refused(reason, Some(&rule)))
    }

    /// Returns the ports to be judged: the one that is asked about, else those that could be
    /// permitted. Without a ceiling, one stands for all.
    fn observed_ports(&self, name: &HostName, q: &Question<'_>, denials: &[&Arc<Rule>]) -> Vec<u16> {
        if let Some(port) = q.port {
            return vec![port];
        }
        let is_denied = |port: u16| {
            denials.iter().any(|denial| denies_port(denial, Some(port)))
                || q.address.is_some_and(|address| self.denial_of_address(address, port).is_some())
        };
        let is_free = |port: &u16| !RESERVED_PORTS.contains(port) && !is_denied(*port);
        let ports: Vec<u16> = if self.ceilings.is_empty() {
            std::iter::once(ANY_PORT).chain(1..=u16::MAX).find(is_free).into_iter().collect()
        } else {
            let entries = self.ceilings.iter().flat_map(|(_, entries)| entries.of_name(name));
            entries.flat_map(|entry| entry.ports.iter().copied()).filter(is_free).collect()
        };
        // Where none could be, this one is judged, and refused for the reason that holds for all.
        if ports.is_empty() { vec![ANY_PORT] } else { ports }
    }
}

/// Refuses an address that a VPN's resolver put in the place of the real one: it may stand for any
/// server, an inside one too. Only a rule says that the name is the person's wish.
fn veiled(s: &Surroundings, rule: &Arc<Rule>, q: &Question<'_>, notes: &mut Notes<'_>) -> Option<Refusal> {
    let reason = floor::refusal(q.address?, &[], &[], s)?;
    notes.add(Finding::Floor(reason), Some(rule));
    Some((reason, Arc::clone(rule)))
}

/// Tells whether a name may be a public one. Its addresses are judged as well, and later.
fn is_public(name: &HostName, policy: &Policy) -> bool {
    let text = name.as_str();
    let lies_in =
        |domain: &str| text.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_of_resolvers = policy.dns.domains.iter().any(|domain| lies_in(domain.name.as_str()));
    text.contains('.') && !is_of_resolvers && !NEVER_PUBLIC.into_iter().any(lies_in)
}

fn observing_rule(name: &HostName, port: u16) -> Rule {
    let origin = Origin { layer: Layer::Run, file: OPTION.to_owned(), line: 0, text: EVERY_NAME.to_owned() };
    Rule::new(Matcher::Host(HostPattern::Exact(name.clone())), vec![port], origin)
}
