//! Watching what no engine limits by itself everywhere: the disk that an agent fills, and the processes it lacks.
//!
//! ```text
//!  every few seconds:  engine: size of the agent's layer ─┐
//!                      writable mounts: what was added   ─┴─▶ sum > limit ─▶ the run is ended
//!                      engine: processes now = limit ───────▶ told at the end
//! ```
//! What is counted is found by walking, so the time between two looks grows with the time that one takes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bollard::query_parameters::{InspectContainerOptions, StatsOptions};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::engine::{self, Engine};
use super::growth::{self, Measure};
use super::limits::{self, Limits};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::workspace::mounts::Bind;

/// The first look comes after this, and no two are closer.
const SHORTEST: Duration = Duration::from_secs(2);
/// No two are further apart.
const LONGEST: Duration = Duration::from_secs(60);
/// Looking takes at most this part of the time.
const SHARE: u32 = 10;
/// The disk may go unwatched for so long: an engine that restarts, a network that changes under ssh.
const UNWATCHED: Duration = Duration::from_secs(60);

/// What is watched of one agent.
pub struct Watch {
    limits: Limits,
    writable: Vec<(Bind, Measure)>,
    processes_short: Cell<bool>,
}

impl Watch {
    /// Measures the directories that the agent will be able to write; it must not run yet.
    pub async fn begin(limits: Limits, writable: Vec<Bind>) -> Result<Watch, Failure> {
        let mut measured = Vec::new();
        for bind in writable {
            let base = measure(&bind).await.map_err(|error| {
                let what =
                    format!("cannot measure {}, so its growth cannot be limited", bind.source.display());
                Failure::new(COULD_NOT_RUN, what).caused_by(&error)
            })?;
            measured.push((bind, base));
        }
        Ok(Watch { limits, writable: measured, processes_short: Cell::new(false) })
    }

    /// Whether the agent was seen with every process that it may have.
    pub fn processes_were_short(&self) -> bool {
        self.processes_short.get()
    }

    /// Looks again and again; ends with the reason when the disk limit is passed, or cannot be watched any more.
    pub async fn until_over(&self, engine: &Engine, agent: &str) -> String {
        let mut wait = SHORTEST / 2;
        let mut failing_since = None;
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            match self.used(engine, agent).await {
                Ok(used) if used > self.limits.disk => {
                    return format!(
                        "the agent wrote {} to disk, more than its limit of {} (--disk, or container.disk of a policy)",
                        limits::bytes(used),
                        limits::bytes(self.limits.disk)
                    );
                }
                Ok(_) => failing_since = None,
                Err(failure) => {
                    // Not since the last good look: that may be longer ago by itself.
                    if failing_since.get_or_insert(began).elapsed() > UNWATCHED {
                        return format!(
                            "the disk limit cannot be watched any more: {}",
                            failure.causes.join(": ")
                        );
                    }
                }
            }
            if processes(engine, agent).await.is_some_and(|now| now >= self.limits.pids) {
                self.processes_short.set(true);
            }
            wait = (began.elapsed() * SHARE).clamp(SHORTEST, LONGEST);
        }
    }

    /// Bytes on disk that are the agent's.
    async fn used(&self, engine: &Engine, agent: &str) -> Result<u64, Failure> {
        let layer = timeout(UNWATCHED, layer(engine, agent)).await;
        let mut used = layer.unwrap_or_else(|_| Err(silent()))?;
        for (bind, base) in &self.writable {
            let now = measure(bind).await.map_err(|error| {
                Failure::new(COULD_NOT_RUN, format!("cannot measure {}", bind.source.display()))
                    .caused_by(&error)
            })?;
            used = used.saturating_add(now.added_since(base));
        }
        Ok(used)
    }
}

fn silent() -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, "cannot see what the agent wrote to disk");
    failure.causes.push("the engine does not answer".to_owned());
    failure
}

async fn measure(bind: &Bind) -> std::io::Result<Measure> {
    let opened = bind.reopen()?;
    tokio::task::spawn_blocking(move || growth::measure(opened)).await.map_err(std::io::Error::other)?
}

/// Size of the container's own layer in bytes.
pub async fn layer(engine: &Engine, container: &str) -> Result<u64, Failure> {
    let asked = InspectContainerOptions { size: true };
    let answer = engine
        .inspect_container(container, Some(asked))
        .await
        .map_err(|error| engine::refused("cannot ask for the size of the agent's layer", &error))?;
    // What is not said is not nothing.
    answer.size_rw.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| {
        let mut failure = Failure::new(COULD_NOT_RUN, "cannot ask for the size of the agent's layer");
        failure.causes.push(format!("the engine says {:?}", answer.size_rw));
        failure
    })
}

/// Processes and threads of the container just now, where the engine says.
async fn processes(engine: &Engine, container: &str) -> Option<u64> {
    let once = StatsOptions { stream: false, one_shot: true };
    let mut stats = engine.api.stats(container, Some(once)).boxed();
    let stats = timeout(UNWATCHED, stats.next()).await.ok()??.ok()?;
    stats.pids_stats?.current
}
