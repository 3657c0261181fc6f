//! The decision against a slow, obvious reference, and what holds for every policy of every layer.

mod world;

use netpolicy::decide::Decider;
use netpolicy::policy::{Layer, Policy};
use proptest::prelude::*;
use world::{asked, denial, is_as_strict, policy, reference, surroundings};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

    #[test]
    fn decide_agrees_with_the_reference(
        policy in policy(), network_observed in any::<bool>(), asked in prop::collection::vec(asked(), 24),
    ) {
        let policy = Policy { network_observed, ..policy };
        let decider = Decider::new(policy.clone());
        for asked in asked {
            let verdict = decider.decide(&surroundings(&policy), &asked.question());
            let checks = reference(&policy, &asked);
            prop_assert_eq!(verdict.allowed, !checks.is_empty(), "{:?}\n{:?}", asked, verdict);
            if let (true, Some(check)) = (verdict.allowed, verdict.protocol) {
                prop_assert!(checks.contains(&check), "{:?}\n{:?}", asked, verdict);
            }
        }
    }

    #[test]
    fn a_further_denial_opens_nothing(
        policy in policy(), network_observed in any::<bool>(), more in denial(),
        asked in prop::collection::vec(asked(), 24),
    ) {
        let policy = Policy { network_observed, ..policy };
        let mut stricter = policy.clone();
        stricter.deny.push(more.into());
        let [before, after] = [&policy, &stricter].map(|policy| Decider::new(policy.clone()));
        for asked in asked {
            let [was, is] = [&before, &after].map(|decider| decider.decide(&surroundings(&policy), &asked.question()));
            prop_assert!(was.allowed || !is.allowed, "{:?}\n{:?}", asked, is);
        }
    }

    #[test]
    fn a_weaker_layer_opens_nothing_outside_a_stronger_ceiling(
        limits in policy(), grants in policy(), network_observed in any::<bool>(),
        asked in prop::collection::vec(asked(), 24),
    ) {
        let Some(ceiling) = limits.ceilings.first() else { return Ok(()) };
        // The most that the ceiling lets anybody have: its own entries, permitted by its own layer.
        let most = Policy {
            allow: ceiling.rules.clone(), deny: Vec::new(), ceilings: Vec::new(), network_denied: false, ..limits.clone()
        };
        let weaker: Vec<_> =
            grants.allow.iter().filter(|rule| rule.origin.layer >= ceiling.layer).cloned().collect();
        let limited = Policy {
            allow: weaker, ceilings: vec![ceiling.clone()], project_trusted: true, network_observed, ..limits.clone()
        };
        let decider = Decider::new(limited.clone());
        for asked in asked {
            let verdict = decider.decide(&surroundings(&limited), &asked.question());
            if let (true, Some(check)) = (verdict.allowed, verdict.protocol) {
                let entries = reference(&most, &asked);
                prop_assert!(entries.iter().any(|entry| is_as_strict(check, *entry)), "{:?}\n{:?}", asked, verdict);
            }
        }
    }

    #[test]
    fn a_project_opens_nothing_by_itself(policy in policy(), asked in prop::collection::vec(asked(), 24)) {
        let project_alone = Policy {
            allow: policy.allow.iter().filter(|rule| rule.origin.layer == Layer::Project).cloned().collect(),
            ceilings: Vec::new(),
            project_trusted: false,
            ..policy
        };
        let decider = Decider::new(project_alone.clone());
        for asked in asked {
            prop_assert!(!decider.decide(&surroundings(&project_alone), &asked.question()).allowed);
        }
    }
}

/// The world is made so that both answers are common: a property over refusals alone would prove nothing.
#[test]
fn the_world_says_yes_and_no() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut yes, mut no) = (0, 0);
    for _ in 0..200 {
        let policy = policy().new_tree(&mut runner).unwrap().current();
        for _ in 0..20 {
            let asked = asked().new_tree(&mut runner).unwrap().current();
            if reference(&policy, &asked).is_empty() { no += 1 } else { yes += 1 }
        }
    }
    assert!(yes > 200 && no > 200, "{yes} permitted, {no} refused");
}
