//! Output of fence, guard and probes. The engine keeps stdout and stderr of a container apart:
//!
//! ```text
//!  stdout ─▶ the decision log, or what the supervisor reads: nothing else may come there
//!  stderr ─▶ words, which the supervisor shows as the last words of a helper that failed
//! ```
//! There is no terminal here, so the printer (`term`) has no part in it.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Says something that went wrong and ends nothing.
pub fn complain(who: &str, what: impl Display) {
    // Words that nobody reads are no reason to stop.
    let _ = writeln!(io::stderr(), "ringfence {who}: {what}");
}

/// Writes what the supervisor reads, at once.
///
/// # Errors
/// When nobody reads.
pub fn to_supervisor(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Takes stdout for the decision log.
///
/// # Errors
/// When it is closed.
pub fn log() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}
