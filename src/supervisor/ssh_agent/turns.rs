//! Turns of the logins of a run: one at a time, slowly, and not without end.
//!
//! ```text
//!  login ─▶ still asked for? ─▶ wait for the one before ─▶ charge ─▶ pace ─▶ guard, person's agent ─▶ the next one
//! ```
//! Each login asks the guard by its control socket, which persons need too, and may have the
//! person's agent ask the person. An agent may ask without end, by many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

/// Logins of one run that are looked at, signed or not.
const MOST: usize = 1000;
/// Time that each login takes at least.
const PACE: Duration = Duration::from_millis(250);
/// Times that the person's agent may not sign in a run: each may be a dialog that the person
/// declined, or waited through.
pub(super) const MOST_UNSIGNED: usize = 3;

/// Turns of a run's logins.
#[derive(Debug, Default)]
pub(super) struct Turns {
    asked: Mutex<usize>,
    unsigned: AtomicUsize,
}

impl Turns {
    /// Waits for a login's turn; none where nothing more is signed in this run.
    pub(super) async fn next(&self) -> Option<MutexGuard<'_, usize>> {
        let mut asked = self.asked.lock().await;
        if *asked >= MOST || self.are_over() {
            return None;
        }
        *asked += 1;
        sleep(PACE).await;
        Some(asked)
    }

    /// Counts a login that the person's agent did not sign. Tells whether it is asked no more from
    /// now on.
    pub(super) fn unsigned(&self) -> bool {
        self.unsigned.fetch_add(1, Ordering::SeqCst) + 1 == MOST_UNSIGNED
    }

    /// Tells whether the person's agent is asked no more.
    pub(super) fn are_over(&self) -> bool {
        self.unsigned.load(Ordering::SeqCst) >= MOST_UNSIGNED
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logins_of_many_connections_take_turns_slowly_and_end() {
        let (turns, at_once) = (Arc::new(Turns::default()), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..16 {
            let (turns, at_once) = (Arc::clone(&turns), Arc::clone(&at_once));
            connections.spawn(async move {
                let mut had = 0;
                while let Some(turn) = turns.next().await {
                    assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    sleep(Duration::from_millis(1)).await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                    had += 1;
                }
                had
            });
        }
        let all: usize = connections.join_all().await.into_iter().sum();
        assert_eq!(all, MOST);
        assert!(begin.elapsed() >= PACE * u32::try_from(MOST).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_sign_is_not_asked_for_ever() {
        let turns = Turns::default();
        for number in 1..=MOST_UNSIGNED {
            assert!(turns.next().await.is_some() && !turns.are_over());
            assert_eq!(turns.unsigned(), number == MOST_UNSIGNED, "told once");
        }
        assert!(turns.next().await.is_none() && turns.are_over() && !turns.unsigned());
    }
}
