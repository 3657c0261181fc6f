//! Planned conditions: those from the beginning, and those that a connection brings.
//!
//! ```text
//!  connection ─▶ decide ─ permitted ─▶ is it the first to a planned name? ─ yes ─▶ change, decide again ─▶ gate
//!                                          one at a time: a second connection waits for the change
//! ```
//! The change is made before the connection is looked at further, so nothing of it has gone out: no
//! lookup of the guard, no packet. The kernel's part of it follows by the supervisor's machine.

use std::sync::{Mutex, PoisonError};

use netpolicy::decide::{Target, Verdict};

use super::Guard;
use super::live::Live;
use crate::wire::control::Change;
use crate::wire::event::Control;
use crate::wire::planned::{OnConnect, PlannedConditions};

/// Changes that wait for a connection.
#[derive(Debug, Default)]
pub(super) struct AwaitedConnections(Mutex<Vec<OnConnect>>);

/// Decides about a new connection, after the changes that it brings.
pub(super) fn decide(guard: &Guard, target: &Target, port: u16) -> Verdict {
    let verdict = guard.names.decide_at_first(target, Some(port));
    let Target::Name(name) = target else { return verdict };
    if !verdict.allowed || guard.closed().is_some() {
        return verdict;
    }
    let mut awaited = guard.awaited.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (met, rest): (Vec<_>, Vec<_>) =
        std::mem::take(&mut *awaited).into_iter().partition(|awaited| awaited.to.matches(name));
    *awaited = rest;
    if met.is_empty() {
        return verdict;
    }
    // The lock is held meanwhile: a second connection must not pass before the change.
    for awaited in met {
        make(&guard.live, guard, &awaited.change.change());
    }
    guard.names.decide_at_first(target, Some(port))
}

/// Begins with what is planned.
pub(super) fn begin(guard: &Guard, planned: PlannedConditions) {
    for applied in planned.start {
        let change = Change::Conditions { set: vec![applied.condition], host: applied.host };
        make(&guard.live, guard, &change);
    }
    *guard.awaited.0.lock().unwrap_or_else(PoisonError::into_inner) = planned.on_connect;
}

/// Makes a planned change, and writes it down.
fn make(live: &Live, guard: &Guard, change: &Change) {
    let digest = live.enforce(guard, change);
    guard.events.write(Control::planned(change.to_string(), digest));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inside::guard::gate::admit;
    use crate::inside::guard::splice::tests::pair;
    use crate::inside::guard::tests::{dials, guard_with, policy, virtual_address};
    use crate::wire::planned::ConditionChange;
    use netpolicy::decide::Reason;
    use netpolicy::host::HostPattern;

    fn planned(condition: &str, to: &str) -> PlannedConditions {
        let set = ConditionChange::Set(crate::wire::conditions::Applied {
            condition: condition.parse().unwrap(),
            host: None,
        });
        let to = HostPattern::parse(to).unwrap();
        PlannedConditions { start: Vec::new(), on_connect: vec![OnConnect { to, change: set }] }
    }

    fn target(name: &str) -> Target {
        Target::Name(netpolicy::host::HostName::parse(name).unwrap())
    }

    #[tokio::test]
    async fn a_condition_holds_for_the_connection_that_brings_it_and_no_earlier_one() {
        let (guard, log) = guard_with(policy(), None, None);
        begin(&guard, planned("deny", "gitlab.com"));
        assert!(decide(&guard, &target("raw.example"), 443).allowed, "another name brings nothing");
        let verdict = decide(&guard, &target("gitlab.com"), 443);
        assert_eq!((verdict.allowed, verdict.reason), (false, Reason::NetworkDenied));
        guard.live.make(&guard, &Change::Restore { host: None });
        assert!(decide(&guard, &target("gitlab.com"), 443).allowed, "it comes once");
        guard.events.finish();
        let told: Vec<_> = log.lines().into_iter().filter(|line| line["who"] == "plan").collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["what"], "net deny");
    }

    #[tokio::test]
    async fn what_is_refused_brings_nothing() {
        let (guard, _log) = guard_with(policy(), None, None);
        begin(&guard, planned("cut", "gitlab.com"));
        assert!(!decide(&guard, &target("gitlab.com"), 1).allowed);
        assert!(!guard.live.effect(None).cut);
    }

    #[tokio::test]
    async fn a_connection_under_a_cut_is_held_and_goes_on_after_it() {
        for plan in [None, Some(planned("cut", "gitlab.com"))] {
            let (guard, log) = guard_with(policy(), None, None);
            let is_cut = plan.is_some();
            begin(&guard, plan.unwrap_or_default());
            let (_agent, near) = pair().await;
            let to = std::net::SocketAddrV4::new(virtual_address(&guard, "raw.example"), 443);
            // A raw port is dialled at once: a first connection to the planned name stands for it.
            if is_cut {
                assert!(decide(&guard, &target("gitlab.com"), 443).allowed);
            }
            admit(near, to, &guard);
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(dials(&guard), usize::from(!is_cut), "held: {is_cut}");
            let met = log
                .lines()
                .iter()
                .filter(|line| line["kind"] == "connect" && line["reason"] == "cut")
                .count();
            assert_eq!(met, usize::from(is_cut), "the log says that it met the cut");
            guard.live.make(&guard, &Change::Restore { host: None });
            let dialled = async {
                while dials(&guard) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), dialled).await.unwrap();
        }
    }

    #[test]
    fn a_plan_holds_no_rule() {
        for text in [
            r#"{"start":[{"allow":"x"}]}"#,
            r#"{"allow":[]}"#,
            r#"{"on_connect":[{"to":"a.test","change":{"allow":"x"}}]}"#,
        ] {
            assert!(serde_json::from_str::<PlannedConditions>(text).is_err(), "{text}");
        }
    }
}
