//! Ports of this machine's loopback that an agent may reach, as this machine knows it.

use std::sync::{Arc, Mutex, PoisonError};

use netpolicy::decide::{Decider, Question, Target};
use netpolicy::floor::{self, Surroundings};
use netpolicy::host_access::{HostAccess, LOOPBACK_ADDRESS};
use netpolicy::policy::Policy;

use crate::host::clock;
use crate::supervisor::records::changes;
use crate::wire::WorkflowId;
use crate::wire::host_loopback::LoopbackRequest;

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

    /// Decides about a request of the guard.
    pub(super) fn permits(&self, request: &LoopbackRequest) -> bool {
        self.decider().is_some_and(|decider| permits(&decider, request))
    }

    /// Returns the decision after all changes.
    fn decider(&self) -> Option<Arc<Decider>> {
        let length = changes::length(self.id);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 != length {
            let rules = changes::rules_after(self.id, &self.base).ok();
            *now = (length, rules.map(|rules| Arc::new(Decider::new(rules.enforced()))));
        }
        now.1.clone()
    }
}

fn permits(decider: &Decider, request: &LoopbackRequest) -> bool {
    let target = Target::Name(request.name.clone());
    let question = Question::about(&target, clock::today()).port(request.port);
    let question = Question { address: Some(LOOPBACK_ADDRESS), ..question };
    floor::refused_name(&request.name).is_some()
        && decider.decide(&Surroundings::default(), &question).allowed
}

#[cfg(test)]
mod tests {
    use netpolicy::host::HostName;
    use netpolicy::load::rule_from_command_line;

    use super::*;

    fn asked(policy: &Policy, name: &str, port: u16) -> bool {
        let request = LoopbackRequest { name: HostName::parse(name).unwrap(), port };
        permits(&Decider::new(policy.clone()), &request)
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
