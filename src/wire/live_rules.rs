//! The policy of a run, with what a person gave and took since its start.
//!
//! ```text
//!  LiveRules ──Change──▶ LiveRules    in the guard, which judges it first;
//!                                     in the supervisor, which reads the changes that this machine made
//! ```

use std::sync::Arc;

use netpolicy::policy::{Layer, Policy, Rule};
use netpolicy::successor::{Unfit, successor};

use super::conditions::{Applied, Conditions};
use super::control::Change;

/// The policy, and what was given beside it since the start.
#[derive(Debug, Clone)]
pub(crate) struct LiveRules {
    /// The policy of the start, or of the last reload.
    pub(crate) base: Arc<Policy>,
    /// Rules that were given.
    pub(crate) allow: Vec<Arc<Rule>>,
    /// Denials that were made.
    pub(crate) deny: Vec<Arc<Rule>>,
    /// The conditions of the moment.
    pub(crate) conditions: Conditions,
}

impl LiveRules {
    /// Begins a run: no rule given, no conditions.
    pub(crate) fn new(base: Policy) -> LiveRules {
        LiveRules {
            base: base.into(),
            allow: Vec::new(),
            deny: Vec::new(),
            conditions: Conditions::default(),
        }
    }

    /// Makes a change, whether the policy permits it or not. Rules are the run's, whatever layer
    /// they name.
    ///
    /// # Errors
    /// When a run cannot follow it.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Unfit> {
        match change {
            Change::Allow(rule) => {
                let mut rule = of_the_run(rule);
                if self.base.proxy.as_ref().is_some_and(|proxy| proxy.resolves_names) {
                    netpolicy::load::resolve_by_proxy(&mut rule);
                }
                self.deny.retain(|denial| denial.matcher != rule.matcher);
                let same = |old: &Arc<Rule>| {
                    old.matcher == rule.matcher
                        && old.ports == rule.ports
                        && old.host_access == rule.host_access
                };
                if !self.allow.iter().any(same) {
                    self.allow.push(rule);
                }
            }
            Change::Deny(rule) => {
                let rule = of_the_run(rule);
                self.allow.retain(|grant| grant.matcher != rule.matcher);
                if !self.deny.iter().any(|old| old.matcher == rule.matcher && old.ports == rule.ports) {
                    self.deny.push(rule);
                }
            }
            Change::Conditions { set, host } => {
                for condition in set {
                    self.conditions.set(Applied { condition: *condition, host: host.clone() });
                }
            }
            Change::Reload(policy) => self.base = successor(&self.base, policy)?.into(),
            Change::Restore { host } => self.conditions.restore(host.as_ref()),
        }
        Ok(())
    }

    /// Returns the policy with the given rules; its digest is the digest now.
    pub(crate) fn policy(&self) -> Policy {
        let mut policy = Policy::clone(&self.base);
        policy.allow.extend(self.allow.iter().cloned());
        policy.deny.extend(self.deny.iter().cloned());
        policy
    }

    /// Returns the policy that is enforced: the one with the given rules, under the conditions.
    pub(crate) fn enforced(&self) -> Policy {
        let mut policy = self.policy();
        let (all, some) = self.conditions.denied();
        policy.network_denied |= all;
        policy.network_denied_to = some;
        policy
    }
}

/// Lowers a rule to the layer of the run: the control socket carries nothing stronger.
fn of_the_run(rule: &Arc<Rule>) -> Arc<Rule> {
    let mut rule = Rule::clone(rule);
    rule.origin.layer = Layer::Run;
    Arc::new(rule)
}
