//! One of the two policies, and how it is asked.
//!
//! ```text
//!  Policy ─┬─ whole ─────────────────▶ raw addresses; what an address is to any name; witnesses
//!          └─ without denied ranges ─▶ names: their own rules, whatever address they have
//! ```
//! A name's connection is permitted when its rules permit it *and* the real address is refused to
//! nobody: the second half is the same for all names, so each half is asked for its own cells
//! instead of for every pair of cells.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::decide::{Decider, Finding, Question, Verdict};
use crate::floor::{PRIVATE_RANGES, Surroundings};
use crate::host::{HostName, HostPattern};
use crate::host_access::LOOPBACK_ADDRESS;
use crate::policy::{Date, Layer, Matcher, Origin, Policy, Protocol, ResolvedBy, Rule};
use crate::reason::Reason;
use crate::target::{Target, Transport};

use super::difference::Witness;

/// A pair of anything: the old policy's, the new policy's.
pub(super) type Both<T> = [T; 2];
pub(super) const OLD: usize = 0;
pub(super) const NEW: usize = 1;

/// Outcome of one question in both policies: the check, when the target is permitted.
pub(super) type Change = Both<Option<Protocol>>;

/// Tells whether `side` lets something through that the other policy does not.
pub(super) fn reaches_more(change: &Change, side: usize) -> bool {
    match (change[side], change[1 - side]) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(here), Some(there)) => !here.is_within(there),
    }
}

/// Treatment of a real address by one policy, whatever name the address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No range refuses the address; a private one still has to stand in the `private` of the
    /// name's rule.
    Open,
    Denied(Arc<Rule>),
    Floor(Reason),
}

pub(super) struct Side {
    pub(super) whole: Decider,
    pub(super) names: Decider,
    pub(super) surroundings: Surroundings,
    any_name: Arc<Rule>,
}

impl Side {
    pub(super) fn new(policy: &Policy) -> Side {
        let by_name = |rule: &&Arc<Rule>| matches!(rule.matcher, Matcher::Host(_));
        let names = Policy { deny: policy.deny.iter().filter(by_name).cloned().collect(), ..policy.clone() };
        Side {
            whole: Decider::new(policy.clone()),
            names: Decider::new(names),
            surroundings: offline(policy),
            any_name: Arc::new(any_name()),
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        self.whole.policy()
    }

    /// Returns the check under which a name is permitted whose address is good for everybody, or
    /// unknown.
    pub(super) fn name(
        &self,
        name: &Target,
        port: u16,
        address: Option<IpAddr>,
        day: Date,
    ) -> Option<Protocol> {
        let question = Question { address, ..Question::about(name, day).port(port) };
        check(self.names.decide(&self.surroundings, &question))
    }

    /// Returns the check under which a name of the host leads to the host's address, whatever that
    /// is.
    pub(super) fn host(&self, name: &Target, port: u16, day: Date) -> Option<Protocol> {
        let somewhere = Some(IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1)));
        let surroundings = Surroundings { host_gateway: somewhere, ..self.surroundings.clone() };
        let question = Question { address: somewhere, ..Question::about(name, day).port(port) };
        check(self.names.decide(&surroundings, &question))
    }

    /// Returns the check under which a name of the host leads to the supervisor's loopback. There
    /// is one such address, so denied ranges are in the answer.
    pub(super) fn loopback(&self, name: &Target, port: u16, day: Date) -> Option<Protocol> {
        let question = Question { address: Some(LOOPBACK_ADDRESS), ..Question::about(name, day).port(port) };
        check(self.whole.decide(&self.surroundings, &question))
    }

    /// Returns the check under which a name is permitted that only the proxy can resolve. No
    /// address is known but the loopback's, so denied ranges speak about that one only.
    pub(super) fn by_proxy(&self, name: &Target, port: u16, day: Date) -> Option<Protocol> {
        self.policy().proxy.as_ref()?;
        let question = Question { resolver: ResolvedBy::Proxy, ..Question::about(name, day).port(port) };
        check(self.whole.decide(&self.surroundings, &question))
    }

    pub(super) fn raw(&self, address: &Target, port: u16, day: Date) -> Verdict {
        self.whole.decide(&self.surroundings, &Question::about(address, day).port(port))
    }

    /// Returns the denial of a target as such on a port, as a place in memory.
    pub(super) fn denial(&self, target: &Target, port: u16, day: Date) -> Option<usize> {
        let verdict = self.names.decide(&self.surroundings, &Question::about(target, day).port(port));
        match (verdict.reason, &verdict.rule) {
            (Reason::DeniedByRule, Some(rule)) => Some(Arc::as_ptr(rule) as usize),
            _ => None,
        }
    }

    /// Judges a real address, as far as the outcome is the same for all names.
    pub(super) fn address(&self, address: IpAddr, port: u16) -> State {
        match self.whole.refusal_of_address(&self.surroundings, &self.any_name, port, address) {
            None => State::Open,
            Some((Finding::DeniesAddress, (_, rule))) => State::Denied(rule),
            Some((_, (reason, _))) => State::Floor(reason),
        }
    }
}

impl State {
    /// Returns the denial that holds an address back.
    pub(super) fn denial(&self) -> Option<&Arc<Rule>> {
        match self {
            State::Denied(rule) => Some(rule),
            State::Floor(_) | State::Open => None,
        }
    }
}

fn check(verdict: Verdict) -> Option<Protocol> {
    verdict.protocol.filter(|_| verdict.allowed)
}

/// Makes the surroundings of a comparison: no machine is known, only the range that stands for
/// names.
fn offline(policy: &Policy) -> Surroundings {
    Surroundings { virtual_range: policy.dns.virtual_range, ..Surroundings::default() }
}

/// Makes a rule that no address is too private for: an address that is refused to it is refused to
/// every name.
fn any_name() -> Rule {
    let origin = Origin { layer: Layer::Floor, file: String::new(), line: 0, text: String::new() };
    let nobody = Matcher::Cidr(ipnet::IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    Rule { private: PRIVATE_RANGES.to_vec(), ..Rule::new(nobody, Vec::new(), origin) }
}

impl Witness {
    /// Decides the witness under a policy.
    pub fn verdict(&self, decider: &Decider) -> Verdict {
        let policy = decider.policy();
        if self.resolver == ResolvedBy::Proxy && policy.proxy.is_none() {
            return Verdict {
                allowed: false,
                reason: Reason::ResolveFailed,
                rule: None,
                protocol: None,
                conditions: Vec::new(),
            };
        }
        let host_gateway = self.address.filter(|_| self.is_the_host);
        let surroundings = Surroundings { host_gateway, ..offline(policy) };
        let question = Question {
            target: &self.target,
            transport: Transport::Tcp,
            port: Some(self.port),
            address: self.address,
            resolver: self.resolver,
            today: self.day,
        };
        decider.decide(&surroundings, &question)
    }
}

/// Returns every host pattern that is written anywhere in a policy where it decides.
pub(super) fn patterns(policy: &Policy) -> impl Iterator<Item = &HostName> {
    rules(policy).filter_map(|rule| match &rule.matcher {
        Matcher::Host(pattern) => Some(HostPattern::name(pattern)),
        Matcher::Cidr(_) => None,
    })
}

/// Returns every rule of a policy that decides.
pub(super) fn rules(policy: &Policy) -> impl Iterator<Item = &Arc<Rule>> {
    policy.allow.iter().chain(&policy.deny).chain(policy.ceilings.iter().flat_map(|ceiling| &ceiling.rules))
}
