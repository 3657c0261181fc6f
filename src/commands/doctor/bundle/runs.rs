//! Facts of the last runs, out of their decision logs: times, ends and numbers, no targets.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::scrub::version;
use crate::supervisor::records::events;
use crate::wire::WorkflowId;
use crate::wire::event::{Access, Decision, Event, Known, Lifecycle, Line};

/// Runs that are looked at.
const RUNS: usize = 10;
/// A larger log is not read.
const LARGEST: u64 = 16 << 20;

/// One run.
#[derive(Debug, Default, Serialize)]
pub(super) struct RunFacts {
    id: String,
    log_bytes: u64,
    version: Option<String>,
    policy: Option<String>,
    /// Milliseconds from the first line to the last one.
    lasted_ms: Option<u64>,
    /// Milliseconds from the first line to the agent's readiness.
    ready_ms: Option<u64>,
    how: Option<String>,
    exit_status: Option<u8>,
    permitted: u64,
    live_changes: u64,
    /// Refusals by their reason.
    refused: BTreeMap<String, u64>,
    /// Observations by their word.
    noted: BTreeMap<String, u64>,
}

/// Returns the last runs that left a log on this machine, the newest first.
pub(super) fn last() -> Vec<RunFacts> {
    let known = events::runs().unwrap_or_default();
    let mut dated: Vec<(SystemTime, WorkflowId)> =
        known.into_iter().filter_map(|id| Some((changed(id)?, id))).collect();
    dated.sort_by(|(one, _), (other, _)| other.cmp(one));
    dated.into_iter().take(RUNS).map(|(_, id)| of(id)).collect()
}

/// Returns the time at which a run's log was last written.
fn changed(id: WorkflowId) -> Option<SystemTime> {
    let part = events::parts(id).ok()?.pop()?;
    fs::metadata(part).ok()?.modified().ok()
}

fn of(id: WorkflowId) -> RunFacts {
    let parts = events::parts(id).unwrap_or_default();
    let log_bytes = parts.iter().filter_map(|part| fs::metadata(part).ok()).map(|found| found.len()).sum();
    let begun = RunFacts { id: id.to_string(), log_bytes, ..RunFacts::default() };
    match events::read(id) {
        Ok(log) if log_bytes <= LARGEST => counted(begun, &log),
        _ => begun,
    }
}

/// Counts the lines of a log.
fn counted(mut facts: RunFacts, log: &[u8]) -> RunFacts {
    let lines = log.split(|byte| *byte == b'\n').filter_map(Line::read);
    let mut first = None;
    for line in lines {
        let passed = Some(milliseconds(line.time.after(*first.get_or_insert(line.time))));
        facts.lasted_ms = passed;
        match line.event {
            Event::Access(access) => access_counted(&mut facts, &access),
            Event::Control(_) => facts.live_changes += 1,
            Event::Lifecycle(event) => lifecycle_counted(&mut facts, event, passed),
            Event::Other(_) => {}
        }
    }
    facts
}

fn access_counted(facts: &mut RunFacts, access: &Access) {
    let times = 1 + access.left_out.unwrap_or(0);
    match access.verdict {
        Some(Known::This(Decision::Deny)) => {
            // A word of another version could be anything.
            let reason = access.reason.as_ref().and_then(Known::known);
            let reason = reason.map_or("other".to_owned(), |reason| reason.as_str().to_owned());
            *facts.refused.entry(reason).or_default() += times;
        }
        Some(Known::This(Decision::Allow)) => facts.permitted += times,
        _ => {}
    }
}

fn lifecycle_counted(facts: &mut RunFacts, event: Lifecycle, passed: Option<u64>) {
    match event {
        Lifecycle::Start(start) => {
            facts.version = start.version.as_deref().map(version);
            facts.policy = start.digest.map(|digest| digest.to_string());
        }
        Lifecycle::Ready => facts.ready_ms = passed,
        Lifecycle::AgentEnded(ended) => {
            facts.how = ended.how.known().map(word);
            facts.exit_status = ended.exit_status;
        }
        Lifecycle::Note(note) => {
            let reason = note.reason.known().map_or("other".to_owned(), word);
            *facts.noted.entry(reason).or_default() += 1;
        }
        _ => {}
    }
}

/// Returns the word of a closed list, as the log has it.
fn word(one: &impl Serialize) -> String {
    let value = serde_json::to_value(one).unwrap_or_default();
    value.as_str().unwrap_or("other").to_owned()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
