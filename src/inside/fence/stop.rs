//! Waiting that ends when somebody asks the fence to end.
//!
//! ```text
//!  SIGTERM, SIGINT ─▶ signalfd ─┐
//!  the guard's stream ──────────┴─▶ poll ─▶ Woken
//! ```
//!
//! The fence is PID 1 of its container: signals without a handler would be ignored, and `stop`
//! would take ten seconds.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::failed;
use crate::term::Failure;

/// Reason for which a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody asked for the end.
    Stopped,
    /// The socket has bytes to read, or the other side is gone.
    Readable,
    /// The time is over.
    TimedOut,
}

/// The wish to end, as something that can be waited for.
pub(crate) struct Stop(SignalFd);

impl Stop {
    /// Makes SIGTERM and SIGINT wait, from here on, to be noticed by [`Stop::wait`].
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block().map_err(failed("cannot block SIGTERM"))?;
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Stop)
            .map_err(failed("cannot listen for SIGTERM"))
    }

    /// Waits for the end, for `other`, or for `limit` to pass.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, limit: Duration) -> Result<Woken, Failure> {
        let mut waited_for = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        waited_for.extend(other.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut waited_for, limit) {
            Ok(0) => return Ok(Woken::TimedOut),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Woken::TimedOut),
            Err(errno) => return Err(failed("cannot wait")(errno)),
        }
        let stopped = waited_for.first().and_then(PollFd::any).unwrap_or(false);
        Ok(if stopped { Woken::Stopped } else { Woken::Readable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn sigterm_ends_a_wait_and_wins_over_what_can_be_read() {
        // A thread of its own: the signal stays blocked in it.
        let thread = std::thread::spawn(|| {
            let stop = Stop::listen().unwrap();
            assert_eq!(stop.wait(None, Duration::from_millis(1)).unwrap(), Woken::TimedOut);
            let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
            there.write_all(b".").unwrap();
            assert_eq!(stop.wait(Some(here.as_fd()), Duration::from_secs(5)).unwrap(), Woken::Readable);
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            assert_eq!(stop.wait(Some(here.as_fd()), Duration::from_secs(5)).unwrap(), Woken::Stopped);
        });
        thread.join().unwrap();
    }
}
