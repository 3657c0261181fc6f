//! Connections on which nothing moves.

use std::time::{Duration, Instant};

use super::splice::Counts;

/// Time that a connection may carry nothing.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// Time between two looks at idle connections.
const IDLE_CHECK: Duration = Duration::from_secs(300);

/// Ends when nothing moved for as long as nothing may move.
pub(super) async fn idle(counts: &Counts) {
    let mut last = (counts.sum(), Instant::now());
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        let sum = counts.sum();
        if sum != last.0 {
            last = (sum, Instant::now());
        } else if last.1.elapsed() >= IDLE {
            return;
        }
    }
}
