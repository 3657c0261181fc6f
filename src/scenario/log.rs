//! The decision log of a case, read when its run is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::met::MadeChanges;
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
    /// Changes that were made, and whether anything met them.
    pub(super) changes: MadeChanges,
    has_end: bool,
    unread: u64,
    is_full: bool,
}

impl LogFacts {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Line) {
        self.id = self.id.or(Some(line.workflow));
        self.changes.add(line);
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::scenario::plan::NetworkPlan;
    use crate::scenario::read::scenario;

    const BEGINNING: &str = r#""kind":"lifecycle","reason""#;

    fn line(seq: u64, fields: &str) -> String {
        format!(
            "{{\"v\":1,\"seq\":{seq},\"time\":\"2026-11-30T12:00:00.000Z\",\"workflow\":\"0000002a\",{fields}}}\n"
        )
    }

    fn read_text(text: &str) -> (CaseOutcome, LogFacts) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut outcome = CaseOutcome::default();
        let facts = read(file.path(), &mut outcome).unwrap();
        (outcome, facts)
    }

    #[test]
    fn a_log_without_its_end_or_with_a_torn_line_is_not_whole() {
        let start = line(0, &format!("{BEGINNING}:\"start\""));
        let ended = line(1, &format!("{BEGINNING}:\"agent-ended\",\"how\":\"exited\",\"exit_status\":3"));
        let end = line(2, &format!("{BEGINNING}:\"end\""));
        let (outcome, _) = read_text(&[start.as_str(), &ended, &end].concat());
        assert_eq!((outcome.log_fault, outcome.ended.map(|end| end.how.exit_status)), (None, Some(Some(3))));
        for (text, fault) in [
            ([start.as_str(), &ended].concat(), "its end is missing"),
            ([start.as_str(), "{}\n", &ended, &end].concat(), "1 lines of it cannot be read"),
            ([start.as_str(), &line(3, &format!("{BEGINNING}:\"log-full\"")), &end].concat(), "its bound"),
        ] {
            let (outcome, _) = read_text(&text);
            assert!(
                outcome.log_fault.as_ref().is_some_and(|said| said.contains(fault)),
                "{:?}",
                outcome.log_fault
            );
        }
    }

    #[test]
    fn planned_steps_are_found_once_for_each_line() {
        let file = "image: a\ncases: [{name: x, expect: {exit: 0}, network: [{at: 0s, do: cut}, \
                    {on: connect a.test, do: cut}, {on: connect a.test, do: restore}, {at: 5s, do: deny}]}]\n";
        let NetworkPlan::Steps(steps) = scenario("s.yml", file).unwrap().cases.remove(0).network else {
            panic!()
        };
        let made = |who: &str| {
            line(1, &format!(r#""kind":"control","verdict":"allow","who":"{who}","what":"net cut""#))
        };
        let missed = |text: String| read_text(&text).1.missed(steps.iter());
        assert_eq!(missed(String::new()).len(), 2, "the end of a condition may be missed");
        assert_eq!(missed(made("plan")), ["`cut` on the first connection to a.test"]);
        assert_eq!(missed([made("plan"), made("plan")].concat()), [] as [String; 0]);
        assert_eq!(missed([made("plan"), made("exec")].concat()).len(), 1, "a person's change is no step");
    }

    #[test]
    fn a_log_that_grows_is_followed_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (mut tail, mut facts) = (Tail::new(), LogFacts::default());
        tail.follow(&path, &mut facts);
        let ready = line(1, &format!("{BEGINNING}:\"ready\""));
        let (first, second) = ready.split_at(20);
        let mut file = File::create(&path).unwrap();
        file.write_all(first.as_bytes()).unwrap();
        tail.follow(&path, &mut facts);
        assert!(facts.ready.is_none() && facts.id.is_none(), "half a line says nothing");
        file.write_all(second.as_bytes()).unwrap();
        tail.follow(&path, &mut facts);
        assert!(facts.ready.is_some() && facts.id.is_some());
    }
}
