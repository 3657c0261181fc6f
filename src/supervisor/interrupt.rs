//! An interrupt before a run has begun: what goes on is let go, and its caller tidies up.

use crate::error::Failure;

/// 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// What the work gives, or that a person wants it to end. Once this was called an interrupt no longer ends the program by itself.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        done = work => Ok(done),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(INTERRUPTED, "interrupted")),
    }
}
