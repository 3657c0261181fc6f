//! The one decision: enforcement, `explain`, `test` and `diff` all ask here and so cannot disagree.
//!
//! ```text
//!  Policy ──Decider::new──▶ Decider (rules indexed by name and by range)
//!  Question (target, port, resolved address, day) ──┐
//!  Surroundings (machine, engine, virtual range) ───┴─ decide ──▶ Verdict (allowed?, reason, rule, protocol, conditions)
//!                                                       └ explain: the same, with every consideration on the way
//! ```
//! In this order: network denied; transport; ports of the fence; host aliases; `deny` by name;
//! `allow` by name and port, and in an observed run every public name; its day; its layer's trust;
//! the ceilings at and above its layer; `deny` by range; floor. Each allowing rule is judged with
//! its own ports and its own `private`: they are never mixed.

mod observed;
mod question;
mod verdict;

use std::net::IpAddr;
use std::sync::Arc;

use self::verdict::Notes;
use crate::floor::{self, Surroundings};
use crate::host::{HostName, HostPattern};
use crate::host_access::{HostAccess, LOOPBACK_ADDRESS, LOOPBACK_ADDRESSES};
use crate::index::RuleIndex;
use crate::policy::{Layer, Matcher, Policy, Protocol, ResolvedBy, Rule};
use crate::ruleset::RESERVED_PORTS;
use crate::target::Transport;

pub use self::question::Question;
pub use self::verdict::{Condition, Considered, Finding, Verdict};
pub use crate::reason::Reason;
pub use crate::target::Target;

/// Reason for which a rule does not permit, and the rule that says so.
pub(crate) type Refusal = (Reason, Arc<Rule>);

/// A policy, ready to be asked often.
#[derive(Clone, Debug)]
pub struct Decider {
    policy: Policy,
    allow: RuleIndex,
    deny: RuleIndex,
    /// The denials of any name of the host: its names are one resource.
    deny_aliases: Vec<Arc<Rule>>,
    ceilings: Vec<(Layer, RuleIndex)>,
}

impl Decider {
    /// Indexes a policy.
    pub fn new(policy: Policy) -> Decider {
        Decider {
            allow: RuleIndex::new(&policy.allow),
            deny: RuleIndex::new(&policy.deny),
            deny_aliases: policy.deny.iter().filter(|rule| denies_an_alias(rule)).cloned().collect(),
            ceilings: policy
                .ceilings
                .iter()
                .map(|ceiling| (ceiling.layer, RuleIndex::new(&ceiling.rules)))
                .collect(),
            policy,
        }
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Answers one question.
    pub fn decide(&self, surroundings: &Surroundings, question: &Question<'_>) -> Verdict {
        self.judge(surroundings, question, &mut Notes(None))
    }

    /// Answers one question, and says all that was considered.
    pub fn explain(
        &self,
        surroundings: &Surroundings,
        question: &Question<'_>,
    ) -> (Verdict, Vec<Considered>) {
        let mut notes = Vec::new();
        let verdict = self.judge(surroundings, question, &mut Notes(Some(&mut notes)));
        (verdict, notes)
    }

    /// Finds a rule `*.NAME` that would permit NAME itself if it were written `.NAME`: what a
    /// person often means.
    pub fn with_itself(&self, surroundings: &Surroundings, question: &Question<'_>) -> Option<Rule> {
        let Target::Name(name) = question.target else { return None };
        let below = Matcher::Host(HostPattern::Below(name.clone()));
        self.policy.allow.iter().filter(|rule| rule.matcher == below).find_map(|rule| {
            let wider =
                Rule { matcher: Matcher::Host(HostPattern::AtOrBelow(name.clone())), ..Rule::clone(rule) };
            let mut policy = self.policy.clone();
            policy.allow.push(Arc::new(wider.clone()));
            Decider::new(policy).decide(surroundings, question).allowed.then_some(wider)
        })
    }

    fn judge(&self, s: &Surroundings, q: &Question<'_>, notes: &mut Notes<'_>) -> Verdict {
        let denied_to = |target: &Target| match target {
            Target::Name(name) => self.policy.network_denied_to.iter().any(|pattern| pattern.matches(name)),
            Target::Address(_) => false,
        };
        if self.policy.network_denied || denied_to(q.target) {
            notes.add(Finding::NetworkDenied, None);
            return Verdict::refused(Reason::NetworkDenied, None);
        }
        if q.transport == Transport::Udp {
            notes.add(Finding::Transport, None);
            return Verdict::refused(Reason::Protocol, None);
        }
        if let Some(port) = q.port.filter(|port| RESERVED_PORTS.contains(port)) {
            notes.add(Finding::ReservedPort(port), None);
            return Verdict::refused(Reason::ReservedPort, None);
        }
        match q.target {
            Target::Name(name) => self.judge_name(s, name, q, notes),
            Target::Address(addr) => self.judge_address(s, *addr, q, notes),
        }
    }

    fn judge_name(
        &self,
        s: &Surroundings,
        name: &HostName,
        q: &Question<'_>,
        notes: &mut Notes<'_>,
    ) -> Verdict {
        let alias = floor::refused_name(name);
        if let Some(reason) = alias {
            notes.add(Finding::HostAlias(reason), None);
        }
        let denials = self.denials_of_name(name, alias.is_some());
        for denial in &denials {
            if denies_port(denial, q.port) {
                notes.add(Finding::Denies, Some(denial));
                return Verdict::refused(Reason::DeniedByRule, Some(denial));
            }
            notes.add(Finding::DeniesOtherPorts, Some(denial));
        }
        if denials.is_empty() {
            notes.add(Finding::NothingDenies, None);
        }
        let by_rules = self.judge_by_rules(s, name, q, (&denials, alias), notes);
        if by_rules.allowed || alias.is_some() {
            return by_rules;
        }
        // A rule that does not permit takes nothing away from what an observed run may reach.
        let says_little = matches!(by_rules.reason, Reason::NotAllowed | Reason::Port);
        match self.judge_observed(s, name, q, &denials, notes) {
            Some(observed) if observed.allowed || says_little => observed,
            _ => by_rules,
        }
    }

    /// Judges a name by the rules of `allow` that speak about it, beside the denials that do not
    /// cover the whole question.
    fn judge_by_rules(
        &self,
        s: &Surroundings,
        name: &HostName,
        q: &Question<'_>,
        (denials, alias): (&[&Arc<Rule>], Option<Reason>),
        notes: &mut Notes<'_>,
    ) -> Verdict {
        // A host alias is reached by its own name under a rule that says so, and by nothing wider.
        let counts = |rule: &&Arc<Rule>| rule.host_access.is_given() == alias.is_some();
        let mut candidates = self.allow.of_name(name).filter(counts).peekable();
        let Some(nearest) = candidates.peek().copied() else {
            notes.add(Finding::NothingAllows, None);
            return Verdict::refused(alias.unwrap_or(Reason::NotAllowed), None);
        };
        if let Some(reason @ Reason::MetadataAddress) = alias {
            return Verdict::refused(reason, Some(nearest));
        }

        let mut refusal: Option<Refusal> = None;
        for rule in candidates {
            notes.add(Finding::Candidate, Some(rule));
            let ports = ports_in_question(rule, &q.port);
            if ports.is_empty() {
                notes.add(Finding::OtherPorts, Some(rule));
            }
            for port in ports {
                let denied = denials.iter().find(|denial| denies_port(denial, Some(*port)));
                let found = match denied {
                    Some(denial) => {
                        notes.add(Finding::Denies, Some(denial));
                        Some((Reason::DeniedByRule, Arc::clone(denial)))
                    }
                    None => self.refusal_of_grant(s, rule, *port, q, notes),
                };
                match found {
                    None => {
                        notes.add(Finding::Permits, Some(rule));
                        let conditions = self.conditions(rule, name, q, *port);
                        return allowed(rule, rule.protocol_on(*port), conditions);
                    }
                    Some(found) => refusal = refusal.or(Some(found)),
                }
            }
        }
        match refusal {
            Some((reason, rule)) => Verdict::refused(reason, Some(&rule)),
            None => Verdict::refused(Reason::Port, Some(nearest)),
        }
    }

    /// Returns the denials of a name. All names of the host are one resource: a denial of one of
    /// them is a denial of each.
    fn denials_of_name(&self, name: &HostName, alias: bool) -> Vec<&Arc<Rule>> {
        if alias { self.deny_aliases.iter().collect() } else { self.deny.of_name(name).collect() }
    }

    /// Returns the rules of `allow` that speak about a target.
    pub(crate) fn grants_of<'d>(&'d self, target: &'d Target) -> Vec<&'d Arc<Rule>> {
        self.allow.of(target).collect()
    }

    /// Returns the denials that speak about a target as such.
    pub(crate) fn denials_of<'d>(&'d self, target: &'d Target) -> Vec<&'d Arc<Rule>> {
        match target {
            Target::Name(name) => self.denials_of_name(name, floor::refused_name(name).is_some()),
            Target::Address(_) => self.deny.of(target).collect(),
        }
    }

    /// Returns the entries of ceilings that speak about a target.
    pub(crate) fn limits_of<'d>(&'d self, target: &'d Target) -> Vec<&'d Arc<Rule>> {
        self.ceilings.iter().flat_map(|(_, entries)| entries.of(target)).collect()
    }

    /// Returns the denials that speak about an address, in whatever form of IPv6 it comes.
    pub(crate) fn denials_of_address(&self, addr: IpAddr) -> Vec<&Arc<Rule>> {
        let carried = floor::embedded_v4(addr).into_iter().map(IpAddr::V4);
        std::iter::once(addr).chain(carried).flat_map(|addr| self.deny.of_address(addr)).collect()
    }

    fn judge_address(
        &self,
        s: &Surroundings,
        addr: IpAddr,
        q: &Question<'_>,
        notes: &mut Notes<'_>,
    ) -> Verdict {
        if let Some(denial) = self.deny.of_address(addr).find(|rule| denies_port(rule, q.port)) {
            notes.add(Finding::Denies, Some(denial));
            return Verdict::refused(Reason::DeniedByRule, Some(denial));
        }
        notes.add(Finding::NothingDenies, None);
        let q = q.address(addr);
        let mut refusal: Option<Refusal> = None;
        let mut nearest: Option<&Arc<Rule>> = None;
        for rule in self.allow.of_address(addr) {
            nearest = nearest.or(Some(rule));
            notes.add(Finding::Candidate, Some(rule));
            let ports = ports_in_question(rule, &q.port);
            if ports.is_empty() {
                notes.add(Finding::OtherPorts, Some(rule));
            }
            for port in ports {
                match self.refusal_of_grant(s, rule, *port, &q, notes) {
                    None => {
                        notes.add(Finding::Permits, Some(rule));
                        return allowed(rule, rule.protocol_on(*port), Vec::new());
                    }
                    Some(found) => refusal = refusal.or(Some(found)),
                }
            }
        }
        if let Some((reason, rule)) = refusal {
            return Verdict::refused(reason, Some(&rule));
        }
        // Not permitted, or not on this port: the floor's word says more than "raw-address".
        let private = nearest.map_or(&[][..], |rule| &rule.private);
        match (floor::refusal(addr, private, &self.policy.dns.upstream_fake_range, s), nearest) {
            (Some(reason), rule) => {
                notes.add(Finding::Floor(reason), rule);
                Verdict::refused(reason, rule)
            }
            (None, Some(rule)) => Verdict::refused(Reason::Port, Some(rule)),
            (None, None) => {
                notes.add(Finding::NothingAllows, None);
                Verdict::refused(Reason::RawAddress, None)
            }
        }
    }

    /// Returns the reason for which a rule that speaks about the target and the port does not
    /// permit it after all.
    fn refusal_of_grant(
        &self,
        s: &Surroundings,
        rule: &Arc<Rule>,
        port: u16,
        q: &Question<'_>,
        notes: &mut Notes<'_>,
    ) -> Option<Refusal> {
        let mut refuse = |finding, reason, by: &Arc<Rule>| {
            notes.add(finding, Some(by));
            Some((reason, Arc::clone(by)))
        };
        if RESERVED_PORTS.contains(&port) {
            return refuse(Finding::ReservedPort(port), Reason::ReservedPort, rule);
        }
        if rule.expired(q.today) {
            return refuse(Finding::Expired, Reason::Expired, rule);
        }
        if q.resolver == ResolvedBy::Proxy && rule.resolved_by != ResolvedBy::Proxy {
            return refuse(Finding::NotByProxy, Reason::ResolveFailed, rule);
        }
        if let Some(refusal) = self.refusal_by_layer(rule, port, q, notes) {
            return Some(refusal);
        }
        // The loopback's address is known before anything is resolved here.
        let is_known = rule.host_access == HostAccess::Loopback && q.resolver == ResolvedBy::Guard;
        let known = is_known.then_some(LOOPBACK_ADDRESS);
        let (finding, (reason, by)) = self.refusal_of_address(s, rule, port, q.address.or(known)?)?;
        notes.add(finding, Some(&by));
        Some((reason, by))
    }

    /// Returns the reason for which a real address is refused to a rule, whatever name the address
    /// belongs to: denied ranges, then the floor.
    pub(crate) fn refusal_of_address(
        &self,
        s: &Surroundings,
        rule: &Arc<Rule>,
        port: u16,
        addr: IpAddr,
    ) -> Option<(Finding, Refusal)> {
        if let Some(denial) = self.denial_of_address(addr, port) {
            return Some((Finding::DeniesAddress, (Reason::DeniedByRule, Arc::clone(denial))));
        }
        let refused = match rule.host_access {
            HostAccess::Address => (s.host_gateway != Some(addr)).then_some(Reason::HostAddress),
            HostAccess::Loopback => (!LOOPBACK_ADDRESSES.contains(&addr)).then_some(Reason::HostAddress),
            HostAccess::None => floor::refusal(addr, &rule.private, &self.policy.dns.upstream_fake_range, s),
        };
        refused.map(|reason| (Finding::Floor(reason), (reason, Arc::clone(rule))))
    }

    /// Judges a rule by its layer: the ceilings at and above the layer must contain the grant, and
    /// a project's grant needs a ceiling or a person's approval.
    fn refusal_by_layer(
        &self,
        rule: &Arc<Rule>,
        port: u16,
        q: &Question<'_>,
        notes: &mut Notes<'_>,
    ) -> Option<Refusal> {
        let layer = rule.origin.layer;
        let above = || self.ceilings.iter().filter(|(of, _)| *of <= layer);
        if layer == Layer::Project && rule.host_access.is_given() {
            // Neither a ceiling nor an approval lets a project reach the host.
            notes.add(Finding::BeyondTrust, Some(rule));
            return Some((Reason::UntrustedLayer, Arc::clone(rule)));
        }
        if layer == Layer::Project && above().next().is_none() {
            let finding = match (self.policy.project_trusted, rule.is_beyond_trust()) {
                (true, false) => Finding::Trusted,
                (true, true) => Finding::BeyondTrust,
                (false, _) => Finding::Untrusted,
            };
            notes.add(finding, Some(rule));
            if finding != Finding::Trusted {
                return Some((Reason::UntrustedLayer, Arc::clone(rule)));
            }
        }
        for (of, entries) in above() {
            let entry = match q.target {
                Target::Name(name) => entries.of_name(name).find(|entry| contains(entry, rule, port, q)),
                Target::Address(addr) => {
                    entries.of_address(*addr).find(|entry| contains(entry, rule, port, q))
                }
            };
            match entry {
                Some(entry) => notes.add(Finding::InCeiling(*of), Some(entry)),
                None => {
                    notes.add(Finding::OutsideCeiling(*of), Some(rule));
                    return Some((Reason::OutsideCeiling, Arc::clone(rule)));
                }
            }
        }
        None
    }

    /// Returns the denial that covers a real address on a port, in whatever form of IPv6 it comes.
    fn denial_of_address(&self, addr: IpAddr, port: u16) -> Option<&Arc<Rule>> {
        if !self.deny.has_ranges() {
            return None;
        }
        let on_port = |rule: &&Arc<Rule>| denies_port(rule, Some(port));
        self.deny.of_address(addr).find(on_port).or_else(|| {
            floor::embedded_v4(addr)
                .into_iter()
                .find_map(|carried| self.deny.of_address(IpAddr::V4(carried)).find(on_port))
        })
    }

    fn conditions(&self, rule: &Arc<Rule>, name: &HostName, q: &Question<'_>, port: u16) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if q.resolver == ResolvedBy::Proxy {
            conditions.push(Condition::ProxyResolves);
        } else if q.address.is_none() {
            conditions.push(match rule.host_access {
                HostAccess::Address => Condition::TheHost,
                HostAccess::Loopback => Condition::TheLoopback,
                HostAccess::None => Condition::NotInFloor(Arc::clone(rule)),
            });
            if self.deny.has_ranges() && rule.host_access != HostAccess::Loopback {
                conditions.push(Condition::NotDenied);
            }
        }
        if q.port.is_some() {
            match rule.protocol_on(port) {
                Protocol::Tls => conditions.push(Condition::Sni(name.clone())),
                Protocol::Http => conditions.push(Condition::HostHeader(name.clone())),
                Protocol::Auto => conditions.push(Condition::SniOrHost(name.clone())),
                Protocol::Tcp => {}
            }
        }
        conditions
    }
}

/// Answers one question about a policy that is not asked again. A caller with many questions keeps
/// a [`Decider`].
pub fn decide(policy: &Policy, surroundings: &Surroundings, question: &Question<'_>) -> Verdict {
    Decider::new(policy.clone()).decide(surroundings, question)
}

fn allowed(rule: &Arc<Rule>, protocol: Protocol, conditions: Vec<Condition>) -> Verdict {
    Verdict {
        allowed: true,
        reason: Reason::Allowed,
        rule: Some(Arc::clone(rule)),
        protocol: Some(protocol),
        conditions,
    }
}

/// Tells whether an entry of a ceiling, which speaks about the target, contains the rule's grant:
/// the port, the check, the resolver, the private address.
fn contains(entry: &Rule, rule: &Rule, port: u16, q: &Question<'_>) -> bool {
    let private = |addr: &IpAddr| floor::PRIVATE_RANGES.iter().any(|net| net.contains(addr));
    entry.ports.contains(&port)
        && !entry.expired(q.today)
        && rule.protocol_on(port).is_within(entry.protocol_on(port))
        && (rule.resolved_by == ResolvedBy::Guard || entry.resolved_by == ResolvedBy::Proxy)
        && rule.host_access == entry.host_access
        // The host's own address needs no `private` beside `host-access`.
        && (rule.host_access.is_given()
            || q.address
                .filter(private)
                .is_none_or(|addr| entry.private.iter().any(|net| net.contains(&addr))))
}

fn denies_an_alias(rule: &Rule) -> bool {
    match &rule.matcher {
        Matcher::Host(pattern) => {
            floor::refused_name(pattern.name()) == Some(Reason::HostAddress)
                || floor::aliases().any(|other| pattern.matches(other))
        }
        Matcher::Cidr(_) => false,
    }
}

/// Tells whether a denial covers the whole question. A denial with ports covers no question about
/// any port.
fn denies_port(rule: &Rule, port: Option<u16>) -> bool {
    rule.ports.is_empty() || port.is_some_and(|port| rule.ports.contains(&port))
}

fn ports_in_question<'p>(rule: &'p Rule, asked: &'p Option<u16>) -> &'p [u16] {
    match asked {
        None => &rule.ports,
        Some(port) if rule.ports.contains(port) => std::slice::from_ref(port),
        Some(_) => &[],
    }
}
