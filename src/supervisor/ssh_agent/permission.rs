//! The permission of a server at the moment of a signature.
//!
//! ```text
//!  guard: digest, conditions, closed? ─┐
//!  changes that this machine made ─────┴─▶ the same policy, and every name of the server in it? ─▶ permitted
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use netpolicy::decide::Decider;
use netpolicy::policy::Policy;

use super::known_hosts::Server;
use crate::supervisor::engine::Engine;
use crate::supervisor::live;
use crate::supervisor::records::changes;
use crate::supervisor::spec::workflow::Helpers;
use crate::wire::control::State;
use crate::wire::live_rules::LiveRules;

/// Means to ask whether a server is permitted now.
#[derive(Clone)]
pub(super) struct Permission {
    engine: Engine,
    helpers: Helpers,
    base: Arc<Policy>,
}

impl Permission {
    pub(super) fn new(engine: &Engine, helpers: &Helpers, base: &Policy) -> Permission {
        Permission { engine: engine.clone(), helpers: helpers.clone(), base: Arc::new(base.clone()) }
    }

    /// Tells whether a server is permitted now, by each of its names. Where that cannot be known it
    /// is not.
    pub(super) async fn holds(&self, servers: &BTreeSet<Server>) -> bool {
        let Ok(state) = live::state(&self.engine, &self.helpers).await else { return false };
        let Ok(rules) = changes::rules_after(self.helpers.id, &self.base) else { return false };
        is_permitted(&state, rules, servers)
    }
}

/// Decides by the policy that both guard and this machine know, under the guard's conditions.
fn is_permitted(state: &State, mut rules: LiveRules, servers: &BTreeSet<Server>) -> bool {
    // Somebody elsewhere changed what is enforced, and nobody here knows how.
    if state.closed.is_some() || state.digest != rules.policy().digest() {
        return false;
    }
    rules.conditions = state.conditions.clone();
    let decider = Decider::new(rules.enforced());
    let passes =
        |server: &Server| server.is_permitted(&decider) && !state.conditions.on(Some(&server.name)).cut;
    !servers.is_empty() && servers.iter().all(passes)
}

#[cfg(test)]
mod tests {
    use netpolicy::decide::Reason;
    use netpolicy::load::rule_from_command_line;

    use super::*;
    use crate::wire::conditions::Conditions;
    use crate::wire::control::Change;

    fn rule(flag: &str, text: &str) -> Arc<netpolicy::policy::Rule> {
        rule_from_command_line(flag, text).unwrap().into()
    }

    fn rules(changes: &[Change]) -> LiveRules {
        let allow = ["git.test:22", "mirror.test:22"].map(|text| rule("--allow", text)).to_vec();
        let mut rules = LiveRules::new(Policy { allow, ..Policy::nothing() });
        changes.iter().for_each(|change| rules.apply(change).unwrap());
        rules
    }

    /// Returns the state of a guard that has these rules.
    fn state(rules: &LiveRules, conditions: &[&str]) -> State {
        let applied = |text: &&str| {
            let mut words = text.split(' ');
            crate::wire::conditions::Applied {
                condition: words.next().unwrap().parse().unwrap(),
                host: words.next().map(|host| netpolicy::host::HostPattern::parse(host).unwrap()),
            }
        };
        State {
            workflow: String::new(),
            digest: rules.policy().digest(),
            closed: None,
            denied_from_start: false,
            deadline_unix_ms: None,
            connections: 0,
            events: 0,
            allowed: Vec::new(),
            denied: Vec::new(),
            conditions: Conditions(conditions.iter().map(applied).collect()),
            supervised: Some(true),
        }
    }

    #[test]
    fn a_network_that_is_cut_or_denied_ends_the_signing() {
        let servers = BTreeSet::from(["git.test", "mirror.test"].map(|name| Server::parse(name).unwrap()));
        let permitted = |conditions: &[&str]| {
            let rules = rules(&[]);
            is_permitted(&state(&rules, conditions), rules, &servers)
        };
        assert!(permitted(&[]) && permitted(&["latency=1s"]) && permitted(&["cut other.test"]));
        for conditions in ["cut", "deny", "cut git.test", "deny mirror.test"] {
            assert!(!permitted(&[conditions]), "{conditions}");
        }
        let closed = State { closed: Some(Reason::NetworkDenied), ..state(&rules(&[]), &[]) };
        assert!(!is_permitted(&closed, rules(&[]), &servers));
        assert!(!is_permitted(&state(&rules(&[]), &[]), rules(&[]), &BTreeSet::new()));
    }

    #[test]
    fn a_denial_ends_the_signing_wherever_it_was_made() {
        let servers = BTreeSet::from([Server::parse("git.test").unwrap()]);
        let denial = Change::Deny(rule("--deny", "git.test"));
        let other = Change::Deny(rule("--deny", "other.test"));
        let both = |change: &Change| rules(std::slice::from_ref(change));
        assert!(is_permitted(&state(&both(&other), &[]), both(&other), &servers));
        assert!(!is_permitted(&state(&both(&denial), &[]), both(&denial), &servers));
        // Made on another machine: the guard knows it, and this machine does not.
        assert!(!is_permitted(&state(&both(&denial), &[]), rules(&[]), &servers));
        // Made here, and not enforced by the guard.
        assert!(!is_permitted(&state(&rules(&[]), &[]), both(&denial), &servers));
    }
}
