//! Output of fence, guard and probes. The engine keeps stdout and stderr of a container apart:
//!
//! ```text
//!  stdout ─▶ the decision log, or what the supervisor reads: nothing else may come there
//!  stderr ─▶ words, which the supervisor shows as the last words of a helper that failed
//!         └▶ diagnostics, by their mark
//! ```
//! There is no terminal here, so the printer (`term`) has no part in it.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wire::diagnostics::MARK;

/// Says something that went wrong and ends nothing.
pub(crate) fn complain(who: &str, what: impl Display) {
    // Words that nobody reads are no reason to stop.
    let _ = writeln!(io::stderr(), "ringfence {who}: {what}");
}

/// Bytes of diagnostics that one helper writes. The engine keeps so much of its output, and rotates
/// the beginning away then: an agent must not be able to push the decision log out by diagnostics.
const MOST: usize = 8 << 20;

/// Writes a diagnostic, marked as one. It is left out where it would have to wait for a reader, or
/// where there were enough: nothing waits for diagnostics.
pub(crate) fn diagnostic(line: &str) {
    static WRITTEN: Mutex<usize> = Mutex::new(0);
    let line = format!("{MARK}{}\n", crate::term::line(line));
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let stderr = io::stderr();
    let mut waited = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // What is shorter than a page goes into a pipe that can be written at all.
    let is_short = line.len() < 4096;
    if *written < MOST && is_short && poll(&mut waited, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        *written += line.len();
        let _ = stderr.lock().write_all(line.as_bytes());
    }
}

/// Writes what the supervisor reads, at once.
///
/// # Errors
/// When nobody reads.
pub(super) fn to_supervisor(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Takes stdout, for the decision log or a carrier.
///
/// # Errors
/// When it is closed.
pub(crate) fn log() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}
