//! The decision log: one JSON object a line, chained by hashes.
//!
//! ```text
//!  goes out, goes upstream, live change, lifecycle ─────────────────────────┬─▶ seq, time, prev ─▶ stdout, one write a line
//!  refused, or answered by the guard itself ─▶ fold (repeats, budget, count)┘
//! ```
//!
//! What goes out has a line of its own, always, and waits until that line is written. Refusals have
//! a budget, and what it leaves out is counted by kind. A line that cannot be written ends the
//! guard.

mod chain;
mod fold;

use std::io::Write;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netpolicy::host::HostName;

use self::chain::Chain;
use self::fold::Fold;
use crate::wire::WorkflowId;
use crate::wire::event::{Access, Event, Kind, Lifecycle};
use crate::wire::handover::EVENTS_BYTES;

/// Time in which identical refusals are one event.
pub(super) const MOMENT: Duration = Duration::from_secs(1);
/// Time in which well-known noise, and a name that is asked for again, is one event.
pub(super) const LONG_WHILE: Duration = Duration::from_secs(60);

/// Properties that two events share when they are folded into one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sameness {
    /// Kind of the agent's request; none for an event without one.
    pub(crate) kind: Option<Kind>,
    /// Set for a permitted request. Permitted requests and refusals have budgets of their own.
    pub(crate) allowed: bool,
    /// The name.
    pub(crate) host: Option<HostName>,
    /// The address.
    pub(crate) address: Option<IpAddr>,
    /// The port, or the type of a DNS question.
    pub(crate) port: Option<u16>,
    /// The protocol's number.
    pub(crate) protocol: u8,
    /// The verdict's reason.
    pub(crate) reason: &'static str,
}

/// The writer of the decision log.
pub(crate) struct Events {
    chain: Chain,
    fold: Mutex<Fold>,
}

/// Takes a lock even after a panic under it: the data behind these locks is whole after every
/// statement.
fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// Makes a log that goes to `out`.
    pub(crate) fn new(workflow: WorkflowId, out: Box<dyn Write + Send>) -> Events {
        Events::bounded(workflow, out, EVENTS_BYTES)
    }

    /// Writes at most so many bytes. Connections that are open when these are used up may still add
    /// their ends.
    fn bounded(workflow: WorkflowId, out: Box<dyn Write + Send>, bound: u64) -> Events {
        let fold = Mutex::new(Fold::new(Instant::now()));
        Events { chain: Chain::new(workflow, out, bound), fold }
    }

    /// Tells whether the log has reached its bound: nothing may go out any more.
    pub(super) fn is_full(&self) -> bool {
        self.chain.is_full()
    }

    /// Counts the lines.
    pub(crate) fn count(&self) -> u64 {
        self.chain.count()
    }

    /// Writes one event, or leaves it to [`Events::pump`] while the reader is slow. When it cannot
    /// be written the process ends, and with it every path out.
    pub(crate) fn write(&self, event: impl Into<Event>) {
        self.chain.write(event.into());
    }

    /// Waits until the log takes lines. `false` when it does not for long: nothing may go out then.
    pub(super) async fn takes_lines(&self) -> bool {
        self.chain.takes_lines().await
    }

    /// Writes an event, and waits until the line is out of the process: whatever ends the guard
    /// then, it is in the log.
    pub(super) async fn write_through(&self, event: impl Into<Event>) {
        let line = self.chain.write(event.into());
        self.chain.written(line).await;
    }

    /// Writes an event unless its like was written within `window`; then it is counted.
    pub(super) fn write_folded<E: Into<Event>>(
        &self,
        same: Sameness,
        window: Duration,
        event: impl FnOnce() -> E,
    ) {
        let (now, strained) = (Instant::now(), self.chain.is_scarce());
        let event = take(&self.fold).first_of_its_kind(same, window, || event().into(), now, strained);
        if let Some(event) = event {
            self.write(event);
        }
    }

    /// Counts one more of what was written within its window, and is counted already; `false` when
    /// this one is not.
    pub(crate) fn repeat(&self, same: &Sameness, now: Instant) -> bool {
        take(&self.fold).repeat(same, now)
    }

    /// Counts events without a line of their own.
    pub(super) fn count_only(&self, access: Access, times: u64) {
        take(&self.fold).count(access.into(), times, Instant::now());
    }

    /// Writes what was counted in windows that are over. To be called a few times a second.
    pub(crate) fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    /// Does [`Events::sweep`] as of a given time.
    fn sweep_at(&self, now: Instant) {
        if self.chain.is_behind() {
            // It goes on being counted.
            return;
        }
        let due = take(&self.fold).sweep(now, self.is_full());
        for event in due {
            self.write(event);
        }
    }

    /// Writes what waits whenever the reader takes it, for ever. To be called on a thread of its
    /// own, with the descriptor that the log goes to.
    pub(super) fn pump(&self, out: BorrowedFd<'_>) {
        self.chain.pump(out);
    }

    /// Writes everything that is still counted, and how it ended, and waits a while for a slow
    /// reader.
    pub(crate) fn finish(&self) {
        let due = take(&self.fold).sweep(Instant::now() + LONG_WHILE * 2, false);
        for event in due {
            self.write(event);
        }
        self.write(Lifecycle::End);
        self.chain.drain();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// Returns the workflow of tests.
    pub(crate) fn workflow() -> WorkflowId {
        "0000002a".parse().unwrap()
    }

    /// A log that a test can read.
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            take(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        /// Returns the lines so far.
        pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
            let bytes = take(&self.0).clone();
            String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }

        /// Forgets the lines so far.
        pub(crate) fn clear(&self) {
            take(&self.0).clear();
        }

        /// Returns the lines as they stand.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(take(&self.0).clone()).unwrap()
        }
    }
}
