//! Gathering facts: the one part of the doctor that has effects. Each source is asked for itself,
//! so that one that does not answer costs its own rows only.
//!
//! ```text
//!  machine   /proc, /etc/resolv.conf            rehearsal  network + fence container ─┐ made, looked at,
//!  engine    what it said when connected to     container  one without any power ─────┴ and removed again
//!  others    list, inspect (bounded)
//! ```

mod engine;
mod machine;
mod others;
mod project;
mod rehearsal;

use std::time::Duration;

use netpolicy::policy::Policy;

use super::facts::{Component, Engine as EngineFacts, Facts, Inside, Learned, Machine, Project};
use crate::supervisor::engine::Engine;
use crate::term::Failure;

pub(crate) use self::project::look as project;

/// A question that makes nothing is answered within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gathers all facts. Fails only when it is interrupted.
pub(crate) async fn everything(
    engine: &Engine,
    policy: &Policy,
    project: Option<Project>,
) -> Result<Facts, Failure> {
    let (others, probes) = tokio::join!(answered(others::look(engine)), rehearsal::everything(engine));
    let (inside, fence) = probes?;
    let mut itself = engine::facts(engine);
    if let Ok(others) = &others {
        itself.components.extend(others.builders.iter().map(|version| Component {
            name: "buildkit".to_owned(),
            version: version.clone(),
            commit: String::new(),
        }));
    }
    Ok(Facts {
        today: crate::host::clock::today(),
        machine: machine::look(),
        engine: Ok(itself),
        inside,
        fence,
        others,
        project,
        require: policy.require.clone(),
    })
}

/// Waits for the engine's answer with a time limit: a machine that was suspended keeps connections
/// that are dead.
async fn answered<T>(question: impl Future<Output = Learned<T>>) -> Learned<T> {
    let answer = tokio::time::timeout(PATIENCE, question).await;
    answer.unwrap_or_else(|_| Err(format!("the engine did not answer within {} s", PATIENCE.as_secs())))
}

/// Returns the facts that are left where no engine answers, with the reason.
pub(crate) fn without_engine(why: &str, policy: &Policy, project: Option<Project>) -> Facts {
    Facts {
        today: crate::host::clock::today(),
        machine: machine::look(),
        engine: Err(why.to_owned()),
        inside: Err(why.to_owned()),
        fence: Err(why.to_owned()),
        others: Err(why.to_owned()),
        project,
        require: policy.require.clone(),
    }
}

/// Gathers this machine's facts, and those that the engine reports: nothing is created for that.
pub(crate) fn said(engine: &Engine) -> (Machine, EngineFacts) {
    (machine::look(), engine::facts(engine))
}

/// Runs a container without powers, and returns the facts that it sees. Fails only when it is
/// interrupted.
pub(crate) async fn seen(engine: &Engine) -> Result<Learned<Inside>, Failure> {
    rehearsal::container_alone(engine).await
}
