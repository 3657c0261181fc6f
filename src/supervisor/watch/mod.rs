//! Watching what no engine limits by itself everywhere: the disk that an agent fills, and the
//! processes it lacks.
//!
//! ```text
//!  every few seconds:  engine: size of the agent's layer ─┐
//!                      writable mounts: what was added   ─┼─▶ sum > limit ─▶ the run is ended
//!                      helper: declared volumes, number   ─┘
//!                      of files, files without a name
//!                      engine: processes now = limit ───────▶ told at the end
//! ```
//! Counting walks the files, so the time between two looks grows with the time that one takes.

pub(crate) mod disk_use;
pub(crate) mod growth;
pub(crate) mod helper_lines;

use std::cell::Cell;
use std::time::{Duration, Instant};

use bollard::query_parameters::{InspectContainerOptions, StatsOptions};
use futures_util::StreamExt;
use tokio::time::timeout;

use self::disk_use::{Counting, Recipe};
use self::growth::Measure;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::limits::{self, Limits};
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::disk_use::DiskUse;
use crate::workspace::mounts::Bind;

/// The first look comes after this, and no two are closer.
const SHORTEST: Duration = Duration::from_secs(2);
/// No two are further apart.
const LONGEST: Duration = Duration::from_secs(60);
/// Looking takes at most this part of the time.
const SHARE: u32 = 10;
/// The disk may go unwatched for so long: an engine that restarts, a network that changes under
/// ssh.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Watch over the disk and the processes of one agent.
pub(crate) struct Watch {
    limits: Limits,
    writable: Vec<(Bind, Measure)>,
    processes_short: Cell<bool>,
}

impl Watch {
    /// Measures the directories that the agent will be able to write; it must not run yet.
    pub(crate) async fn begin(limits: Limits, writable: Vec<Bind>) -> Result<Watch, Failure> {
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

    /// Tells whether the agent was seen with every process that it may have.
    pub(super) fn processes_were_short(&self) -> bool {
        self.processes_short.get()
    }

    /// Looks again and again; ends with the reason when the disk limit is passed, or cannot be
    /// watched any more.
    pub(super) async fn until_over(
        &self,
        engine: &Engine,
        workflow: &Workflow,
        recipes: &[Recipe],
    ) -> String {
        let agent = &workflow.object(Role::Agent);
        let mut counting: Vec<Counting<'_>> =
            recipes.iter().map(|recipe| Counting::new(engine, workflow, recipe)).collect();
        let mut wait = SHORTEST / 2;
        let mut failing_since = None;
        loop {
            tokio::time::sleep(wait).await;
            let began = Instant::now();
            let used = self.used(engine, &mut counting).await;
            match used.map(|used| self.over(&used, recipes.len() > 1)) {
                Ok(Some(over)) => return over,
                Ok(None) => failing_since = None,
                Err(failure) => {
                    // Not since the last good look: that may be longer ago by itself.
                    let has_given_up = counting.iter().any(Counting::has_given_up);
                    if has_given_up || failing_since.get_or_insert(began).elapsed() > UNWATCHED {
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

    /// Returns what is over its limit, in words.
    fn over(&self, used: &Used, with_services: bool) -> Option<String> {
        let (who, whose, keeps) = match with_services {
            true => ("the agent and its services", "their", "they keep"),
            false => ("the agent", "its", "it keeps"),
        };
        let disk = limits::bytes(self.limits.disk);
        let asked = "--disk, or container.disk of a policy";
        let mut over = None;
        if used.files > self.limits.files() {
            let (files, most) = (used.files, self.limits.files());
            over = Some(format!(
                "{who} made {files} files, more than the {most} that {whose} disk limit of {disk} permits ({asked})"
            ));
        }
        if used.bytes > self.limits.disk {
            let bytes = limits::bytes(used.bytes);
            let kept = match used.nameless {
                0 => String::new(),
                kept => format!(", {} of it in deleted files that {keeps} open", limits::bytes(kept)),
            };
            over = Some(format!(
                "{who} wrote {bytes} to disk, more than {whose} limit of {disk} ({asked}){kept}"
            ));
        }
        over
    }

    /// Returns what on disk is the agent's and the services'.
    async fn used(&self, engine: &Engine, counting: &mut [Counting<'_>]) -> Result<Used, Failure> {
        let mut used = Used::default();
        for one in counting {
            let counted = match one.newest().await {
                Ok(counted) => counted,
                Err(_) if one.is_over().await => one.last(),
                Err(why) => return Err(failure("cannot count the agent's files", why)),
            };
            let layer = timeout(UNWATCHED, layer(engine, &one.container)).await;
            used.add(layer.unwrap_or_else(|_| Err(silent()))?, &counted);
        }
        for (bind, base) in &self.writable {
            let now = measure(bind).await.map_err(|error| {
                Failure::new(COULD_NOT_RUN, format!("cannot measure {}", bind.source.display()))
                    .caused_by(&error)
            })?;
            used.bytes = used.bytes.saturating_add(now.added_since(base));
            used.files = used.files.saturating_add(now.entries_since(base));
        }
        Ok(used)
    }
}

/// Bytes and files that an agent and its services have on disk.
#[derive(Default)]
struct Used {
    bytes: u64,
    /// Bytes in files without a name, which are part of `bytes`.
    nameless: u64,
    files: u64,
}

impl Used {
    /// Adds what a container has, in its layer by the engine's word and by a helper's count. The
    /// engine sees what a storage driver keeps beside the files, the helper what is reserved beyond
    /// their ends.
    fn add(&mut self, layer: u64, counted: &DiskUse) {
        let bytes = layer.max(counted.layer).saturating_add(counted.volumes).saturating_add(counted.nameless);
        self.bytes = self.bytes.saturating_add(bytes);
        self.nameless = self.nameless.saturating_add(counted.nameless);
        self.files = self.files.saturating_add(counted.files);
    }
}

fn silent() -> Failure {
    failure("cannot see what the agent wrote to disk", "the engine does not answer".to_owned())
}

fn failure(what: &str, why: String) -> Failure {
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    failure.causes.push(why);
    failure
}

async fn measure(bind: &Bind) -> std::io::Result<Measure> {
    let opened = bind.reopen()?;
    tokio::task::spawn_blocking(move || growth::measure(opened)).await.map_err(std::io::Error::other)?
}

/// Asks for the size of the container's own layer in bytes.
pub(crate) async fn layer(engine: &Engine, container: &str) -> Result<u64, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_have_a_limit_each() {
        let limits = Limits { disk: 64 << 20, ..Limits::default() };
        let watch = Watch { limits, writable: Vec::new(), processes_short: Cell::new(false) };
        let over = |bytes, nameless, files| watch.over(&Used { bytes, nameless, files }, false);
        assert_eq!(over(64 << 20, 64 << 20, 65_536), None);
        let said = over((64 << 20) + 1, 1 << 20, 70_000).unwrap();
        assert!(said.contains("more than its limit of 64MiB") && said.contains("1MiB of it"), "{said}");
        let said = over(1, 0, 65_537).unwrap();
        assert!(said.contains("65537 files, more than the 65536"), "{said}");
    }

    #[test]
    fn agent_and_services_count_together() {
        let mut used = Used::default();
        let counted = DiskUse { layer: 5, volumes: 10, nameless: 1, files: 3, cut_short: false };
        used.add(7, &counted);
        used.add(2, &counted);
        assert_eq!((used.bytes, used.nameless, used.files), (7 + 11 + 5 + 11, 2, 6));
        let limits = Limits { disk: 1, ..Limits::default() };
        let watch = Watch { limits, writable: Vec::new(), processes_short: Cell::new(false) };
        assert!(watch.over(&used, true).unwrap().starts_with("the agent and its services wrote"));
    }
}
