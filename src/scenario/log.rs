//! The decision log of a case, read when its run is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::outcome::{CaseOutcome, LoggedEnd};
use super::plan::{Moment, Step};
use crate::wire::WorkflowId;
use crate::wire::event::{Event, Lifecycle, Line, Observation, Time};

/// The longest line that is read: the first one has all virtual addresses.
const LONGEST: u64 = 33 << 20;

/// Facts of a log beside those that are judged.
#[derive(Debug, Default)]
pub(super) struct LogFacts {
    /// Id of the run.
    pub(super) id: Option<WorkflowId>,
    /// Time at which the guard was ready: the agent starts next.
    pub(super) ready: Option<Time>,
    /// Planned changes that were made, as they are written in the log.
    pub(super) planned: Vec<String>,
    has_end: bool,
    unread: u64,
    is_full: bool,
}

impl LogFacts {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Line) {
        self.id = self.id.or(Some(line.workflow));
        match &line.event {
            Event::Control(control) if control.is_planned() => self.planned.extend(control.what.clone()),
            Event::Lifecycle(Lifecycle::Ready) => self.ready = Some(line.time),
            Event::Lifecycle(Lifecycle::End) => self.has_end = true,
            Event::Lifecycle(step) if step.is_note(Observation::LogFull) => self.is_full = true,
            _ => {}
        }
    }

    /// Says why the log is not whole; none where it is.
    fn fault(&self) -> Option<String> {
        match () {
            () if self.is_full => Some("it has reached its bound".to_owned()),
            () if self.unread > 0 => Some(format!("{} lines of it cannot be read", self.unread)),
            () if !self.has_end => Some("its end is missing".to_owned()),
            () => None,
        }
    }

    /// Takes the planned steps that came out of a list: each by one line.
    pub(super) fn missed<'s>(&self, steps: impl Iterator<Item = &'s Step>) -> Vec<String> {
        let mut made = self.planned.clone();
        let mut missed = Vec::new();
        for step in steps.filter(|step| !matches!(step.when, Moment::After(_))) {
            let what = step.change.change().to_string();
            match made.iter().position(|made| *made == what) {
                Some(position) => _ = made.swap_remove(position),
                None if step.is_restore() => {}
                None => missed.push(step.to_string()),
            }
        }
        missed
    }
}

/// Reads a log to its end.
pub(super) fn read(path: &Path, outcome: &mut CaseOutcome) -> std::io::Result<LogFacts> {
    let mut facts = LogFacts::default();
    let mut lines = BufReader::new(File::open(path)?);
    let mut text = Vec::new();
    loop {
        text.clear();
        if (&mut lines).take(LONGEST).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        let Some(line) = Line::read(text.strip_suffix(b"\n").unwrap_or(&text)) else {
            facts.unread += 1;
            continue;
        };
        facts.add(&line);
        outcome.began.get_or_insert(line.time);
        outcome.attempts.add(&line);
        if let Event::Lifecycle(Lifecycle::AgentEnded(how)) = &line.event {
            outcome.ended = Some(LoggedEnd { seq: line.seq, time: line.time, how: how.clone() });
        }
    }
    outcome.log_fault = facts.fault();
    Ok(facts)
}

/// Lines of a log that is still written.
#[derive(Debug)]
pub(super) struct Tail {
    file: Option<File>,
    pending: Vec<u8>,
}

impl Tail {
    /// Begins at the beginning.
    pub(super) fn new() -> Tail {
        Tail { file: None, pending: Vec::new() }
    }

    /// Adds the lines that were written since the last time. A log that is not there yet has none.
    pub(super) fn follow(&mut self, path: &Path, facts: &mut LogFacts) {
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let looked_at = self.pending.len();
        // What cannot be read now is read the next time.
        let _ = file.take(LONGEST).read_to_end(&mut self.pending);
        let Some(end) = self.pending[looked_at..].iter().rposition(|byte| *byte == b'\n') else { return };
        let whole: Vec<u8> = self.pending.drain(..=looked_at + end).collect();
        for text in whole.split(|byte| *byte == b'\n') {
            if let Some(line) = Line::read(text) {
                facts.add(&line);
            }
        }
    }
}
