//! Gathering facts: the one part of the doctor that has effects. Each source is asked for itself, so that one that does not
//! answer costs its own rows only.
//!
//! ```text
//!  machine   /proc, /etc/resolv.conf            rehearsal  network + fence container ─┐ made, looked at,
//!  engine    info, version                      container  one without any power ─────┴ and removed again
//!  others    list, inspect (bounded)
//! ```

mod engine;
mod machine;
mod others;
mod project;
mod rehearsal;

use netpolicy::policy::Policy;

use super::facts::{Component, Engine as EngineFacts, Facts, Inside, Learned, Machine, Project};
use crate::error::Failure;
use crate::supervisor::engine::Engine;

pub use self::project::look as project;

/// Everything. The failure is an interrupt.
pub async fn everything(
    engine: &Engine,
    policy: &Policy,
    project: Option<Project>,
) -> Result<Facts, Failure> {
    let (mut itself, others, probes) =
        tokio::join!(engine::ask(engine), others::look(engine), rehearsal::everything(engine));
    let (inside, fence) = probes?;
    if let (Ok(itself), Ok(others)) = (&mut itself, &others) {
        itself.components.extend(others.builders.iter().map(|version| Component {
            name: "buildkit".to_owned(),
            version: version.clone(),
            commit: String::new(),
        }));
    }
    Ok(Facts {
        today: crate::clock::today(),
        machine: machine::look(),
        engine: itself,
        inside,
        fence,
        others,
        project,
        require: policy.require.clone(),
    })
}

/// What is left to say where no engine answers: why.
pub fn without_engine(why: &str, policy: &Policy, project: Option<Project>) -> Facts {
    Facts {
        today: crate::clock::today(),
        machine: machine::look(),
        engine: Err(why.to_owned()),
        inside: Err(why.to_owned()),
        fence: Err(why.to_owned()),
        others: Err(why.to_owned()),
        project,
        require: policy.require.clone(),
    }
}

/// This machine, and what the engine says of itself: nothing is created for that.
pub async fn said(engine: &Engine) -> (Machine, Learned<EngineFacts>) {
    (machine::look(), engine::ask(engine).await)
}

/// What a container without powers sees, from one that is made for it and removed again. The
/// failure is an interrupt.
pub async fn seen(engine: &Engine) -> Result<Learned<Inside>, Failure> {
    rehearsal::container_alone(engine).await
}
