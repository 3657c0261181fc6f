//! A report as text, and the words that text and page share.

use std::cmp::Reverse;

use super::run::{RunReport, shortened};
use super::targets::{ReachedTarget, RefusedTarget};
use crate::supervisor::spec::limits::bytes as size;
use crate::term;

/// Targets of each kind that the text lists.
const LISTED: usize = 2000;

/// Writes a number of milliseconds.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min", ms / 60_000),
    }
}

/// Writes a number and its word, in the plural where it is not one.
pub(super) fn count(number: u64, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// Writes how long connections to a target were open.
pub(super) fn open_for(target: &ReachedTarget) -> String {
    match target.mean_ms() {
        Some(mean) => format!("{} / {}", duration(mean), duration(target.longest_ms)),
        None => "not ended".to_owned(),
    }
}

/// Lists the facts about a run, each with its name. Their values are one line and harmless.
pub(super) fn facts(run: &RunReport) -> Vec<(&'static str, String)> {
    let mut facts = vec![("log", run.source.clone())];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    let start = run.start.as_ref();
    add("name", start.and_then(|start| start.name.as_ref()).map(ToString::to_string));
    add("image", start.and_then(|start| start.image_name.as_ref()).map(ToString::to_string));
    let words = start.map(|start| start.entrypoint.iter().chain(start.command.iter().flatten()));
    let command = words.map(|words| words.map(String::as_str).collect::<Vec<_>>().join(" "));
    add("command", command.filter(|command| !command.is_empty()));
    add("project", start.and_then(|start| start.project.clone()));
    add("started by", start.and_then(|start| start.user.clone()));
    add("time", run.span.map(|(first, last)| format!("{first} to {last}")));
    add(
        "ended",
        run.ended.as_ref().map(|ended| {
            let status = ended.exit_status.map(|status| format!(", status {status}")).unwrap_or_default();
            format!("{}{status}", ended.how)
        }),
    );
    add("policy in force", run.digest.as_ref().map(ToString::to_string));
    let totals = &run.totals;
    add(
        "total",
        Some(format!(
            "{}, {}, {} out, {} in, {}",
            count(run.events, "event"),
            count(totals.connections, "connection"),
            size(totals.bytes_out),
            size(totals.bytes_in),
            count(totals.refusals, "refusal")
        )),
    );
    let observed = |number| format!("{}, which no rule permits", count(number, "connection"));
    add("observed", (totals.observed > 0).then(|| observed(totals.observed)));
    add(
        "not read",
        (run.unread > 0).then(|| match run.unread {
            1 => "1 line that is no event".to_owned(),
            lines => format!("{lines} lines that are no events"),
        }),
    );
    add("not listed", unlisted(run));
    facts.into_iter().map(|(name, value)| (name, term::line(&shortened(value)))).collect()
}

/// Says what is counted and not listed.
fn unlisted(run: &RunReport) -> Option<String> {
    let totals = &run.totals;
    let parts = [
        (totals.unlisted, "attempt", "on further targets"),
        (totals.unlisted_changes, "change", "of the policy or the network"),
        (totals.unlisted_decisions, "decision", "by further rules"),
    ];
    let parts = parts.iter().filter(|(number, ..)| *number > 0);
    let parts: Vec<String> =
        parts.map(|(number, word, of)| format!("{} {of}", count(*number, word))).collect();
    (!parts.is_empty()).then(|| format!("{}; `ringfence events` shows each", parts.join(", ")))
}

/// Names a run.
pub(super) fn title(run: &RunReport) -> String {
    run.id.map_or_else(|| "no run".to_owned(), |id| format!("run {id}"))
}

/// Lists the targets that were refused: the new first, then the most frequent.
pub(super) fn refused_in_order(run: &RunReport) -> Vec<(&(String, String), &RefusedTarget)> {
    let mut refused: Vec<_> = run.refused.iter().collect();
    refused.sort_by_key(|(key, seen)| (!seen.is_new, Reverse(seen.attempts.count), *key));
    refused
}

/// Lists the targets that were reached: the new first, then those that most bytes went to. What is
/// cut off from the end is what tells least.
pub(super) fn reached_in_order(run: &RunReport) -> Vec<(&String, &ReachedTarget)> {
    let mut reached: Vec<_> = run.reached.iter().collect();
    reached.sort_by_key(|(key, seen)| (!seen.is_new, Reverse(seen.bytes_out), *key));
    reached
}

/// Writes the account of one run as text.
pub(crate) fn of(run: &RunReport) -> String {
    let mut text = format!("{}\n", title(run));
    for (name, value) in facts(run) {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    for doubt in &run.doubts {
        text.push_str(&format!("  beware: {}\n", term::line(doubt)));
    }
    for (time, what, made) in &run.changes {
        let verb = if *made { "changed" } else { "change refused" };
        text.push_str(&format!("  {verb}: {time}  {}\n", term::line(what)));
    }
    reached(&mut text, run);
    refused(&mut text, run);
    rules(&mut text, run);
    text
}

fn mark(is_new: bool) -> &'static str {
    if is_new { "  NEW" } else { "" }
}

fn reached(text: &mut String, run: &RunReport) {
    if run.reached.is_empty() {
        return text.push_str("reached: nothing\n");
    }
    text.push_str("reached:\n");
    for (target, seen) in reached_in_order(run).into_iter().take(LISTED) {
        text.push_str(&format!("  {:>5} × {}{}\n", seen.connections, term::line(target), mark(seen.is_new)));
        text.push_str(&format!(
            "          {} out, {} in; open {} (mean / longest); {} to {}\n",
            size(seen.bytes_out),
            size(seen.bytes_in),
            open_for(seen),
            seen.first,
            seen.last
        ));
        if !seen.rule.is_empty() {
            text.push_str(&format!("          by {}\n", term::line(&seen.rule)));
        }
    }
    more(text, run.reached.len());
}

/// Says how many targets are not among the lines.
fn more(text: &mut String, targets: usize) {
    if targets > LISTED {
        text.push_str(&format!("        and {} more, which --json lists\n", targets - LISTED));
    }
}

fn refused(text: &mut String, run: &RunReport) {
    if run.refused.is_empty() {
        return text.push_str("refused: nothing\n");
    }
    text.push_str("refused:\n");
    for ((target, reason), seen) in refused_in_order(run).into_iter().take(LISTED) {
        let (target, reason) = (term::line(target), term::line(reason));
        text.push_str(&format!("  {:>5} × {target}  ({reason}){}\n", seen.attempts.count, mark(seen.is_new)));
        text.push_str(&format!("          {} to {}\n", seen.attempts.first, seen.last));
        if !seen.rule.is_empty() {
            text.push_str(&format!("          by {}\n", term::line(&seen.rule)));
        }
        if !seen.remedy.is_empty() {
            text.push_str(&format!("          {}\n", term::line(&seen.remedy)));
        }
    }
    more(text, run.refused.len());
}

fn rules(text: &mut String, run: &RunReport) {
    if run.rules.is_empty() {
        return;
    }
    text.push_str("rules that decided:\n");
    for (rule, used) in &run.rules {
        text.push_str(&format!(
            "  {:>5} permitted {:>5} refused  {}\n",
            used.permitted,
            used.refused,
            term::line(rule)
        ));
    }
}
