//! Looks at the engine, one after the other: which workflows there are, and what they use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use crate::dashboard::{Listed, Message};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{self, WorkflowSummary, usage};
use crate::supervisor::records::history::RunHistory;
use crate::term::Failure;
use crate::wire::WorkflowId;

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Time between two looks at an engine that does not answer.
const LONG_PAUSE: Duration = Duration::from_secs(5);
/// Looks of which one asks for the use too: engines count the files of each agent for that.
const USE_EACH: u32 = 3;
/// Time that an engine may take to list its containers.
const PATIENCE: Duration = Duration::from_secs(20);
/// Workflows whose projects are remembered.
const REMEMBERED: usize = 1000;

/// The looks, until this is dropped.
pub(super) struct Look {
    engine: Arc<Mutex<Engine>>,
    soon: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Look {
    /// Begins to look.
    pub(super) fn begin(engine_host: Option<&str>, engine: Engine, send: mpsc::Sender<Message>) -> Look {
        let (engine, soon) = (Arc::new(Mutex::new(engine)), Arc::new(Notify::new()));
        let looking = go_on(engine_host.map(str::to_owned), engine.clone(), soon.clone(), send);
        Look { engine, soon, task: tokio::spawn(looking) }
    }

    /// Returns the engine, as it was reached last.
    pub(super) fn engine(&self) -> Engine {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the next look come at once.
    pub(super) fn soon(&self) {
        self.soon.notify_one();
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn go_on(
    engine_host: Option<String>,
    shared: Arc<Mutex<Engine>>,
    soon: Arc<Notify>,
    send: mpsc::Sender<Message>,
) {
    let began = Instant::now();
    let mut projects = HashMap::new();
    let mut wants_use = true;
    for round in 0u32.. {
        let engine = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut pause = PAUSE;
        match list(&engine).await {
            Ok(mut found) => {
                let mut tell = async |found: &[WorkflowSummary]| {
                    let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let listed = found.iter().map(|one| listed(one, &mut projects)).collect();
                    send.send(Message::Listed(listed, now)).await.is_ok()
                };
                if !tell(&found).await {
                    return;
                }
                if wants_use || round.is_multiple_of(USE_EACH) {
                    usage::add(&engine, &mut found).await;
                    // One that came to run since has no use yet.
                    wants_use = found.iter().any(|one| one.agent == "running" && one.usage.is_none());
                    if !tell(&found).await {
                        return;
                    }
                }
            }
            Err(failure) => {
                if send.send(Message::EngineLost(in_words(&failure))).await.is_err() {
                    return;
                }
                (pause, wants_use) = (LONG_PAUSE, true);
                if let Ok(again) = engine::connect(engine_host.as_deref()).await {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = again;
                }
            }
        }
        // An answer of a work has the next look come earlier.
        _ = timeout(pause, soon.notified()).await;
    }
}

async fn list(engine: &Engine) -> Result<Vec<WorkflowSummary>, Failure> {
    match timeout(PATIENCE, inventory::workflows(engine)).await {
        Ok(listed) => listed,
        Err(_) => Err(Failure::new(crate::term::COULD_NOT_RUN, "it says nothing")),
    }
}

/// Writes a failure on one line.
fn in_words(failure: &Failure) -> String {
    std::iter::once(&failure.message).chain(&failure.causes).cloned().collect::<Vec<_>>().join(": ")
}

/// Adds what this machine knows of a workflow. It does not change, and is read once.
fn listed(found: &WorkflowSummary, projects: &mut HashMap<WorkflowId, Option<String>>) -> Listed {
    if projects.len() > REMEMBERED {
        projects.clear();
    }
    let read = || found.is_recorded().then(|| RunHistory::of(found.id)).flatten()?.begun.project;
    let project = projects.entry(found.id).or_insert_with(read).clone();
    Listed { found: found.clone(), project }
}
