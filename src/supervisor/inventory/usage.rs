//! Usage of running agents beside their limits: asked of the engine, all at once, one answer each.

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStatsResponse};
use bollard::query_parameters::{InspectContainerOptions, StatsOptions};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde::Serialize;

use crate::host::clock::unix_seconds;
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::WorkflowSummary;
use crate::supervisor::spec::workflow::{LABEL_DISK, LABEL_TIME, Role};

/// Time that an engine may take to answer for one agent; what it did not say is left out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Use against limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Quota<T> {
    /// Used, where the engine says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<T>,
    /// Limit; absent where nobody knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<T>,
}

/// One agent's use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// CPUs, on average since its start.
    pub(crate) cpus: Quota<f64>,
    /// Time of all its CPUs since its start, in nanoseconds.
    #[serde(skip)]
    pub(crate) cpu_nanos: Option<u64>,
    /// Bytes of memory, without what the kernel can drop at once.
    pub(crate) memory: Quota<u64>,
    /// Processes and threads.
    pub(crate) pids: Quota<u64>,
    /// Bytes in the container's layer. What was added to the project only the supervisor knows.
    pub(crate) disk: Quota<u64>,
    /// Seconds of wall-clock time.
    pub(crate) seconds: Quota<u64>,
}

/// Asks for the use of every agent that runs.
pub(crate) async fn add(engine: &Engine, all: &mut [WorkflowSummary]) {
    let running = all.iter_mut().filter(|found| found.agent == "running");
    join_all(running.map(|found| async {
        let asked = tokio::time::timeout(PATIENCE, ask(engine, found.container(Role::Agent))).await;
        let now = unix_seconds();
        found.usage =
            asked.ok().flatten().map(|(about, stats)| usage(&about, &stats, now, found.created_at.0));
    }))
    .await;
}

async fn ask(
    engine: &Engine,
    agent: Option<&str>,
) -> Option<(ContainerInspectResponse, ContainerStatsResponse)> {
    let agent = agent?;
    let once = StatsOptions { stream: false, one_shot: true };
    let size = InspectContainerOptions { size: true };
    let mut stats = engine.api.stats(agent, Some(once)).boxed();
    let (about, stats) = tokio::join!(engine.inspect_container(agent, Some(size)), stats.next());
    Some((about.ok()?, stats?.ok()?))
}

fn usage(
    about: &ContainerInspectResponse,
    stats: &ContainerStatsResponse,
    now: u64,
    created_at: u64,
) -> Usage {
    let host = about.host_config.clone().unwrap_or_default();
    let labels = about.config.as_ref().and_then(|config| config.labels.as_ref());
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(|text| text.parse().ok());
    let positive =
        |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0);
    let seconds = now.saturating_sub(created_at);
    let cpu = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage);
    let memory = stats.memory_stats.as_ref().and_then(|memory| {
        let stats = memory.stats.as_ref();
        let file =
            stats.and_then(|stats| stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")));
        Some(memory.usage?.saturating_sub(file.copied().unwrap_or(0)))
    });
    Usage {
        cpus: Quota {
            used: cpu.map(|nanos| rounded(nanos as f64 / 1e9 / seconds.max(1) as f64)),
            limit: positive(host.nano_cpus).map(|nano| rounded(nano as f64 / 1e9)),
        },
        cpu_nanos: cpu,
        memory: Quota { used: memory, limit: positive(host.memory) },
        pids: Quota {
            used: stats.pids_stats.as_ref().and_then(|pids| pids.current),
            limit: positive(host.pids_limit),
        },
        disk: Quota { used: positive(about.size_rw).or(about.size_rw.map(|_| 0)), limit: label(LABEL_DISK) },
        seconds: Quota { used: Some(seconds), limit: label(LABEL_TIME) },
    }
}

/// Rounds to hundredths.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_says_is_set_against_limits_and_labels() {
        let about: ContainerInspectResponse = serde_json::from_value(serde_json::json!({
            "SizeRw": 4096,
            "HostConfig": {"NanoCpus": 1_500_000_000u64, "Memory": 1 << 30, "PidsLimit": 64},
            "Config": {"Labels": {LABEL_DISK: "1000000", LABEL_TIME: "60"}},
        }))
        .unwrap();
        let stats: ContainerStatsResponse = serde_json::from_value(serde_json::json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 5_000_000_000u64}},
            "memory_stats": {"usage": 5000, "stats": {"inactive_file": 1000}},
            "pids_stats": {"current": 3},
        }))
        .unwrap();
        let wanted = Usage {
            cpus: Quota { used: Some(0.5), limit: Some(1.5) },
            cpu_nanos: Some(5_000_000_000),
            memory: Quota { used: Some(4000), limit: Some(1 << 30) },
            pids: Quota { used: Some(3), limit: Some(64) },
            disk: Quota { used: Some(4096), limit: Some(1_000_000) },
            seconds: Quota { used: Some(10), limit: Some(60) },
        };
        assert_eq!(usage(&about, &stats, 110, 100), wanted);
        let nothing = usage(&ContainerInspectResponse::default(), &ContainerStatsResponse::default(), 5, 9);
        assert_eq!(nothing.memory, Quota { used: None, limit: None });
        assert_eq!(nothing.seconds, Quota { used: Some(0), limit: None });
    }
}
