//! Events without a line of their own: repeats, and those beyond the budget.
//!
//! ```text
//!  event ─┬─ its like was written within the window ─▶ counted with it ───────────────┐
//!         ├─ budget left ─▶ a line                                                    ├─▶ sweep ─▶ lines that count
//!         └─ none left ───▶ counted by kind, reason and, for as many as fit, target ──┘
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netpolicy::decide::Reason;
use netpolicy::host::HostName;

use super::{LONG_WHILE, MOMENT, Sameness};
use crate::wire::event::{Access, Decision, Event, Kind, Known, Lifecycle, Note, Observation, Transport};

/// Lines of different events at once, for refusals and for answers each, and how many a second come
/// back after that.
const BURST: f64 = 256.0;
const PER_SECOND: f64 = 16.0;
/// Different events that are remembered at once.
const REMEMBERED: usize = 8192;
/// Targets that are counted one by one until the next sweep; the others are counted together.
const TARGETS: usize = 64;

/// Time between two lines with counts once the log is full.
const AFTER_THE_END: Duration = Duration::from_secs(600);

/// The first of several like events, and how many followed.
struct Folded {
    since: Instant,
    window: Duration,
    more: u64,
    event: Option<Event>,
}

/// Lines that may be written.
struct Budget {
    left: f64,
    filled: Instant,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget { left: BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gone = now.saturating_duration_since(self.filled);
        self.left = (self.left + gone.as_secs_f64() * PER_SECOND).min(BURST);
        self.filled = now;
        let good = self.left >= 1.0;
        if good {
            self.left -= 1.0;
        }
        good
    }
}

/// Properties that events without a line have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Common {
    Access {
        kind: Kind,
        verdict: Option<Known<Decision>>,
        reason: Option<Known<Reason>>,
        limit: Option<String>,
        protocol: Option<Known<Transport>>,
        target: Option<(Option<HostName>, Option<IpAddr>)>,
    },
    Note(Known<Observation>),
}

/// Counts.
pub(super) struct Fold {
    seen: HashMap<Sameness, Folded>,
    refusals: Budget,
    answers: Budget,
    left_out: BTreeMap<Common, u64>,
    /// Number of these that name their target.
    targets: usize,
    /// Time since which events are counted, and the pause until the counts are written: longer
    /// while counting goes on.
    counting: Option<Instant>,
    pause: Duration,
}

impl Fold {
    pub(super) fn new(now: Instant) -> Fold {
        Fold {
            seen: HashMap::new(),
            refusals: Budget::new(now),
            answers: Budget::new(now),
            left_out: BTreeMap::new(),
            targets: 0,
            counting: None,
            pause: MOMENT,
        }
    }

    /// Counts one more of what was written within its window, and is counted already; `false` when
    /// this one is not.
    pub(super) fn repeat(&mut self, same: &Sameness, now: Instant) -> bool {
        match self.seen.get_mut(same) {
            Some(folded) if folded.event.is_some() && now.duration_since(folded.since) < folded.window => {
                folded.more += 1;
                true
            }
            _ => false,
        }
    }

    /// Returns the event, when it is to be written now. No new event is written while the log is
    /// `strained`.
    pub(super) fn first_of_its_kind(
        &mut self,
        same: Sameness,
        window: Duration,
        event: impl FnOnce() -> Event,
        now: Instant,
        strained: bool,
    ) -> Option<Event> {
        if let Some(folded) = self.seen.get_mut(&same) {
            if strained || now.duration_since(folded.since) < folded.window {
                folded.more += 1;
                if folded.event.is_none() {
                    folded.event = Some(event());
                }
                return None;
            }
            // The sweep has not been here yet: what was counted goes with this one.
            let mut event = event();
            event.leave_out(std::mem::take(&mut folded.more));
            (folded.since, folded.event) = (now, None);
            return Some(event);
        }
        let budget = if same.allowed { &mut self.answers } else { &mut self.refusals };
        if strained || self.seen.len() >= REMEMBERED || !budget.take(now) {
            self.count(event(), 1, now);
            return None;
        }
        self.seen.insert(same, Folded { since: now, window, more: 0, event: None });
        Some(event())
    }

    /// Counts events without a line.
    pub(super) fn count(&mut self, event: Event, times: u64, now: Instant) {
        if times == 0 {
            return;
        }
        let Some(mut common) = Common::of(event) else { return };
        self.counting.get_or_insert(now);
        let known = self.left_out.contains_key(&common);
        if let Common::Access { target: target @ Some(_), .. } = &mut common
            && !known
        {
            if self.targets < TARGETS {
                self.targets += 1;
            } else {
                *target = None;
            }
        }
        let count = self.left_out.entry(common).or_default();
        *count = count.saturating_add(times);
    }

    /// Returns the lines for everything that was counted in windows that are over.
    pub(super) fn sweep(&mut self, now: Instant, full: bool) -> Vec<Event> {
        let mut due = Vec::new();
        self.seen.retain(|_, folded| {
            if now.duration_since(folded.since) < folded.window {
                return true;
            }
            if let Some(mut event) = folded.event.take() {
                // This line is one of them itself.
                event.leave_out(folded.more.saturating_sub(1));
                due.push(event);
            }
            false
        });
        match self.counting {
            Some(since) if now.duration_since(since) >= if full { AFTER_THE_END } else { self.pause } => {
                due.extend(
                    std::mem::take(&mut self.left_out).into_iter().map(|(common, times)| common.line(times)),
                );
                (self.targets, self.counting) = (0, None);
                self.pause = (self.pause * 2).min(LONG_WHILE);
            }
            Some(_) => {}
            None => self.pause = MOMENT,
        }
        due
    }
}

impl Common {
    /// Returns what is counted of an event. Steps of the run and changes are written one by one,
    /// and counted never.
    fn of(event: Event) -> Option<Common> {
        match event {
            Event::Access(Access { kind, verdict, reason, limit, protocol, host, address, .. }) => {
                let target = (host.is_some() || address.is_some()).then_some((host, address));
                Some(Common::Access { kind, verdict, reason, limit, protocol, target })
            }
            Event::Lifecycle(Lifecycle::Note(note)) => Some(Common::Note(note.reason)),
            Event::Lifecycle(_) | Event::Control(_) | Event::Other(_) => None,
        }
    }

    fn line(self, times: u64) -> Event {
        let mut event: Event = match self {
            Common::Access { kind, verdict, reason, limit, protocol, target } => {
                let (host, address) = target.unwrap_or_default();
                Access { kind, verdict, reason, limit, protocol, host, address, ..Access::default() }.into()
            }
            Common::Note(reason) => Note { reason, what: None, left_out: None }.into(),
        };
        event.leave_out(times.saturating_sub(1));
        event
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Log, workflow};
    use super::super::{Events, take};
    use super::*;

    fn same(port: u16) -> Sameness {
        Sameness {
            kind: Some(Kind::Connect),
            allowed: false,
            host: None,
            address: None,
            port: Some(port),
            protocol: 6,
            reason: "port",
        }
    }

    fn logged() -> (Events, Log) {
        let log = Log::default();
        (Events::new(workflow(), Box::new(log.clone())), log)
    }

    #[test]
    fn a_flood_of_one_thing_becomes_one_event_and_a_count() {
        let (events, log) = logged();
        for _ in 0..1000 {
            events.write_folded(same(22), MOMENT, || Access::denied(Kind::Connect, Reason::Port));
        }
        assert_eq!(log.lines().len(), 1);
        events.sweep_at(Instant::now() + MOMENT);
        let lines = log.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["left_out"], 998);
    }

    #[test]
    fn what_the_budget_leaves_out_is_counted_by_kind_reason_and_target() {
        let now = Instant::now();
        let mut fold = Fold::new(now);
        let mut lines = Vec::new();
        let mut refused = |port: u16, host: &str, reason| {
            let event = || Access { host: host.parse().ok(), ..Access::denied(Kind::Connect, reason) }.into();
            lines.extend(fold.first_of_its_kind(same(port), MOMENT, event, now, false));
        };
        for port in 0..10_000 {
            refused(port, "decoy.test", Reason::Port);
        }
        for port in 10_000..10_050 {
            refused(port, "target.test", Reason::NotAllowed);
        }
        // More targets than are counted one by one.
        for port in 20_000..20_500 {
            refused(port, &format!("n{port}.test"), Reason::NotAllowed);
        }
        assert_eq!(lines.len(), 256);
        let counts = fold.sweep(now + MOMENT, false);
        let stand_for = |host: Option<&str>, reason: Reason| -> u64 {
            let accesses = counts.iter().map(|event| match event {
                Event::Access(access) => access,
                other => panic!("{other:?}"),
            });
            let of_it = accesses.filter(|access| {
                access.host.as_ref().map(HostName::as_str) == host && access.reason == Some(reason.into())
            });
            of_it.map(|access| 1 + access.left_out.unwrap_or(0)).sum()
        };
        assert_eq!(counts.len(), TARGETS + 1);
        assert_eq!(stand_for(Some("decoy.test"), Reason::Port), 10_000 - 256);
        assert_eq!(stand_for(Some("target.test"), Reason::NotAllowed), 50);
        assert_eq!(stand_for(Some("n20000.test"), Reason::NotAllowed), 1);
        assert_eq!(stand_for(None, Reason::NotAllowed), 500 - 62);
    }

    #[test]
    fn refusals_take_no_line_of_answers_and_the_rest_of_the_log_grows_slowly() {
        let (events, log) = logged();
        for port in 0..9000 {
            events.write_folded(same(port), MOMENT, || Access::denied(Kind::Connect, Reason::Port));
        }
        let before = log.lines().len();
        let answer = Sameness { allowed: true, ..same(1) };
        events.write_folded(answer, MOMENT, || Access::allowed(Kind::Dns));
        assert_eq!(log.lines().len(), before + 1);
        // An hour of a flood of different things.
        let begin = Instant::now();
        let mut fold = Fold::new(begin);
        let mut lines = 0;
        for tick in 0..4 * 3600 {
            let now = begin + MOMENT * tick / 4;
            for port in 0..250 {
                let same =
                    Sameness { port: Some(u16::try_from(tick % 200).unwrap() * 250 + port), ..same(0) };
                let event = || Access::denied(Kind::Connect, Reason::Port).into();
                lines += usize::from(fold.first_of_its_kind(same, MOMENT, event, now, false).is_some());
            }
            lines += fold.sweep(now, false).len();
        }
        assert!((3600 * 10..3600 * 20).contains(&lines), "{lines}");
    }

    #[test]
    fn what_is_counted_only_is_told_at_the_end_too() {
        let (events, log) = logged();
        events.count_only(Access::denied(Kind::Datagram, Reason::Limit), 7);
        events.finish();
        let lines = log.lines();
        assert_eq!((&lines[0]["reason"], &lines[0]["left_out"]), (&"limit".into(), &6.into()));
        assert_eq!(lines[1]["reason"], "end");
        assert!(take(&events.fold).left_out.is_empty());
    }
}
