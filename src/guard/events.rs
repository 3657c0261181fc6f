//! The decision log: one JSON object a line, chained by hashes.
//!
//! ```text
//!  dns, gate, refused ──Event──▶ fold (repeats of a moment counted) ──▶ seq, time, prev ──▶ stdout, one write a line
//! ```
//!
//! A line that cannot be written ends the guard: nothing is permitted that is not recorded.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use netpolicy::decide::{Reason, Verdict};
use netpolicy::host::HostName;
use netpolicy::policy::Layer;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How long identical refusals are one event.
pub const MOMENT: Duration = Duration::from_secs(1);
/// How long well-known noise, and a name that is asked again, is one event.
pub const LONG_WHILE: Duration = Duration::from_secs(60);
/// Different foldable events that may be written in one moment; the rest are counted.
const AT_MOST_A_MOMENT: u32 = 256;
/// Different foldable events that are remembered at once.
const AT_MOST_REMEMBERED: usize = 8192;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Default)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    /// Who resolved the name.
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
    /// How many like it were not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
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

/// The first of several like events, and how many followed.
struct Folded {
    since: Instant,
    window: Duration,
    more: u64,
    event: Option<Event>,
}

/// Counts repeats.
struct Fold {
    seen: HashMap<Sameness, Folded>,
    moment: Instant,
    written: u32,
    overflow: u64,
}

/// Where the lines go, and what the next one refers to.
struct Chain {
    out: Box<dyn Write + Send>,
    seq: u64,
    prev: Option<String>,
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    seq: u64,
    time: String,
    workflow: &'a str,
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<&'a str>,
}

/// The writer of the decision log.
pub struct Events {
    workflow: String,
    chain: Mutex<Chain>,
    fold: Mutex<Fold>,
}

/// Takes a lock whoever panicked with it: the data behind these locks is whole after every statement.
fn take<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// A log that goes to `out`.
    pub fn new(workflow: &str, out: Box<dyn Write + Send>) -> Events {
        Events {
            workflow: workflow.to_owned(),
            chain: Mutex::new(Chain { out, seq: 0, prev: None }),
            fold: Mutex::new(Fold { seen: HashMap::new(), moment: Instant::now(), written: 0, overflow: 0 }),
        }
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        take(&self.chain).seq
    }

    /// Writes one event. When it cannot be written the process ends, and with it every path out.
    pub fn write(&self, event: &Event) {
        let mut chain = take(&self.chain);
        let line = Line {
            v: 1,
            seq: chain.seq,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            workflow: &self.workflow,
            event,
            prev: chain.prev.as_deref(),
        };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut text| {
            let hash = hex::encode(Sha256::digest(&text));
            text.push(b'\n');
            chain.out.write_all(&text)?;
            chain.out.flush()?;
            Ok(hash)
        });
        match written {
            Ok(hash) => {
                chain.prev = Some(hash);
                chain.seq += 1;
            }
            Err(error) => {
                let _ =
                    writeln!(std::io::stderr(), "ringfence guard: cannot write the decision log: {error}");
                std::process::exit(1);
            }
        }
    }

    /// Writes an event unless its like was written within `window`; then it is counted.
    pub fn write_folded(&self, same: Sameness, window: Duration, event: impl FnOnce() -> Event) {
        if let Some(event) = self.first_of_its_kind(same, window, event) {
            self.write(&event);
        }
    }

    /// Counts one more of what was written within its window, and is counted already; `false` when this one is not.
    pub fn repeat(&self, same: &Sameness, now: Instant) -> bool {
        let mut fold = take(&self.fold);
        match fold.seen.get_mut(same) {
            Some(folded) if folded.event.is_some() && now.duration_since(folded.since) < folded.window => {
                folded.more += 1;
                true
            }
            _ => false,
        }
    }

    /// The event, when it is to be written now.
    fn first_of_its_kind(
        &self,
        same: Sameness,
        window: Duration,
        event: impl FnOnce() -> Event,
    ) -> Option<Event> {
        let now = Instant::now();
        let mut fold = take(&self.fold);
        if let Some(folded) = fold.seen.get_mut(&same) {
            if now.duration_since(folded.since) < folded.window {
                folded.more += 1;
                if folded.event.is_none() {
                    folded.event = Some(event());
                }
                return None;
            }
            // The sweep has not been here yet: what was counted goes with this one.
            let mut event = event();
            let more = std::mem::take(&mut folded.more);
            event.left_out = (more > 0).then_some(more);
            (folded.since, folded.event) = (now, None);
            return Some(event);
        }
        if now.duration_since(fold.moment) >= MOMENT {
            (fold.moment, fold.written) = (now, 0);
        }
        if fold.written >= AT_MOST_A_MOMENT || fold.seen.len() >= AT_MOST_REMEMBERED {
            fold.overflow += 1;
            return None;
        }
        fold.written += 1;
        fold.seen.insert(same, Folded { since: now, window, more: 0, event: None });
        Some(event())
    }

    /// Writes what was counted in windows that are over. To be called a few times a second.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    /// [`Events::sweep`] as of a given time.
    fn sweep_at(&self, now: Instant) {
        let mut due = Vec::new();
        let mut fold = take(&self.fold);
        fold.seen.retain(|_, folded| {
            if now.duration_since(folded.since) < folded.window {
                return true;
            }
            if let Some(mut event) = folded.event.take() {
                // This line is one of them itself.
                event.left_out = (folded.more > 1).then(|| folded.more - 1);
                due.push(event);
            }
            false
        });
        if fold.overflow > 0 && now.duration_since(fold.moment) >= MOMENT {
            let left_out = Some(std::mem::take(&mut fold.overflow) - 1).filter(|more| *more > 0);
            due.push(Event { left_out, ..Event::denied(Kind::Datagram, Reason::Limit) });
        }
        drop(fold);
        for event in due {
            self.write(&event);
        }
    }

    /// Adds refusals that nobody could see to the count of the moment.
    pub fn lost(&self, count: u64) {
        take(&self.fold).overflow += count;
    }

    /// Writes everything that is still counted, at the end.
    pub fn finish(&self) {
        self.sweep_at(Instant::now() + LONG_WHILE + MOMENT);
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

    fn same(port: u16) -> Sameness {
        Sameness {
            kind: Kind::Connect,
            host: None,
            address: None,
            port: Some(port),
            protocol: 6,
            reason: "port",
        }
    }

    #[test]
    fn each_line_carries_the_hash_of_the_one_before_and_no_absent_field() {
        let log = Log::default();
        let events = Events::new("w1", Box::new(log.clone()));
        events.write(&Event::lifecycle("start"));
        events.write(&Event::denied(Kind::Dns, Reason::NotAllowed));
        let text = log.text();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(first.starts_with(r#"{"v":1,"seq":0,"time":""#), "{first}");
        assert!(!first.contains("null") && !first.contains("prev"), "{first}");
        let second: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!(second["prev"], hex::encode(Sha256::digest(first.as_bytes())));
        assert_eq!(second["reason"], "not-allowed");
        assert_eq!(second["verdict"], "deny");
    }

    #[test]
    fn a_flood_of_one_thing_becomes_one_event_and_a_count() {
        let log = Log::default();
        let events = Events::new("w1", Box::new(log.clone()));
        for _ in 0..1000 {
            events.write_folded(same(22), MOMENT, || Event::denied(Kind::Connect, Reason::Port));
        }
        assert_eq!(log.lines().len(), 1);
        events.sweep_at(Instant::now() + MOMENT);
        let lines = log.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["left_out"], 998);
    }

    #[test]
    fn a_flood_of_different_things_is_bounded_too() {
        let log = Log::default();
        let events = Events::new("w1", Box::new(log.clone()));
        for port in 0..10_000 {
            events.write_folded(same(port), MOMENT, || Event::denied(Kind::Connect, Reason::Port));
        }
        events.finish();
        let lines = log.lines();
        assert!(lines.len() < 1000, "{}", lines.len());
        assert!(lines.iter().any(|line| line["left_out"].as_u64().unwrap_or(0) > 9000));
    }
}
