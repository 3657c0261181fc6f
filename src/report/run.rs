//! One run, added up from its decision log.

use std::collections::BTreeMap;

use netpolicy::decide::Reason;

use super::remedy;
use super::targets::{ReachedTarget, RefusedTarget, RuleUse};
use super::timeline::Timeline;
use crate::supervisor::run::attempts::Attempts;
use crate::supervisor::run::summary::{reason, target};
use crate::wire::event::{
    Access, AgentEnded, Control, Event, Known, Lifecycle, Line, Phase, Ruling, Start, Time,
};
use crate::wire::{PolicyDigest, WorkflowId};

/// Different targets of each kind that are remembered of a run: an agent may try any number.
const MOST: usize = 20_000;
/// Different rules that are remembered.
const MOST_RULES: usize = 2000;
/// Characters of a text that are kept: a log of others may hold any.
const LONGEST: usize = 400;
/// Changes of the policy that are remembered.
const MOST_CHANGES: usize = 100;

/// Account of one run.
#[derive(Debug, Default)]
pub(crate) struct RunReport {
    /// The log, as a person named it.
    pub(crate) source: String,
    /// Doubts about the log.
    pub(crate) doubts: Vec<String>,
    /// Id of the run; none where the log has no line.
    pub(crate) id: Option<WorkflowId>,
    /// Start of the run.
    pub(crate) start: Option<Start>,
    /// Digest of the policy in force at the end.
    pub(crate) digest: Option<PolicyDigest>,
    /// Changes of the policy or the conditions: time, change, and whether it was made.
    pub(crate) changes: Vec<(Time, String, bool)>,
    /// End of the agent.
    pub(crate) ended: Option<AgentEnded>,
    /// Time of the first and of the last event.
    pub(crate) span: Option<(Time, Time)>,
    /// Lines that are events.
    pub(crate) events: u64,
    /// Lines that are none.
    pub(crate) unread: u64,
    /// Targets that were reached.
    pub(crate) reached: BTreeMap<String, ReachedTarget>,
    /// Targets that were refused, each with the reason.
    pub(crate) refused: BTreeMap<(String, String), RefusedTarget>,
    /// Rules that decided, each with layer and place.
    pub(crate) rules: BTreeMap<String, RuleUse>,
    /// Totals of the run.
    pub(crate) totals: Totals,
    /// Counts over time; none where nothing was decided.
    pub(crate) timeline: Option<Timeline>,
}

/// Totals of a run, the targets beyond those that are remembered among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// Connections among them that no rule permits: the run was observed.
    pub(crate) observed: u64,
    /// Refusals: each event, and those that a line stands for.
    pub(crate) refusals: u64,
    /// Bytes from the agent.
    pub(crate) bytes_out: u64,
    /// Bytes to the agent.
    pub(crate) bytes_in: u64,
    /// Connections and refusals whose targets are not remembered.
    pub(crate) unlisted: u64,
    /// Changes of the policy or the conditions that are not remembered.
    pub(crate) unlisted_changes: u64,
    /// Decisions by rules that are not remembered.
    pub(crate) unlisted_decisions: u64,
}

impl RunReport {
    /// Reads a log.
    pub(crate) fn of(source: &str, log: &[u8], doubts: Vec<String>) -> RunReport {
        let mut report = RunReport { source: source.to_owned(), doubts, ..RunReport::default() };
        for text in log.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            match Line::read(text) {
                Some(line) => report.add(&line),
                None => report.unread += 1,
            }
        }
        report
    }

    fn add(&mut self, line: &Line) {
        self.events += 1;
        self.id = self.id.or(Some(line.workflow));
        let first = self.span.map_or(line.time, |(first, _)| first.min(line.time));
        let last = self.span.map_or(line.time, |(_, last)| last.max(line.time));
        self.span = Some((first, last));
        match &line.event {
            Event::Access(access) if line.event.is_denied() => self.refuse(line, access),
            Event::Access(access) => match access.phase {
                Some(Known::This(Phase::Open)) => self.open(access, line.time),
                Some(Known::This(Phase::Close)) => self.close(access, line.time),
                _ => {}
            },
            Event::Control(control) => self.change(line, control),
            Event::Lifecycle(Lifecycle::Start(start)) => {
                self.digest = self.digest.take().or_else(|| start.digest.clone());
                // Its virtual addresses are not shown, and may be many.
                self.start.get_or_insert_with(|| Start { map: None, ..Start::clone(start) });
            }
            Event::Lifecycle(Lifecycle::AgentEnded(ended)) => self.ended = Some(ended.clone()),
            Event::Lifecycle(_) | Event::Other(_) => {}
        }
    }

    fn open(&mut self, access: &Access, time: Time) {
        self.totals.connections += 1;
        let is_observed = access.reason == Some(Known::This(Reason::Observed));
        self.totals.observed += u64::from(is_observed);
        self.count_at(time, 1, 0);
        self.count_by(&access.by, |rule| rule.permitted += 1);
        let Some(reached) = self.reached_at(access, time) else { return };
        reached.connections += 1;
        reached.last = reached.last.max(time);
        if access.by.rule.is_some() {
            reached.rule = shortened(access.by.to_string());
        }
    }

    fn close(&mut self, access: &Access, time: Time) {
        let (out, back) = (access.bytes_out.unwrap_or(0), access.bytes_in.unwrap_or(0));
        self.totals.bytes_out = self.totals.bytes_out.saturating_add(out);
        self.totals.bytes_in = self.totals.bytes_in.saturating_add(back);
        let Some(reached) = self.reached.get_mut(&target(access)) else { return };
        reached.bytes_out = reached.bytes_out.saturating_add(out);
        reached.bytes_in = reached.bytes_in.saturating_add(back);
        reached.last = reached.last.max(time);
        if let Some(ms) = access.ms {
            reached.ended += 1;
            reached.open_ms = reached.open_ms.saturating_add(ms);
            reached.longest_ms = reached.longest_ms.max(ms);
        }
    }

    /// Finds the place of a target; none where there are too many.
    fn reached_at(&mut self, access: &Access, time: Time) -> Option<&mut ReachedTarget> {
        let key = target(access);
        if self.reached.len() >= MOST && !self.reached.contains_key(&key) {
            self.totals.unlisted += 1;
            return None;
        }
        Some(self.reached.entry(key).or_insert_with(|| ReachedTarget::at(time)))
    }

    fn refuse(&mut self, line: &Line, access: &Access) {
        let times = access.left_out.unwrap_or(0).saturating_add(1);
        self.totals.refusals = self.totals.refusals.saturating_add(times);
        self.count_at(line.time, 0, times);
        self.count_by(&access.by, |rule| rule.refused = rule.refused.saturating_add(times));
        let key = (target(access), reason(access));
        if let Some(refused) = self.refused.get_mut(&key) {
            refused.attempts.add(access, line.time);
            refused.last = refused.last.max(line.time);
        } else if self.refused.len() < MOST {
            let refused = RefusedTarget {
                attempts: Attempts::begin(access, line.time),
                last: line.time,
                rule: shortened(access.by.to_string()),
                remedy: shortened(remedy::of(line).map(|remedy| remedy.text(None)).unwrap_or_default()),
                is_new: false,
            };
            self.refused.insert(key, refused);
        } else {
            self.totals.unlisted = self.totals.unlisted.saturating_add(times);
        }
    }

    fn change(&mut self, line: &Line, control: &Control) {
        let was_made = !line.event.is_denied();
        if was_made && let Some(digest) = &control.digest {
            self.digest = Some(digest.clone());
        }
        if self.changes.len() < MOST_CHANGES {
            let what = shortened(control.what.clone().unwrap_or_default());
            self.changes.push((line.time, what, was_made));
        } else {
            self.totals.unlisted_changes += 1;
        }
    }

    fn count_at(&mut self, time: Time, permitted: u64, refused: u64) {
        self.timeline.get_or_insert_with(|| Timeline::since(time)).add(time, permitted, refused);
    }

    fn count_by(&mut self, by: &Ruling, count: impl FnOnce(&mut RuleUse)) {
        if by.rule.is_none() {
            return;
        }
        let key = shortened(by.to_string());
        if self.rules.len() < MOST_RULES || self.rules.contains_key(&key) {
            count(self.rules.entry(key).or_default());
        } else {
            self.totals.unlisted_decisions += 1;
        }
    }
}

/// Cuts a text that is too long to be shown.
pub(super) fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
