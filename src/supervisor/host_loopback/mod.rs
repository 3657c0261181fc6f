//! Connections of the agent to permitted ports of this machine's loopback.
//!
//! ```text
//!  guard ═ `guard carry` ═ engine's exec ═ carrier ─┬─ control: READY, beats
//!                                                   └─ a conversation ─▶ Permissions: permitted? ─▶ 127.0.0.1:PORT, then [::1]:PORT
//! ```
//! The guard opens conversations, and has decided about each. This side decides again by the same
//! function, from the run's own policy and the changes that were made on this machine: what the
//! guard says is not believed. With this process the way is gone.

mod permissions;
mod serving;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

pub(crate) use self::permissions::Permissions;
use self::serving::carry as carry_one;
use crate::supervisor::engine::Engine;
use crate::supervisor::helper_carrier::HelperCarrier;
use crate::supervisor::spec::workflow::Helpers;
use crate::term::{Failure, Warning};
use crate::wire::host_loopback::CONNECTIONS;

/// The time between two looks whether a person has permitted something meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// The time after which a carrier that was lost is made again.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest time between two attempts that fail.
const LONGEST: Duration = Duration::from_secs(30);

/// The carrying for one run, as long as this value lives.
#[derive(Debug)]
pub(crate) struct HostLoopback {
    _tasks: JoinSet<()>,
}

impl HostLoopback {
    /// Begins to carry, or to wait for a permission for which it is needed.
    ///
    /// # Errors
    /// When the policy permits a port of the loopback, and the guard cannot be reached for it.
    pub(crate) async fn begin(
        engine: &Engine,
        helpers: &Helpers,
        permissions: Permissions,
    ) -> Result<HostLoopback, Failure> {
        let first = match permissions.is_wanted() {
            true => Some(open(engine, &helpers.guard).await?),
            false => None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(engine.clone(), helpers.guard.clone(), permissions, first));
        Ok(HostLoopback { _tasks: tasks })
    }
}

/// Carries for as long as a run lasts. While the guard cannot be reached, it refuses.
async fn carry(engine: Engine, guard: String, permissions: Permissions, first: Option<HelperCarrier>) {
    if let Some(carrier) = first {
        serve(carrier, &permissions).await;
        sleep(AGAIN).await;
    }
    let mut attempts = Attempts::default();
    loop {
        if !permissions.is_wanted() {
            sleep(LOOK).await;
            continue;
        }
        match open(&engine, &guard).await {
            Ok(carrier) => {
                attempts = Attempts::default();
                serve(carrier, &permissions).await;
                sleep(AGAIN).await;
            }
            Err(failure) => {
                let (pause, is_first) = attempts.failed();
                if is_first {
                    crate::term::warn(Warning::LoopbackLost(failure));
                }
                sleep(pause).await;
            }
        }
    }
}

/// Starts the program in the guard's container, and waits until the guard takes connections.
async fn open(engine: &Engine, guard: &str) -> Result<HelperCarrier, Failure> {
    let what = "the carrying of connections to this machine's loopback";
    HelperCarrier::open(engine, guard, ["guard", "carry"], None, what).await
}

/// Serves until the guard, or the stream to it, is gone. Every connection ends then.
async fn serve(carrier: HelperCarrier, permissions: &Permissions) {
    let handle = |conversation, is_full| {
        let permissions = permissions.clone();
        async move {
            let _ = carry_one(conversation, &permissions, is_full).await;
        }
    };
    carrier.serve(CONNECTIONS, handle).await;
}

/// Attempts to reach the guard that failed, one after the other.
#[derive(Debug, Default)]
struct Attempts {
    pause: Option<Duration>,
}

impl Attempts {
    /// Counts one. Returns the time until the next, and whether it was the first.
    fn failed(&mut self) -> (Duration, bool) {
        let is_first = self.pause.is_none();
        let pause = self.pause.map_or(AGAIN, |pause| (pause * 2).min(LONGEST));
        self.pause = Some(pause);
        (pause, is_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_fail_become_rarer_and_the_first_is_told() {
        let mut attempts = Attempts::default();
        let told: Vec<_> =
            (0..6).map(|_| attempts.failed()).map(|(pause, is)| (pause.as_secs(), is)).collect();
        assert_eq!(told, [(2, true), (4, false), (8, false), (16, false), (30, false), (30, false)]);
    }
}
