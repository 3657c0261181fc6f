//! The decision log: one JSON object a line, chained by hashes.
//!
//! ```text
//!  goes out, goes upstream, live change, lifecycle ─────────────────────────┬─▶ seq, time, prev ─▶ stdout, one write a line
//!  refused, or answered by the guard itself ─▶ fold (repeats, budget, count)┘
//! ```
//!
//! What goes out has a line of its own, always, and waits until that line is written. Refusals have a budget, and what
//! it leaves out is counted by kind. A line that cannot be written ends the guard.

mod chain;
mod fold;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netpolicy::decide::{Reason, Verdict};
use netpolicy::host::HostName;
use netpolicy::policy::Layer;
use serde::Serialize;

use self::chain::Chain;
use self::fold::Fold;
use crate::handover::EVENTS_BYTES;

/// How long identical refusals are one event.
pub const MOMENT: Duration = Duration::from_secs(1);
/// How long well-known noise, and a name that is asked again, is one event.
pub const LONG_WHILE: Duration = Duration::from_secs(60);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A DNS question.
    Dns,
    /// A connection, or the attempt at one.
    #[default]
    Connect,
    /// What the ClientHello of a connection said.
    Tls,
    /// What a request said.
    Http,
    /// A packet that is not TCP.
    Datagram,
    /// A change that a person made, or wanted to.
    Control,
    /// The guard itself.
    Lifecycle,
}

/// Start or end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It was opened.
    Open,
    /// It ended.
    Close,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Permitted.
    Allow,
    /// Refused.
    Deny,
}

/// One line, without what the writer adds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// Start or end, where it has both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Joins open and close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Decision>,
    /// Why, from the closed list; for the life cycle what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The address: the real one for a connection, the virtual one for a DNS answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tls`, `http`, `tcp`, `auto`, `udp`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Who resolved the name. On a line about DNS: who is asked about it now, outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<&'static str>,
    /// The deciding rule's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The deciding rule's layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The file that the deciding rule stands in, or the option that it was given by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// By what way a change came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<&'static str>,
    /// The change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// From the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// To the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// How long it was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// How many like it were not written: the line stands for one more than these. A line that counts different
    /// targets names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// The limit behind `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Text of the error behind `resolve-failed` and `connect-failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Digest of the policy; first line, and where it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Id of the agent's image; first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The same by the digest under which a registry gave it; first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Product and version of the engine; first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The virtual addresses; first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<BTreeMap<String, IpAddr>>,
}

impl Event {
    /// An event of the guard's own life.
    pub fn lifecycle(what: &str) -> Event {
        Event { kind: Kind::Lifecycle, reason: Some(what.to_owned()), ..Event::default() }
    }

    /// A refusal.
    pub fn denied(kind: Kind, reason: Reason) -> Event {
        Event { kind, verdict: Some(Decision::Deny), reason: Some(reason.to_string()), ..Event::default() }
    }

    /// A permission.
    pub fn allowed(kind: Kind) -> Event {
        Event {
            kind,
            verdict: Some(Decision::Allow),
            reason: Some(Reason::Allowed.to_string()),
            ..Event::default()
        }
    }

    /// Adds the rule that decided.
    pub fn by(mut self, verdict: &Verdict) -> Event {
        if let Some(rule) = &verdict.rule {
            self.rule = Some(rule.origin.text.clone());
            self.layer = Some(rule.origin.layer);
            self.file = Some(rule.origin.file.clone());
            self.line = (rule.origin.line > 0).then_some(rule.origin.line);
        }
        self
    }
}

/// What makes two events the same to the fold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sameness {
    /// What it is about.
    pub kind: Kind,
    /// Whether it was permitted. Permitted ones and refusals have budgets of their own.
    pub allowed: bool,
    /// The name.
    pub host: Option<HostName>,
    /// The address.
    pub address: Option<IpAddr>,
    /// The port, or the type of a DNS question.
    pub port: Option<u16>,
    /// The protocol's number.
    pub protocol: u8,
    /// The verdict's reason.
    pub reason: &'static str,
}

/// The writer of the decision log.
pub struct Events {
    chain: Chain,
    fold: Mutex<Fold>,
}

/// Takes a lock whoever panicked with it: the data behind these locks is whole after every statement.
fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// A log that goes to `out`.
    pub fn new(workflow: &str, out: Box<dyn Write + Send>) -> Events {
        Events::bounded(workflow, out, EVENTS_BYTES)
    }

    /// The same of so many bytes. What is open when they are used up may add its end.
    fn bounded(workflow: &str, out: Box<dyn Write + Send>, bound: u64) -> Events {
        let fold = Mutex::new(Fold::new(Instant::now()));
        Events { chain: Chain::new(workflow, out, bound), fold }
    }

    /// Whether the log has reached its bound: nothing may go out any more.
    pub fn is_full(&self) -> bool {
        self.chain.is_full()
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.chain.count()
    }

    /// Writes one event, or leaves it to [`Events::pump`] while the reader is slow. When it cannot be written the
    /// process ends, and with it every path out.
    pub fn write(&self, event: &Event) {
        self.chain.write(event);
    }

    /// Waits until the log takes lines. `false` when it does not for long: nothing may go out then.
    pub async fn takes_lines(&self) -> bool {
        self.chain.takes_lines().await
    }

    /// Writes an event, and waits until the line is out of the process: whatever ends the guard then, it is in the log.
    pub async fn write_through(&self, event: &Event) {
        let line = self.chain.write(event);
        self.chain.written(line).await;
    }

    /// Writes an event unless its like was written within `window`; then it is counted.
    pub fn write_folded(&self, same: Sameness, window: Duration, event: impl FnOnce() -> Event) {
        let (now, strained) = (Instant::now(), self.chain.is_scarce());
        let event = take(&self.fold).first_of_its_kind(same, window, event, now, strained);
        if let Some(event) = event {
            self.write(&event);
        }
    }

    /// Counts one more of what was written within its window, and is counted already; `false` when this one is not.
    pub fn repeat(&self, same: &Sameness, now: Instant) -> bool {
        take(&self.fold).repeat(same, now)
    }

    /// Counts events without a line of their own.
    pub fn count_only(&self, event: Event, times: u64) {
        take(&self.fold).count(event, times, Instant::now());
    }

    /// Writes what was counted in windows that are over. To be called a few times a second.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    /// [`Events::sweep`] as of a given time.
    fn sweep_at(&self, now: Instant) {
        if self.chain.is_behind() {
            // It goes on being counted.
            return;
        }
        let due = take(&self.fold).sweep(now, self.is_full());
        for event in due {
            self.write(&event);
        }
    }

    /// Writes what waits whenever the reader takes it, for ever. To be called on a thread of its own, with the
    /// descriptor that the log goes to.
    pub fn pump(&self, out: BorrowedFd<'_>) {
        self.chain.pump(out);
    }

    /// Writes everything that is still counted, and how it ended, and waits a while for a slow reader.
    pub fn finish(&self) {
        let due = take(&self.fold).sweep(Instant::now() + LONG_WHILE * 2, false);
        for event in due {
            self.write(&event);
        }
        self.write(&Event::lifecycle("end"));
        self.chain.drain();
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    /// A log that a test can read.
    #[derive(Clone, Default)]
    pub struct Log(Arc<Mutex<Vec<u8>>>);

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
        /// The lines so far.
        pub fn lines(&self) -> Vec<serde_json::Value> {
            let bytes = take(&self.0).clone();
            String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }

        /// Forgets the lines so far.
        pub fn clear(&self) {
            take(&self.0).clear();
        }

        /// The lines as they stand.
        pub fn text(&self) -> String {
            String::from_utf8(take(&self.0).clone()).unwrap()
        }
    }
}
