//! The judgement of a case: a function of what was expected and what came.
//!
//! ```text
//!  (Expectations, CaseOutcome) ──judge──▶ Unmet, each with the events or lines that prove it
//! ```
//! Doubt is no pass: a log that is not whole, or an agent that ringfence ended, meets nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempts::{Attempt, Try};
use super::capture::Captured;
use super::outcome::{CaseOutcome, FileState, LoggedEnd};
use super::pattern::Pattern;
use super::plan::{AttemptsExpected, CountExpected, ExitExpected, Expectations, FileExpected};
use super::target::{TargetPattern, TriedTarget};
use crate::wire::event::{How, Known};

/// Events and lines that are shown for one unmet expectation.
const MOST_EVIDENCE: usize = 8;
/// Window of a rate.
const SECOND: Duration = Duration::from_secs(1);

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// Key of the expectation.
    pub(crate) expectation: &'static str,
    /// Words about what was expected and what came.
    pub(crate) message: String,
    /// Events of the log, or lines of the output, that prove it.
    pub(crate) evidence: Vec<String>,
}

/// Judges a case.
pub(crate) fn judge(expected: &Expectations, outcome: &CaseOutcome) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    unmet.extend(ended(expected, outcome));
    for missed in &outcome.missed {
        let message = format!("{missed} never came, so the case shows nothing about it");
        unmet.push(Unmet { expectation: "network", message, evidence: end_shown(outcome) });
    }
    for (what, patterns, output) in
        [("stdout", &expected.stdout, &outcome.stdout), ("stderr", &expected.stderr, &outcome.stderr)]
    {
        unmet.extend(patterns.iter().filter_map(|pattern| written(what, pattern, output)));
    }
    unmet.extend(expected.files.iter().filter_map(|(path, expected)| file(path, expected, outcome)));
    if !expected.attempts.is_empty() {
        attempts(&expected.attempts, outcome, &mut unmet);
    }
    unmet
}

/// Judges how the agent ended.
fn ended(expected: &Expectations, outcome: &CaseOutcome) -> Option<Unmet> {
    let evidence = end_shown(outcome);
    let not = |expectation, message| Some(Unmet { expectation, message, evidence: evidence.clone() });
    if let Some(limit) = outcome.out_of_time {
        let limit = humantime::format_duration(limit);
        return not("within", format!("it was still at work after {limit}, and was ended"));
    }
    let Some(LoggedEnd { how, .. }) = &outcome.ended else {
        return not("exit", "the log does not say how the agent ended".to_owned());
    };
    match &how.how {
        Known::This(How::Exited) => {}
        other => {
            let how = serde_json::to_value(other).ok();
            let how = how.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned();
            return not("exit", format!("the agent did not end by itself: it was ended ({how})"));
        }
    }
    let status = how.exit_status;
    let shown = status.map_or("an unknown status".to_owned(), |status| status.to_string());
    match (expected.exit, status) {
        (None, _) => None,
        (Some(ExitExpected::NonZero), Some(status)) if status != 0 => None,
        (Some(ExitExpected::Status(wanted)), Some(status)) if wanted == status => None,
        (Some(ExitExpected::NonZero), _) => not("exit", format!("it ended with {shown}, expected: not 0")),
        (Some(ExitExpected::Status(wanted)), _) => {
            not("exit", format!("it ended with {shown}, expected: {wanted}"))
        }
    }
}

/// Shows the line of the agent's end.
fn end_shown(outcome: &CaseOutcome) -> Vec<String> {
    let Some(end) = &outcome.ended else { return Vec::new() };
    let status = end.how.exit_status.map(|status| format!(", exit status {status}")).unwrap_or_default();
    let how = serde_json::to_value(&end.how.how).ok();
    let how = how.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned();
    let since = outcome.began.map(|began| end.time.after(began)).unwrap_or_default();
    vec![format!("event {} +{}: agent-ended, {how}{status}", end.seq, seconds(since))]
}

fn written(what: &'static str, pattern: &Pattern, output: &Captured) -> Option<Unmet> {
    if pattern.is_in(&output.bytes) {
        return None;
    }
    let extent = if output.is_cut_short { " (of which the first 4 MiB were kept)" } else { "" };
    let message = match output.bytes.is_empty() {
        true => format!("{pattern} is not in {what}: there was none"),
        false => format!("{pattern} is not in {what}{extent}; its last lines:"),
    };
    Some(Unmet { expectation: what, message, evidence: output.tail(MOST_EVIDENCE) })
}

fn file(path: &str, expected: &FileExpected, outcome: &CaseOutcome) -> Option<Unmet> {
    let unknown = FileState::Unknown("nobody looked".to_owned());
    let state = outcome.files.get(path).unwrap_or(&unknown);
    let not = |message, evidence| Some(Unmet { expectation: "files", message, evidence });
    match (expected, state) {
        (_, FileState::Unknown(why)) => not(format!("{path} cannot be looked at: {why}"), Vec::new()),
        (FileExpected::Exists, FileState::Absent) => not(format!("{path} is not there"), Vec::new()),
        (FileExpected::Exists, _) | (FileExpected::Absent, FileState::Absent) => None,
        (FileExpected::Absent, FileState::File(_)) => not(format!("{path} is there"), Vec::new()),
        (FileExpected::Absent, FileState::Other(kind)) => {
            not(format!("{path} is there, as {kind}"), Vec::new())
        }
        (FileExpected::Matches(_), FileState::Absent) => not(format!("{path} is not there"), Vec::new()),
        (FileExpected::Matches(_), FileState::Other(kind)) => {
            not(format!("{path} is {kind}, no file"), Vec::new())
        }
        (FileExpected::Matches(pattern), FileState::File(content)) => {
            if pattern.is_in(&content.bytes) {
                return None;
            }
            let extent = if content.is_cut_short { " (of which the first 4 MiB were read)" } else { "" };
            not(format!("{pattern} is not in {path}{extent}; its last lines:"), content.tail(MOST_EVIDENCE))
        }
    }
}

fn attempts(expected: &AttemptsExpected, outcome: &CaseOutcome, unmet: &mut Vec<Unmet>) {
    let log = &outcome.attempts;
    let doubt = match (&outcome.log_fault, log.is_cut_short) {
        (Some(why), _) => Some(format!("the log is not whole, so nobody knows what was tried: {why}")),
        (None, true) => Some("there were too many attempts to judge".to_owned()),
        (None, false) => None,
    };
    if let Some(message) = doubt {
        unmet.push(Unmet { expectation: "attempts", message, evidence: Vec::new() });
        return;
    }
    let shown = |attempts: &[&Attempt]| evidence(outcome, attempts);
    for target in &expected.none {
        let found: Vec<&Attempt> =
            log.all().filter(|one| target.has(&one.target) || is_unnamed(one)).collect();
        if !found.is_empty() {
            let message = format!("{target} was tried, and must not be");
            unmet.push(Unmet { expectation: "attempts.none", message, evidence: shown(&found) });
        }
    }
    if let Some(only) = &expected.only {
        let is_among = |one: &&Attempt| only.iter().any(|target| target.has(&one.target));
        let found: Vec<&Attempt> = log.all().filter(|one| !is_among(one)).collect();
        if !found.is_empty() {
            let message = match only.is_empty() {
                true => "something was tried, and nothing may be".to_owned(),
                false => format!("something else than {} was tried", list(only)),
            };
            unmet.push(Unmet { expectation: "attempts.only", message, evidence: shown(&found) });
        }
    }
    for target in expected.some.iter().filter(|target| !log.all().any(|one| target.has(&one.target))) {
        let all: Vec<&Attempt> = log.all().collect();
        let message = format!("{target} was never tried; what was:");
        unmet.push(Unmet { expectation: "attempts.some", message, evidence: shown(&all) });
    }
    unmet.extend(expected.counts.iter().filter_map(|expected| count(expected, outcome)));
    unmet.extend(expected.per_second.and_then(|most| rate(most, outcome)));
    unmet.extend(expected.gave_up_within.and_then(|most| gave_up(most, outcome)));
}

/// Tells whether a line counts different targets and names none: it may stand for any.
fn is_unnamed(attempt: &Attempt) -> bool {
    attempt.target.host.is_none() && attempt.target.address.is_none()
}

fn count(expected: &CountExpected, outcome: &CaseOutcome) -> Option<Unmet> {
    let tries = outcome.attempts.tries(expected.target.as_ref());
    let sum = |number: fn(&Try<'_>) -> u64| tries.iter().map(number).fold(0, u64::saturating_add);
    let (proven, possible) = (sum(|one| one.proven), sum(|one| one.possible));
    let (number, wanted) = match (expected.least, expected.most) {
        (Some(least), _) if possible < least => (possible, format!("at least {least}")),
        (_, Some(most)) if proven > most => (proven, format!("at most {most}")),
        _ => return None,
    };
    let at = expected.target.as_ref().map(|target| format!(" at {target}")).unwrap_or_default();
    let message = format!("{number} attempts{at}, expected: {wanted}");
    Some(Unmet { expectation: "attempts.counts", message, evidence: evidence(outcome, &firsts(&tries)) })
}

/// Finds the second in which one target was tried most.
fn rate(most: u64, outcome: &CaseOutcome) -> Option<Unmet> {
    let all = outcome.attempts.tries(None);
    let mut by_target: BTreeMap<TriedTarget, Vec<Try<'_>>> = BTreeMap::new();
    for one in &all {
        // A name is one target, whatever addresses it has.
        let mut target = one.attempt.target.clone();
        target.address = target.address.filter(|_| target.host.is_none());
        by_target.entry(target).or_default().push(*one);
    }
    let mut worst: Option<(u64, &TriedTarget, Vec<Try<'_>>)> = None;
    for (target, tries) in &by_target {
        for last in 0..tries.len() {
            let (number, found) = second_that_ends(&tries[..=last]);
            if number > worst.as_ref().map_or(most, |(number, ..)| *number) {
                worst = Some((number, target, found));
            }
        }
    }
    let (number, target, tries) = worst?;
    let message = format!("{number} attempts at {target} in one second, expected: at most {most}");
    Some(Unmet { expectation: "attempts.per-second", message, evidence: evidence(outcome, &firsts(&tries)) })
}

/// Returns the number of tries that are proven of some second that ends by the last of these, and
/// the lines that prove it.
fn second_that_ends<'a>(tries: &[Try<'a>]) -> (u64, Vec<Try<'a>>) {
    let Some(last) = tries.last() else { return (0, Vec::new()) };
    let end = last.attempt.time;
    // Tries of a longer span are spread evenly: no spread has fewer in its fullest second.
    let seconds = end.after(last.since).as_secs();
    if seconds > 0 {
        return (last.proven.div_ceil(seconds.saturating_add(1)), vec![*last]);
    }
    let near = tries.iter().rev().take_while(|one| end.after(one.attempt.time) < SECOND);
    let mut found: Vec<Try<'a>> = near.filter(|one| end.after(one.since) < SECOND).copied().collect();
    found.reverse();
    (found.iter().fold(0, |sum, one| sum.saturating_add(one.proven)), found)
}

fn gave_up(most: Duration, outcome: &CaseOutcome) -> Option<Unmet> {
    let tries = outcome.attempts.tries(None);
    let first = tries.iter().find(|one| one.attempt.failed)?.attempt;
    // A line that came late proves an attempt after the time of the line before, and no more.
    let last = tries.iter().filter(|one| one.proven > 0).max_by_key(|one| one.since)?;
    let (went_on, last) = (last.since.after(first.time), last.attempt);
    if went_on <= most {
        return None;
    }
    let message = format!(
        "it tried on for {} after the first attempt that failed, expected: at most {}",
        seconds(went_on),
        humantime::format_duration(most)
    );
    let evidence = evidence(outcome, &[first, last]);
    Some(Unmet { expectation: "attempts.gave-up-within", message, evidence })
}

fn firsts<'a>(tries: &[Try<'a>]) -> Vec<&'a Attempt> {
    tries.iter().map(|one| one.attempt).collect()
}

/// Shows events, each with its number and time.
fn evidence(outcome: &CaseOutcome, attempts: &[&Attempt]) -> Vec<String> {
    let since = |one: &Attempt| outcome.began.map(|began| one.time.after(began)).unwrap_or_default();
    let line = |one: &&Attempt| format!("event {} +{}: {}", one.seq, seconds(since(one)), one.shown);
    let mut shown: Vec<String> = attempts.iter().take(MOST_EVIDENCE).map(line).collect();
    if attempts.len() > MOST_EVIDENCE {
        shown.push(format!("and {} more events", attempts.len() - MOST_EVIDENCE));
    }
    shown
}

fn list(targets: &[TargetPattern]) -> String {
    let texts: Vec<String> = targets.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}
