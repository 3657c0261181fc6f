//! Ports of this machine's loopback that an agent may reach, as this machine knows it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::{self, Surroundings};
use netpolicy::host_access::{HostAccess, LOOPBACK_ADDRESS, LOOPBACK_ADDRESSES};
use netpolicy::policy::Policy;

use crate::host::clock;
use crate::supervisor::records::changes;
use crate::wire::WorkflowId;
use crate::wire::host_loopback::LoopbackRequest;

/// Reason for which a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// The policy does not permit it.
    NotPermitted,
    /// The changes of the run cannot be read.
    CannotTell,
}

/// The permissions of one run.
#[derive(Clone)]
pub(crate) struct Permissions {
    id: WorkflowId,
    base: Arc<Policy>,
    /// The decision after the changes that have so many bytes; none where they cannot be read.
    now: Arc<Mutex<(u64, Option<Arc<Decider>>)>>,
}

impl std::fmt::Debug for Permissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permissions").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Permissions {
    /// Begins with the policy of the start.
    pub(crate) fn new(id: WorkflowId, base: Policy) -> Permissions {
        let decider = Arc::new(Decider::new(base.clone()));
        Permissions { id, base: Arc::new(base), now: Arc::new(Mutex::new((0, Some(decider)))) }
    }

    /// Tells whether any rule speaks of the loopback.
    pub(super) fn is_wanted(&self) -> bool {
        let of_loopback = |decider: Arc<Decider>| {
            decider.policy().allow.iter().any(|rule| rule.host_access == HostAccess::Loopback)
        };
        self.decider().is_some_and(of_loopback)
    }

    /// Decides about a request of the guard: returns the addresses that may be dialled for it, in
    /// their order.
    ///
    /// # Errors
    /// When it is not permitted, or the changes cannot be read.
    pub(super) fn addresses(&self, request: &LoopbackRequest) -> Result<Vec<IpAddr>, Denial> {
        let decider = self.decider().ok_or(Denial::CannotTell)?;
        addresses(&decider, request).ok_or(Denial::NotPermitted)
    }

    /// Has another policy from now on, as if it had been changed on this machine.
    #[cfg(test)]
    pub(super) fn replace(&self, policy: Policy) {
        self.now.lock().unwrap().1 = Some(Arc::new(Decider::new(policy)));
    }

    /// Returns the decision after all changes.
    fn decider(&self) -> Option<Arc<Decider>> {
        let length = changes::length(self.id);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // What could not be read may be whole now, and as long.
        if now.0 != length || now.1.is_none() {
            let rules = changes::rules_after(self.id, &self.base).ok();
            *now = (length, rules.map(|rules| Arc::new(Decider::new(rules.enforced()))));
        }
        now.1.clone()
    }
}

/// Returns the permitted addresses of a request. The guard decides about the first alone, so
/// without that one there is none.
fn addresses(decider: &Decider, request: &LoopbackRequest) -> Option<Vec<IpAddr>> {
    floor::refused_name(&request.name)?;
    let target = Target::Name(request.name.clone());
    let permits = |address: &IpAddr| {
        let question = Question::about(&target, clock::today()).port(request.port).address(*address);
        decider.decide(&Surroundings::default(), &question).allowed
    };
    permits(&LOOPBACK_ADDRESS).then(|| LOOPBACK_ADDRESSES.into_iter().filter(permits).collect())
}

#[cfg(test)]
mod tests {
    use netpolicy::host::HostName;
    use netpolicy::load::rule_from_command_line;

    use super::*;

    fn asked(policy: &Policy, name: &str, port: u16) -> bool {
        let request = LoopbackRequest { name: HostName::parse(name).unwrap(), port };
        addresses(&Decider::new(policy.clone()), &request).is_some()
    }

    #[test]
    fn an_address_whose_range_is_denied_is_not_dialled() {
        let policy = |denials: &[&str]| {
            let rule = |flag, text| Arc::new(rule_from_command_line(flag, text).unwrap());
            Policy {
                allow: vec![rule("--allow", "host.docker.internal:3000/loopback")],
                deny: denials.iter().map(|text| rule("--deny", text)).collect(),
                ..Policy::nothing()
            }
        };
        let request = LoopbackRequest { name: HostName::parse("host.docker.internal").unwrap(), port: 3000 };
        let [v4, v6] = LOOPBACK_ADDRESSES;
        for (denials, dialled) in [
            (&[][..], Some(vec![v4, v6])),
            (&["::1/128"], Some(vec![v4])),
            (&["127.0.0.0/8"], None),
            (&["127.0.0.0/8", "::1/128"], None),
        ] {
            assert_eq!(addresses(&Decider::new(policy(denials)), &request), dialled, "{denials:?}");
        }
    }

    #[test]
    fn a_guard_that_is_somebody_elses_reaches_what_is_permitted_and_nothing_else() {
        let rule = |text: &str| Arc::new(rule_from_command_line("--allow", text).unwrap());
        let mut policy = Policy::nothing();
        policy.allow = vec![
            rule("host.docker.internal:3000/loopback"),
            rule("host.docker.internal:4000"),
            rule("a.test:5000"),
        ];
        assert!(asked(&policy, "host.docker.internal", 3000));
        for (name, port) in [
            ("host.docker.internal", 22),
            ("host.docker.internal", 4000),
            ("host.docker.internal", 53),
            ("host.containers.internal", 3000),
            ("localhost", 3000),
            ("a.test", 5000),
            ("a.test", 3000),
        ] {
            assert!(!asked(&policy, name, port), "{name}:{port}");
        }
        let mut denied = policy.clone();
        let denial = netpolicy::load::rule_from_command_line("--deny", "host.docker.internal").unwrap();
        denied.deny.push(denial.into());
        assert!(!asked(&denied, "host.docker.internal", 3000));
        policy.network_denied = true;
        assert!(!asked(&policy, "host.docker.internal", 3000));
    }
}
