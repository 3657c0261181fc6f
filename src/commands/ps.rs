//! `ringfence ps`: the workflows on the engine, and what their agents use of what they may.

use crate::host::clock::unix_seconds;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::inventory::usage;
use crate::supervisor::inventory::usage::{Quota, Usage};
use crate::supervisor::spec::limits::bytes;
use crate::supervisor::{engine, inventory};
use crate::term::Failure;

const TITLES: [&str; 12] =
    ["ID", "NAME", "AGENT", "GUARD", "FENCE", "AGE", "CPUS", "MEMORY", "PIDS", "DISK", "LEFT", "IMAGE"];

/// Lists the workflows, oldest first.
pub(crate) async fn ps(engine_host: Option<&str>, json: bool) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let mut all = inventory::workflows(&engine).await?;
    usage::add(&engine, &mut all).await;
    if json {
        crate::term::print_json(&all)?;
        return Ok(0);
    }
    crate::term::print(&table(&all, unix_seconds()))?;
    Ok(0)
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
        found.agent.clone(),
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
    fn use_stands_against_limit() {
        let usage = Usage {
            cpus: Quota { used: Some(0.25), limit: Some(2.0) },
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
