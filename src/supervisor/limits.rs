//! What the agent may use: the smallest of what the command line and the layers of policy say.
//!
//! What a policy demands and this version cannot keep ends the start: nothing of a policy is ignored.

use std::time::Duration;

use netpolicy::policy::Policy;

use crate::error::{COULD_NOT_RUN, Failure};

/// Memory unless anybody says otherwise.
const MEMORY: u64 = 4 << 30;
/// Processes and threads unless anybody says otherwise.
const PIDS: u64 = 1024;

/// Limits of one run; absent where nobody said anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; swap is equal, so none is added.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Wall-clock time.
    pub time: Option<Duration>,
}

impl Limits {
    /// The command line's limits, lowered by the policy's.
    pub fn within(self, policy: &Policy) -> Limits {
        let of = &policy.container;
        Limits {
            memory: smallest(self.memory, of.memory),
            pids: smallest(self.pids, of.pids),
            time: smallest(self.time, of.seconds.map(Duration::from_secs)),
        }
    }

    /// Bytes for the engine.
    pub fn memory(&self) -> i64 {
        i64::try_from(self.memory.unwrap_or(MEMORY)).unwrap_or(i64::MAX)
    }

    /// Processes for the engine.
    pub fn pids(&self) -> i64 {
        i64::try_from(self.pids.unwrap_or(PIDS)).unwrap_or(i64::MAX)
    }
}

/// CPUs, of those that the engine has: asked for, lowered by the policy's, by default 2. `None` when more are asked for
/// than there are; a policy that would permit more than there are permits all.
pub fn cpus(asked: Option<f64>, policy: &Policy, has: f64) -> Option<f64> {
    let most = policy.container.milli_cpus.map(|milli| milli as f64 / 1000.0);
    let asked = match asked {
        Some(asked) if !(0.01..=has).contains(&asked) => return None,
        Some(asked) => asked,
        None => most.unwrap_or(2.0),
    };
    Some(asked.min(most.unwrap_or(has)).min(has))
}

fn smallest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What a policy may say and this version does not do yet.
pub fn refuse_what_is_not_kept(policy: &Policy) -> Result<(), Failure> {
    let demands = [(policy.container.disk.is_some(), "container.disk")];
    let unmet: Vec<&str> =
        demands.into_iter().filter(|(demanded, _)| *demanded).map(|(_, key)| key).collect();
    if unmet.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        COULD_NOT_RUN,
        format!("the policy demands {}, which this version cannot keep", unmet.join(", ")),
    )
    .hint("`ringfence policy show` tells where it stands; without it the run is less protected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts() {
        let mut policy = Policy::nothing();
        let asked = Limits { memory: Some(8 << 30), pids: None, time: None };
        assert_eq!(asked.within(&policy), asked);
        policy.container.memory = Some(2 << 30);
        policy.container.pids = Some(64);
        policy.container.seconds = Some(60);
        let held = asked.within(&policy);
        assert_eq!(
            held,
            Limits { memory: Some(2 << 30), pids: Some(64), time: Some(Duration::from_secs(60)) }
        );
        // A policy may allow more than the default, and the command line less than the policy.
        policy.container.memory = Some(16 << 30);
        assert_eq!(Limits::default().within(&policy).memory(), 16 << 30);
        assert_eq!(asked.within(&policy).memory(), 8 << 30);
        assert_eq!(Limits::default().memory(), 4 << 30);
    }

    #[test]
    fn cpus_are_those_that_the_engine_has() {
        let mut policy = Policy::nothing();
        assert_eq!(cpus(None, &policy, 8.0), Some(2.0));
        assert_eq!(cpus(None, &policy, 1.0), Some(1.0));
        assert_eq!(cpus(Some(4.0), &policy, 8.0), Some(4.0));
        assert_eq!(cpus(Some(9.0), &policy, 8.0), None);
        assert_eq!(cpus(Some(0.0), &policy, 8.0), None);
        policy.container.milli_cpus = Some(500);
        assert_eq!(cpus(Some(4.0), &policy, 8.0), Some(0.5));
        policy.container.milli_cpus = Some(16_000);
        assert_eq!(cpus(None, &policy, 8.0), Some(8.0));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let mut policy = Policy::nothing();
        policy.container.runtime = Some("default".to_owned());
        assert!(refuse_what_is_not_kept(&policy).is_ok());
        policy.container.disk = Some(1 << 30);
        let failure = refuse_what_is_not_kept(&policy).unwrap_err();
        assert!(failure.message.contains("container.disk"), "{}", failure.message);
    }
}
