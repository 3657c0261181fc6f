//! `ringfence gc`: removes what workflows left behind that nobody supervises any more.
//!
//! A workflow goes only when its agent is absent or has ended, it is not in the middle of its start, and nobody is about to end it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Failure;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{self, Found};
use crate::supervisor::{aftermath, networks, state};
use crate::wire::WorkflowId;
use crate::workspace::masks;

/// A start may take so long that the agent does not exist yet.
const YOUNG_SECONDS: u64 = 120;

/// Removes leftovers; their ids on stdout.
pub async fn gc(engine_host: Option<&str>, all: bool) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let Swept { removed, mut failures } = sweep(&engine).await?;
    for id in removed {
        super::print(&format!("{id}\n"))?;
    }
    if all {
        failures.extend(networks::remove_uplinks(&engine).await.err());
    }
    super::all_or_last(failures)
}

/// The same at the start of a run: what cannot be removed now is left to `ringfence gc`, which tells why.
pub async fn quietly(engine: &Engine) {
    let failures = match sweep(engine).await {
        Ok(swept) => swept.failures,
        Err(failure) => vec![failure],
    };
    for failure in failures {
        eprintln!("ringfence: left from an earlier run: {}; `ringfence gc` tells more", failure.message);
    }
}

/// What became of what was left.
struct Swept {
    removed: Vec<WorkflowId>,
    failures: Vec<Failure>,
}

/// One that cannot be removed keeps nobody from the others.
async fn sweep(engine: &Engine) -> Result<Swept, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    let workflows = inventory::workflows(engine).await?;
    let known: Vec<WorkflowId> = workflows.iter().map(|found| found.id).collect();
    let mut swept = Swept { removed: Vec::new(), failures: Vec::new() };
    for found in workflows {
        if abandoned(&found, now) && !state::is_supervised(found.id) {
            match inventory::end(engine, &found).await {
                Ok(()) => swept.removed.push(found.id),
                Err(failure) => swept.failures.push(failure),
            }
        }
    }
    swept.failures.extend(masks::sweep(&engine.host, &known).err());
    swept.failures.extend(aftermath::sweep(engine, &known).err());
    Ok(swept)
}

fn abandoned(found: &Found, now: u64) -> bool {
    let ended = matches!(found.agent.as_str(), "absent" | "exited" | "dead" | "created");
    ended && now.saturating_sub(found.created_at.0) > YOUNG_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::UnixTime;

    #[test]
    fn a_running_or_young_workflow_is_never_abandoned() {
        let found = |agent: &str, created_at| Found {
            agent: agent.to_owned(),
            created_at: UnixTime(created_at),
            ..inventory::tests::found("00112233")
        };
        assert!(!abandoned(&found("running", 0), 1_000_000));
        assert!(!abandoned(&found("paused", 0), 1_000_000));
        assert!(!abandoned(&found("absent", 999_950), 1_000_000));
        assert!(abandoned(&found("exited", 0), 1_000_000));
        assert!(!abandoned(&found("exited", 2_000_000), 1_000_000), "a clock that went back");
    }
}
