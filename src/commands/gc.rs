//! `ringfence gc`: removes what workflows left behind that nobody supervises any more.
//!
//! A workflow goes only when its agent is absent or has ended and it is not in the middle of its start.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Failure;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{self, Found};
use crate::supervisor::{aftermath, networks};
use crate::workspace::masks;

/// A start may take so long that the agent does not exist yet.
const YOUNG_SECONDS: u64 = 120;

/// Removes leftovers; their ids on stdout.
pub async fn gc(engine_host: Option<&str>, all: bool) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    for id in sweep(&engine).await? {
        super::print(&format!("{id}\n"))?;
    }
    if all {
        remove_uplink(&engine).await?;
    }
    Ok(0)
}

/// The same at the start of a run: what cannot be removed now is left to `ringfence gc`, which tells why.
pub async fn quietly(engine: &Engine) {
    let _ = sweep(engine).await;
}

async fn sweep(engine: &Engine) -> Result<Vec<String>, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    let mut removed = Vec::new();
    let workflows = inventory::workflows(engine).await?;
    let known: Vec<String> = workflows.iter().map(|found| found.id.clone()).collect();
    for found in workflows {
        if abandoned(&found, now) {
            inventory::save_events(engine, &found.id).await?;
            inventory::remove(engine, &found.id).await?;
            removed.push(found.id);
        }
    }
    masks::sweep(&engine.host, &known)?;
    aftermath::sweep(engine, &known)?;
    Ok(removed)
}

fn abandoned(found: &Found, now: u64) -> bool {
    let ended = matches!(found.agent.as_str(), "absent" | "exited" | "dead" | "created");
    ended && now.saturating_sub(found.created_at) > YOUNG_SECONDS
}

async fn remove_uplink(engine: &Engine) -> Result<(), Failure> {
    match engine.api.remove_network(networks::UPLINK).await {
        Err(error) if !engine::is_missing(&error) => {
            Err(engine::refused("cannot remove the uplink network; are workflows running?", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_or_young_workflow_is_never_abandoned() {
        let found =
            |agent: &str, created_at| Found { agent: agent.to_owned(), created_at, ..Found::default() };
        assert!(!abandoned(&found("running", 0), 1_000_000));
        assert!(!abandoned(&found("paused", 0), 1_000_000));
        assert!(!abandoned(&found("absent", 999_950), 1_000_000));
        assert!(abandoned(&found("exited", 0), 1_000_000));
        assert!(!abandoned(&found("exited", 2_000_000), 1_000_000), "a clock that went back");
    }
}
