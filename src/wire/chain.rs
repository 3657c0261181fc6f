//! The chain of the decision log, as a reader checks it.
//!
//! ```text
//!  line ─▶ seq: the next one? ─▶ prev: the hash of the line before? ─▶ its own hash: the digest so far
//!            └─ no ─────────────────┴─ no ─▶ a finding: what is missing, moved or changed
//! ```
//! The hashes are no secret: who can write the file can forge a log that is whole. Only a digest
//! that was kept elsewhere proves more, and it proves everything before it.

use std::fmt;

use super::event::{Event, Lifecycle, Line};
use super::{LineHash, WorkflowId};

/// Findings that are kept; the others are counted.
const KEPT: usize = 20;

/// Fault of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// This line is no event.
    NoEvent(u64),
    /// The log begins with this number instead of 0.
    NoBeginning(u64),
    /// The first line does not say that a guard started.
    NoStart,
    /// These numbers are missing before this line.
    Missing {
        /// The line.
        line: u64,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The number of this line has been there, or is smaller than the one before.
    Moved(u64),
    /// This line does not carry the hash of the line before: one of them was changed.
    Changed(u64),
    /// This line is of another workflow.
    Other(u64),
    /// The last line was cut off.
    CutOff(u64),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NoEvent(line) => write!(f, "line {line} is no event"),
            Finding::NoBeginning(1) => f.write_str("the beginning is missing: event 0"),
            Finding::NoBeginning(first) => {
                write!(f, "the beginning is missing: events 0 to {}", first.saturating_sub(1))
            }
            Finding::NoStart => f.write_str("line 1 does not say that a guard started"),
            Finding::Missing { line, from, to } if from == to => {
                write!(f, "event {from} is missing before line {line}")
            }
            Finding::Missing { line, from, to } => {
                write!(f, "events {from} to {to} are missing before line {line}")
            }
            Finding::Moved(line) => write!(f, "line {line} is not in its place"),
            Finding::Changed(line) => {
                write!(
                    f,
                    "line {line} does not carry the hash of the line before it: one of them was changed"
                )
            }
            Finding::Other(line) => write!(f, "line {line} is of another workflow"),
            Finding::CutOff(line) => write!(f, "line {line} was cut off"),
        }
    }
}

/// A log, as far as it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    /// Lines.
    pub(crate) lines: u64,
    /// The number of the last event.
    pub(crate) last: Option<u64>,
    /// Hash of the last line.
    pub(crate) digest: Option<LineHash>,
    /// Set when the last line says that the guard ended.
    pub(crate) ended: bool,
    /// The first findings, in their order.
    pub(crate) findings: Vec<Finding>,
    /// Further ones.
    pub(crate) more: u64,
    /// The line whose digest was asked for.
    pub(crate) vouched: Option<u64>,
    workflow: Option<WorkflowId>,
    wanted: Option<String>,
}

impl Checked {
    /// Looks for the line with this digest, `sha256:` before it or not.
    pub(crate) fn looking_for(digest: &str) -> Checked {
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
        Checked { wanted: Some(digest), ..Checked::default() }
    }

    /// Takes in the next line, without its end.
    pub(crate) fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        // The bytes as they stand: what was read is never written anew to be hashed.
        let digest = LineHash::of(line);
        if self.wanted.as_deref() == Some(digest.as_ref()) {
            self.vouched = Some(self.lines);
        }
        let before = self.digest.replace(digest);
        let Some(read) = Line::read(line) else {
            self.ended = false;
            return self.find(Finding::NoEvent(self.lines));
        };
        self.judge(&read, before);
        self.last = Some(read.seq);
        self.ended = read.event == Event::Lifecycle(Lifecycle::End);
        self.workflow.get_or_insert(read.workflow);
    }

    fn judge(&mut self, read: &Line, before: Option<LineHash>) {
        let line = self.lines;
        if self.workflow.is_some_and(|workflow| workflow != read.workflow) {
            self.find(Finding::Other(line));
        }
        match self.last {
            None if line > 1 => {}
            None if read.seq > 0 => self.find(Finding::NoBeginning(read.seq)),
            None => match &read.event {
                Event::Lifecycle(Lifecycle::Start(_)) if read.prev.is_none() => {}
                _ => self.find(Finding::NoStart),
            },
            Some(last) if read.seq <= last => self.find(Finding::Moved(line)),
            Some(last) if read.seq > last + 1 => {
                self.find(Finding::Missing { line, from: last + 1, to: read.seq - 1 });
            }
            Some(_) if read.prev != before => self.find(Finding::Changed(line)),
            Some(_) => {}
        }
    }

    /// Says that the log ends in the midst of a line.
    pub(super) fn cut_off(&mut self) {
        self.find(Finding::CutOff(self.lines));
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < KEPT { self.findings.push(finding) } else { self.more += 1 }
    }

    /// Checks a whole log.
    pub(crate) fn of(mut self, bytes: &[u8]) -> Checked {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => self.add(line),
                None => {
                    self.add(line);
                    self.cut_off();
                }
            }
        }
        self
    }

    /// Tells whether a digest was asked for and is that of the last line.
    pub(crate) fn is_vouched(&self) -> bool {
        self.vouched == Some(self.lines) && self.lines > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a log of so many lines.
    fn log(lines: u64) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for seq in 0..lines {
            let reason = if seq == 0 { "start" } else { "note" };
            let prev = all.last().map(|line| format!(r#","prev":"{}""#, LineHash::of(line.as_bytes())));
            all.push(format!(
                r#"{{"v":1,"seq":{seq},"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"{reason}"{}}}"#,
                prev.unwrap_or_default()
            ));
        }
        all
    }

    fn check(lines: &[String]) -> Checked {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Checked::default().of(text.as_bytes())
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let good = log(6);
        assert!(check(&good).findings.is_empty());
        type Damage = fn(&mut Vec<String>);
        let cases: [(&str, Damage, Finding); 9] = [
            ("the beginning is gone", |lines| drop(lines.drain(..2)), Finding::NoBeginning(2)),
            ("one is gone", |lines| drop(lines.remove(3)), Finding::Missing { line: 4, from: 3, to: 3 }),
            ("two are gone", |lines| drop(lines.drain(2..4)), Finding::Missing { line: 3, from: 2, to: 3 }),
            ("two are swapped", |lines| lines.swap(2, 3), Finding::Missing { line: 3, from: 2, to: 2 }),
            ("one is there twice", |lines| lines.insert(3, lines[2].clone()), Finding::Moved(4)),
            ("one was changed", |lines| lines[2] = lines[2].replace("note", "nope"), Finding::Changed(4)),
            ("one is no event", |lines| lines[2] = "{".to_owned(), Finding::NoEvent(3)),
            ("the first is another", |lines| lines[0] = lines[0].replace("start", "note"), Finding::NoStart),
            (
                "another's line",
                |lines| lines[2] = lines[2].replace("0000002a", "0000002b"),
                Finding::Other(3),
            ),
        ];
        for (what, damage, expected) in cases {
            let mut lines = good.clone();
            damage(&mut lines);
            let findings = check(&lines).findings;
            assert_eq!(findings.first(), Some(&expected), "{what}: {findings:?}");
        }
        let text = good.join("\n");
        assert_eq!(Checked::default().of(text.as_bytes()).findings, [Finding::CutOff(6)]);
        assert_eq!(Checked::default().of(&text.as_bytes()[..text.len() - 9]).findings[1], Finding::CutOff(6));
    }

    #[test]
    fn only_a_digest_from_elsewhere_proves_that_nothing_is_missing_at_the_end() {
        let good = log(6);
        let digest = check(&good).digest.unwrap();
        let with = |lines: &[String], digest: &str| {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            Checked::looking_for(digest).of(text.as_bytes())
        };
        assert!(with(&good, digest.as_ref()).is_vouched());
        assert!(with(&good, &format!("sha256:{}", digest.as_ref().to_uppercase())).is_vouched());
        // What the chain alone cannot see.
        let cut = with(&good[..4], digest.as_ref());
        assert!(cut.findings.is_empty() && !cut.is_vouched() && cut.vouched.is_none());
        let longer = with(&log(8), digest.as_ref());
        assert!(longer.findings.is_empty() && !longer.is_vouched());
        assert_eq!(longer.vouched, Some(6));
        assert!(!with(&[], digest.as_ref()).is_vouched());
    }

    #[test]
    fn a_hostile_log_fills_no_memory() {
        let checked = Checked::default().of(&b"x\n".repeat(100_000));
        assert_eq!((checked.findings.len(), checked.more), (KEPT, 100_000 - KEPT as u64));
        // The largest number has no next one.
        let last = log(1)[0].replace("\"seq\":0", &format!("\"seq\":{}", u64::MAX));
        assert_eq!(check(&[last.clone(), last]).findings.len(), 2);
    }
}
