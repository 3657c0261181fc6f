//! Another runtime than the engine's own: a sandbox (runsc, Kata) may bring a network stack of its
//! own, which the fence's routes and rules do not see.
//!
//! ```text
//!  name ─▶ is it registered? ─▶ fence, with its netdev lock required ─▶ probe container, same runtime, same namespace:
//!                                                                       does the filter answer it? ─ no ─▶ no agent
//! ```
//! Nothing is guessed from a name or from a registered flag: a stack of its own cannot reach the
//! filter, since the netdev lock drops every frame, and a stack that reaches the filter is the
//! fence's. (`runsc --network=host` uses the namespace's own sockets.)

use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use tokio::time::timeout;

use super::container_end::{exit_of, last_words};
use super::create::create;
use crate::supervisor::engine::dialect::TakesRuntime;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::containers;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};

/// A sandbox boots, asks and ends within this time.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// A policy's and the command line's word for the engine's own.
const DEFAULT: &str = "default";

/// The runtime that the agent must have, of what the policy and the command line say; none: the
/// engine's own.
pub(crate) fn wanted(policy: Option<&str>, asked: Option<&str>) -> Result<Option<String>, Failure> {
    match (policy, asked) {
        (Some(policy), Some(asked)) if policy != asked => Err(Failure::new(
            COULD_NOT_RUN,
            format!("--runtime {asked}: the policy demands `{policy}` (container.runtime)"),
        )
        .hint("leave out --runtime; `ringfence policy show` tells which layer demands it")),
        (policy, asked) => Ok(policy.or(asked).filter(|name| *name != DEFAULT).map(str::to_owned)),
    }
}

/// Refuses a runtime that the engine does not have. Nothing exists yet.
pub(super) fn check(engine: &Engine, name: &str) -> Result<(), Failure> {
    if engine.dialect.takes_runtime == TakesRuntime::No {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("the runtime `{name}` cannot be asked for through this engine's API"),
        )
        .hint(
            "make it the engine's default, and leave it out here; Podman: engine.runtime in containers.conf",
        ));
    }
    let mut has: Vec<&str> = engine.info.runtimes.iter().flatten().map(|(name, _)| name.as_str()).collect();
    if has.contains(&name) {
        return Ok(());
    }
    has.sort();
    Err(Failure::new(COULD_NOT_RUN, format!("the engine has no runtime `{name}`, but {}", has.join(", ")))
        .hint("register it in the daemon's configuration, as docs/engines.md shows"))
}

/// Starts a short container as the agent's will be and has it ask the filter; unless that answers
/// there is no agent.
pub(super) async fn prove(
    engine: &Engine,
    workflow: &Workflow,
    helper: &str,
    runtime: &str,
    filter: Ipv4Addr,
) -> Result<(), Failure> {
    let probe = workflow.object(Role::Probe);
    create(engine, workflow, Role::Probe, containers::probe(workflow, helper, runtime, filter)).await?;
    let asked = async {
        engine.api.start_container(&probe, None).await?;
        Ok::<_, ApiError>(exit_of(engine, &probe).await)
    };
    let why = match timeout(PROBE_LIMIT, asked).await {
        Ok(Ok(0)) => return Ok(()),
        Ok(Ok(_)) => last_words(engine, &probe).await,
        Ok(Err(error)) => vec![engine::describe(&error)],
        Err(_) => vec![format!("it did not end within {} s", PROBE_LIMIT.as_secs())],
    };
    let mut failure = Failure::new(
        COULD_NOT_RUN,
        format!(
            "a container of the runtime `{runtime}` does not reach the fence's filter, so the agent was not started"
        ),
    );
    failure.causes = why;
    Err(failure.hint(
        "a sandbox with a network stack of its own stays closed; runsc takes the fence's sockets when it is registered with \
         --network=host (docs/engines.md)",
    ))
}

/// Runtimes that make plain containers, by the names that engines give them.
const PLAIN: [&str; 4] = ["runc", "crun", "youki", "io.containerd.runc.v2"];
/// Hint for [`of_helpers`].
pub(crate) const OF_HELPERS_HINT: &str = "make runc the engine's default runtime again; the agent alone gets a sandbox by --runtime or container.runtime";

/// A remark for a fence that could not be made: fence and guard are of the engine's default
/// runtime, which may be to blame.
pub(crate) fn of_helpers(default: &str) -> Option<String> {
    let plain = default.is_empty() || PLAIN.contains(&default);
    (!plain).then(|| {
        format!(
            "fence and guard run in the engine's default runtime, `{default}`: one with a network stack or a kernel of its own \
             cannot hold a fence"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_runtime_is_remarked_on_where_it_is_unusual() {
        assert_eq!(of_helpers("runc"), None);
        assert_eq!(of_helpers(""), None);
        assert!(of_helpers("runsc").unwrap().contains("default runtime, `runsc`"));
    }

    #[test]
    fn a_policys_runtime_is_not_asked_away() {
        assert_eq!(wanted(None, None).unwrap(), None);
        assert_eq!(wanted(Some("default"), None).unwrap(), None);
        assert_eq!(wanted(None, Some("runsc")).unwrap().as_deref(), Some("runsc"));
        assert_eq!(wanted(Some("runsc"), Some("runsc")).unwrap().as_deref(), Some("runsc"));
        for (policy, asked) in [("runsc", "runc"), ("runsc", "default"), ("default", "runsc")] {
            let failure = wanted(Some(policy), Some(asked)).unwrap_err();
            assert!(failure.message.contains(policy), "{failure}");
        }
    }
}
