//! The chain of lines, and their way out of the process.
//!
//! ```text
//!  write ─▶ line (seq, time, prev) ─▶ taken at once ─────────────────▶ stdout
//!                                └─ not: waits in its order ─▶ pump ──┘   who sends something out waits for its line
//! ```
//!
//! The pipe never blocks a thread: the heartbeat goes on, refusals are counted, and only what would
//! go out stands still while the engine is slow.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::take;
use crate::inside::output;
use crate::wire::event::{Event, Line};
use crate::wire::{LineHash, WorkflowId};

/// Lines that may wait for a slow reader before nothing new may go out. What is open already may
/// add to them.
const BEHIND: usize = 256;
/// Time that something which would go out waits for the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that the end of the guard waits for the log.
const LAST: Duration = Duration::from_secs(5);

/// Writer of the lines, and the hash that the next line refers to.
pub(super) struct Chain {
    workflow: WorkflowId,
    bound: u64,
    full: AtomicBool,
    state: Mutex<State>,
    /// Wakes the pump.
    waiting: Condvar,
    /// Wakes who waits for the reader.
    progress: Notify,
}

struct State {
    out: Box<dyn Write + Send>,
    seq: u64,
    prev: Option<LineHash>,
    /// Lines that the reader did not take yet.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first line that were written.
    taken: usize,
    /// All lines together, in bytes.
    bytes: u64,
}

impl State {
    /// Counts the lines that are written.
    fn written(&self) -> u64 {
        self.seq - u64::try_from(self.waiting.len()).unwrap_or(u64::MAX)
    }

    /// Writes as much as the reader takes.
    fn flush(&mut self) -> std::io::Result<()> {
        while let Some(line) = self.waiting.front() {
            match self.out.write(&line[self.taken..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.taken += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.taken == line.len() {
                self.waiting.pop_front();
                self.taken = 0;
            }
        }
        Ok(())
    }
}

impl Chain {
    pub(super) fn new(workflow: WorkflowId, out: Box<dyn Write + Send>, bound: u64) -> Chain {
        let state = State { out, seq: 0, prev: None, waiting: VecDeque::new(), taken: 0, bytes: 0 };
        Chain {
            workflow,
            bound,
            full: AtomicBool::new(false),
            state: Mutex::new(state),
            waiting: Condvar::new(),
            progress: Notify::new(),
        }
    }

    /// Counts the lines.
    pub(super) fn count(&self) -> u64 {
        take(&self.state).seq
    }

    /// Tells whether the reader is so far behind that nothing is added but what went out.
    pub(super) fn is_behind(&self) -> bool {
        take(&self.state).waiting.len() >= BEHIND
    }

    /// Tells whether refusals get no line any more: the rest of the log is for what goes out.
    pub(super) fn is_scarce(&self) -> bool {
        let state = take(&self.state);
        state.waiting.len() >= BEHIND || state.bytes >= self.bound / 2
    }

    /// Tells whether the log has reached its bound: nothing goes out any more.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Adds a line, and says how many there are with it. When it cannot be written the process
    /// ends.
    pub(super) fn write(&self, event: Event) -> u64 {
        let mut state = take(&self.state);
        let line = Line::now(state.seq, self.workflow, event, state.prev.take());
        let behind = !state.waiting.is_empty();
        let added = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut text| {
            state.prev = Some(LineHash::of(&text));
            text.push(b'\n');
            state.seq += 1;
            state.bytes = state.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
            state.waiting.push_back(text);
            state.flush()
        });
        if let Err(error) = added {
            give_up(&error);
        }
        if !state.waiting.is_empty() {
            self.waiting.notify_one();
        } else if behind {
            self.progress.notify_waiters();
        }
        self.full.fetch_or(state.bytes >= self.bound, Ordering::Relaxed);
        state.seq
    }

    /// Waits until fewer lines wait than may; `false` after [`PATIENCE`].
    pub(super) async fn takes_lines(&self) -> bool {
        timeout(PATIENCE, self.until(|state| state.waiting.len() < BEHIND)).await.is_ok()
    }

    /// Waits until so many lines are out.
    pub(super) async fn written(&self, lines: u64) {
        self.until(|state| state.written() >= lines).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let progress = self.progress.notified();
            if reached(&take(&self.state)) {
                return;
            }
            progress.await;
        }
    }

    /// Writes what waits, as the reader takes it.
    pub(super) fn pump(&self, out: BorrowedFd<'_>) {
        loop {
            let mut state = take(&self.state);
            while state.waiting.is_empty() {
                state = self.waiting.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            // Bounded, so that a descriptor that cannot be polled is tried all the same.
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::from_borrowed_fd(out, PollFlags::OUT)], Some(&second));
            self.flush();
        }
    }

    /// Tries once to write what waits.
    pub(super) fn flush(&self) {
        if let Err(error) = take(&self.state).flush() {
            give_up(&error);
        }
        self.progress.notify_waiters();
    }

    /// Waits for the reader at the end.
    pub(super) fn drain(&self) {
        let until = Instant::now() + LAST;
        while !take(&self.state).waiting.is_empty() && Instant::now() < until {
            self.flush();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Ends the process: what cannot be recorded must not happen.
fn give_up(error: &std::io::Error) {
    output::complain("guard", format_args!("cannot write the decision log: {error}"));
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use netpolicy::decide::Reason;

    use super::super::tests::{Log, workflow};
    use super::super::{Events, MOMENT, Sameness};
    use super::*;
    use crate::wire::event::{Access, Kind, Lifecycle, Note, Observation};

    /// A reader that takes so many more bytes.
    #[derive(Clone, Default)]
    struct Slow {
        log: Log,
        takes: Arc<AtomicUsize>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let length = bytes.len().min(self.takes.load(Ordering::SeqCst));
            if length == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.takes.fetch_sub(length, Ordering::SeqCst);
            self.log.write(&bytes[..length])
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_carries_the_hash_of_the_one_before_and_no_absent_field() {
        let log = Log::default();
        let events = Events::new(workflow(), Box::new(log.clone()));
        events.write(Lifecycle::Start(Box::default()));
        events.write(Access::denied(Kind::Dns, Reason::NotAllowed));
        let text = log.text();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(first.starts_with(r#"{"v":1,"seq":0,"time":""#), "{first}");
        assert!(!first.contains("null") && !first.contains("prev"), "{first}");
        let second: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!(second["prev"], LineHash::of(first.as_bytes()).to_string());
        assert_eq!(second["reason"], "not-allowed");
        assert_eq!(second["verdict"], "deny");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_holds_up_what_goes_out_and_nothing_else() {
        let reader = Slow::default();
        let events = Arc::new(Events::new(workflow(), Box::new(reader.clone())));
        let out = Access::allowed(Kind::Connect);
        // It waits until its own line is taken whole.
        let going = tokio::spawn({
            let events = Arc::clone(&events);
            let out = out.clone();
            async move { events.write_through(out).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!going.is_finished());
        reader.takes.store(40, Ordering::SeqCst);
        events.chain.flush();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!going.is_finished(), "a part of a line is none");
        reader.takes.store(1 << 20, Ordering::SeqCst);
        events.chain.flush();
        going.await.unwrap();
        // Refusals never wait, and are counted once many lines do.
        reader.takes.store(0, Ordering::SeqCst);
        for port in 0..2000u16 {
            let same = Sameness {
                kind: Some(Kind::Connect),
                allowed: port % 2 == 0,
                host: None,
                address: None,
                port: Some(port),
                protocol: 6,
                reason: "",
            };
            events.write_folded(same, MOMENT, || Access::denied(Kind::Connect, Reason::Port));
        }
        assert!(take(&events.chain.state).waiting.len() <= BEHIND);
        assert!(!events.takes_lines().await, "nothing may go out without its line");
        reader.takes.store(1 << 30, Ordering::SeqCst);
        events.chain.flush();
        assert!(events.takes_lines().await);
        events.finish();
        let lines = reader.log.lines();
        let count: u64 = lines.iter().map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum();
        assert_eq!(count, 1 + 2000 + 1, "and the end");
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(line["seq"], number);
        }
    }

    #[test]
    fn the_pump_writes_what_a_full_pipe_did_not_take() {
        use std::io::Read;
        use std::os::fd::AsFd;

        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let events = Arc::new(Events::new(workflow(), Box::new(writer.try_clone().unwrap())));
        for _ in 0..2000 {
            events.write(Note::new(Observation::PutBack, "x".repeat(100)));
        }
        assert!(events.chain.is_behind());
        let pumping = Arc::clone(&events);
        std::thread::spawn(move || pumping.pump(writer.as_fd()));
        let (mut text, mut part) = (Vec::new(), [0; 4096]);
        while text.iter().filter(|byte| **byte == b'\n').count() < 2000 {
            let length = reader.read(&mut part).unwrap();
            text.extend_from_slice(&part[..length]);
        }
        assert!(!events.chain.is_behind());
    }

    #[test]
    fn beyond_half_its_bound_a_log_is_for_what_goes_out_and_beyond_all_of_it_nothing_does() {
        let log = Log::default();
        let events = Events::bounded(workflow(), Box::new(log.clone()), 4000);
        let refused = |port: u16| {
            let same = Sameness {
                kind: Some(Kind::Connect),
                allowed: false,
                host: None,
                address: None,
                port: Some(port),
                protocol: 6,
                reason: "",
            };
            events.write_folded(same, MOMENT, || Access::denied(Kind::Connect, Reason::Port));
        };
        (0..100).for_each(refused);
        let half = log.text().len();
        assert!((2000..2300).contains(&half) && !events.is_full(), "{half}");
        while !events.is_full() {
            events.write(Access::allowed(Kind::Connect));
        }
        assert!((4000..4300).contains(&log.text().len()));
        // What is open may still say how it ends.
        events.write(Access::allowed(Kind::Connect));
        events.finish();
        let count: u64 = log.lines().iter().map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum();
        assert!(count > 100 + 10, "{count}");
    }
}
