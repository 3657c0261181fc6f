//! `ringfence ps`: the workflows on the engine, and what their agents use of what they may; with
//! `--all`, those that are over too; with `--watch`, a view that goes on.

mod watch;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::PsArgs;
use crate::host::clock::unix_seconds;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::inventory::usage;
use crate::supervisor::inventory::usage::{Quota, Usage};
use crate::supervisor::records::history::{self, RunEnding, RunHistory};
use crate::supervisor::spec::limits::bytes;
use crate::supervisor::{engine, inventory};
use crate::term::Failure;
use crate::wire::event::How;
use crate::wire::{ImageName, UnixTime, WorkflowId, WorkflowName};

const TITLES: [&str; 12] =
    ["ID", "NAME", "AGENT", "GUARD", "FENCE", "AGE", "CPUS", "MEMORY", "PIDS", "DISK", "LEFT", "IMAGE"];

/// Columns of `ps --all`.
const ALL_TITLES: [&str; 7] = ["ID", "NAME", "STATE", "STARTED", "ENDED", "IMAGE", "PROJECT"];

/// Lists the workflows, oldest first.
pub(crate) async fn ps(engine_host: Option<&str>, args: &PsArgs) -> Result<u8, Failure> {
    if args.watch {
        return watch::watch(engine_host, args).await;
    }
    let engine = engine::connect(engine_host).await?;
    let mut live = inventory::workflows(&engine).await?;
    // The table of all has no column for it.
    if !args.all || args.json {
        usage::add(&engine, &mut live).await;
    }
    if args.all {
        let all = with_past(live, history::all()?, history::is_held);
        match args.json {
            true => crate::term::print_json(&all)?,
            false => crate::term::print(&table_of_all(&all, unix_seconds()))?,
        }
        return Ok(0);
    }
    match args.json {
        true => crate::term::print_json(&live)?,
        false => crate::term::print(&table(&live, unix_seconds()))?,
    }
    Ok(0)
}

/// A run of which nothing is on the engine.
#[derive(Debug, Serialize)]
struct PastRun {
    id: WorkflowId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<WorkflowName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageName>,
    /// `over`; `starting` and `ending` while a supervisor works for it; `lost` where nobody wrote
    /// down its end.
    agent: &'static str,
    created_at: UnixTime,
}

/// One row of `ps --all`.
#[derive(Debug, Serialize)]
struct ListedRun {
    #[serde(flatten)]
    run: LiveOrPast,
    /// Work of its supervisor, where its agent is not there.
    #[serde(skip)]
    doing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(flatten)]
    over: Option<RunEnding>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LiveOrPast {
    Live(Box<WorkflowSummary>),
    Past(PastRun),
}

/// Joins what is on the engine with what this machine remembers, oldest first.
fn with_past(
    live: Vec<WorkflowSummary>,
    past: Vec<RunHistory>,
    is_held: impl Fn(WorkflowId) -> bool,
) -> Vec<ListedRun> {
    let mut past: BTreeMap<WorkflowId, RunHistory> =
        past.into_iter().map(|run| (run.begun.id, run)).collect();
    let mut all: Vec<(UnixTime, WorkflowId, ListedRun)> = Vec::new();
    for found in live {
        let (at, id) = (found.created_at, found.id);
        let known = past.remove(&id);
        let doing = known.as_ref().and_then(|run| doing(run, is_held(id)));
        let (image, project, over) =
            known.map_or_else(Default::default, |run| (run.begun.image, run.begun.project, run.over));
        let found = WorkflowSummary { image: found.image.or(image), ..found };
        let run = LiveOrPast::Live(Box::new(found));
        all.push((at, id, ListedRun { run, doing, project, over }));
    }
    for (id, run) in past {
        let doing = doing(&run, is_held(id));
        let RunHistory { begun, over, .. } = run;
        let agent = doing.unwrap_or(if over.is_some() { "over" } else { "lost" });
        let run = PastRun { id, name: begun.name, image: begun.image, agent, created_at: begun.created_at };
        let run = LiveOrPast::Past(run);
        all.push((begun.created_at, id, ListedRun { run, doing, project: begun.project, over }));
    }
    all.sort_by_key(|(at, id, _)| (*at, *id));
    all.into_iter().map(|(.., run)| run).collect()
}

/// Returns what a supervisor does for a run whose agent is not there.
fn doing(run: &RunHistory, is_held: bool) -> Option<&'static str> {
    let word = if run.works.is_some() { "ending" } else { "starting" };
    (is_held && run.over.is_none()).then_some(word)
}

/// Draws the table of `ps --all`.
fn table_of_all(all: &[ListedRun], now: u64) -> String {
    let mut rows = vec![ALL_TITLES.map(str::to_owned)];
    rows.extend(all.iter().map(|run| row_of_all(run, now)));
    aligned(&rows)
}

fn row_of_all(ListedRun { run, doing, project, over }: &ListedRun, now: u64) -> [String; 7] {
    let dash = || "-".to_owned();
    let ago = |at: UnixTime| format!("{} ago", short(now.saturating_sub(at.0)));
    let (id, name, image, state, began) = match run {
        LiveOrPast::Live(live) => (live.id, &live.name, &live.image, live.agent.as_str(), live.created_at),
        LiveOrPast::Past(past) => (past.id, &past.name, &past.image, past.agent, past.created_at),
    };
    let state = doing.filter(|_| matches!(state, "absent" | "created")).unwrap_or(state);
    let kept = if matches!(run, LiveOrPast::Live(live) if live.kept) { ", kept" } else { "" };
    [
        id.to_string(),
        name.as_ref().map_or_else(dash, ToString::to_string),
        over.as_ref().map_or_else(|| state.to_owned(), ending_in_words) + kept,
        ago(began),
        over.as_ref().map_or_else(dash, |over| ago(over.ended_at)),
        image.as_ref().map_or_else(dash, ToString::to_string),
        // A path may hold a line's end.
        project.as_ref().map_or_else(dash, |project| crate::term::line(project)),
    ]
}

/// Writes how a run ended: its status, and the cause where that is not the agent's own end.
fn ending_in_words(over: &RunEnding) -> String {
    let status = over.status.map_or("?".to_owned(), |status| status.to_string());
    match over.how.as_ref().map(|how| (how.known(), how)) {
        None => format!("ended {status} (not started)"),
        Some((Some(How::Exited), _)) => format!("ended {status}"),
        Some((_, how)) => {
            let word = serde_json::to_value(how).ok();
            let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or("?");
            format!("ended {status} ({word})")
        }
    }
}

/// Draws the table.
fn table(all: &[WorkflowSummary], now: u64) -> String {
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(all.iter().map(|found| row(found, now)));
    aligned(&rows)
}

/// Writes rows, each column as wide as its content.
pub(crate) fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: Vec<usize> =
        (0..COLUMNS).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(found: &WorkflowSummary, now: u64) -> [String; 12] {
    let dash = || "-".to_owned();
    let of = |show: fn(&Usage) -> String| found.usage.as_ref().map_or_else(dash, show);
    [
        found.id.to_string(),
        found.name.as_ref().map_or_else(dash, ToString::to_string),
        if found.kept { "kept".to_owned() } else { found.agent.clone() },
        found.guard.clone(),
        found.fence.clone(),
        short(now.saturating_sub(found.created_at.0)),
        of(|usage| against(usage.cpus, |cpus| format!("{cpus}"))),
        of(|usage| against(usage.memory, bytes)),
        of(|usage| against(usage.pids, |pids| pids.to_string())),
        of(|usage| against(usage.disk, bytes)),
        of(|usage| match usage.seconds {
            Quota { used: Some(used), limit: Some(limit) } => short(limit.saturating_sub(used)),
            _ => "-".to_owned(),
        }),
        found.image.as_ref().map_or_else(dash, ToString::to_string),
    ]
}

/// Writes `used/limit`.
fn against<T>(part: Quota<T>, show: impl Fn(T) -> String) -> String {
    let [used, limit] = [part.used, part.limit].map(|number| number.map_or("?".to_owned(), &show));
    format!("{used}/{limit}")
}

/// Writes a time in its largest unit.
pub(crate) fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::UnixTime;

    #[test]
    fn runs_that_are_over_stand_beside_those_on_the_engine() {
        use crate::supervisor::records::history::tests::run;
        let over = |run: RunHistory, at, status, how: Option<How>| RunHistory {
            over: Some(RunEnding { ended_at: UnixTime(at), status, how: how.map(Into::into) }),
            ..run
        };
        let mut night = over(run(0xaa01, Some("night"), 100), 400, Some(3), Some(How::Exited));
        night.begun.project = Some("/home/me/x\ny".to_owned());
        let past = vec![
            night,
            over(run(0xaa02, None, 200), 300, Some(124), Some(How::TimeLimit)),
            over(run(0xaa03, None, 250), 251, Some(125), None),
            over(run(0xaa04, None, 260), 290, None, Some(How::SupervisorLost)),
            run(0xaa05, None, 300),
            run(0xaa06, Some("now"), 900),
            run(0xaa07, None, 999),
        ];
        let live = WorkflowSummary {
            name: Some("now".parse().unwrap()),
            agent: "running".to_owned(),
            created_at: UnixTime(900),
            ..inventory::tests::found("0000aa06")
        };
        let elsewhere = WorkflowSummary { created_at: UnixTime(50), ..inventory::tests::found("0000bb00") };
        let kept = WorkflowSummary {
            agent: "exited".to_owned(),
            created_at: UnixTime(200),
            kept: true,
            ..inventory::tests::found("0000aa02")
        };
        let all = with_past(vec![live, elsewhere, kept], past, |id| id.number() == 0xaa07);
        insta::assert_snapshot!(table_of_all(&all, 1000));
        insta::assert_snapshot!(serde_json::to_string_pretty(&all[1..3]).unwrap());
    }

    #[test]
    fn use_stands_against_limit() {
        let usage = Usage {
            cpus: Quota { used: Some(0.25), limit: Some(2.0) },
            cpu_nanos: None,
            memory: Quota { used: Some(300 << 20), limit: Some(4 << 30) },
            pids: Quota { used: Some(12), limit: Some(1024) },
            disk: Quota { used: None, limit: Some(10 << 30) },
            seconds: Quota { used: Some(100), limit: Some(7300) },
        };
        let running = WorkflowSummary {
            agent: "running".to_owned(),
            guard: "running".to_owned(),
            fence: "running".to_owned(),
            image: Some("agent:dev".parse().unwrap()),
            created_at: UnixTime(1000),
            usage: Some(usage),
            ..inventory::tests::found("0000aa01")
        };
        let ended = WorkflowSummary {
            name: Some("night".parse().unwrap()),
            agent: "exited".to_owned(),
            ..inventory::tests::found("0000bb02")
        };
        insta::assert_snapshot!(table(&[running, ended], 1100));
    }
}
