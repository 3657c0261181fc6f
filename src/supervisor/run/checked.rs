//! The first phase: everything that can be looked at was looked at, and nothing exists.

use bollard::models::Network;

use super::checks::{check_machine_is_known, check_name_is_free, cpus, may_hold_quotas, own_addresses};
use super::request::RunRequest;
use super::{home, runtime};
use crate::host::authorities::{self, Certificates};
use crate::supervisor::engine::Engine;
use crate::supervisor::mounts::nonce;
use crate::supervisor::spec::agent::EngineFacts;
use crate::supervisor::spec::etc;
use crate::supervisor::spec::home::HomePlace;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::upload::guard_inputs::{self, Means};
use crate::supervisor::{helper_image, networks};
use crate::term::{Failure, Warning, trace};

/// A run that can begin, as far as anybody can tell before.
pub(super) struct Checked {
    /// The engine's machine.
    pub(super) facts: EngineFacts,
    /// The agent's limits.
    pub(super) limits: Limits,
    /// The engine's id of the helper image.
    pub(super) helper: String,
    /// Place of the agent's home, where it has one that survives.
    pub(super) home: Option<HomePlace>,
    /// Values that the start needs once.
    pub(super) gathered: Gathered,
}

/// Values that were gathered for the start.
pub(super) struct Gathered {
    /// All networks of the engine.
    pub(super) networks: Vec<Network>,
    /// Values of this machine that the guard needs.
    pub(super) means: Means,
    /// Authorities for the agent.
    pub(super) corporate: Option<Certificates>,
}

impl Checked {
    /// Looks at all that can be looked at before anything is created, and has the helper image on
    /// the engine.
    ///
    /// # Errors
    /// When the run cannot be as it was asked for.
    pub(super) async fn check(
        engine: &Engine,
        image: &Image,
        request: &RunRequest,
    ) -> Result<Checked, Failure> {
        let mut step = trace::step("checked");
        let ca = request.agent.ca.as_ref();
        let means = Means::gather(&request.policy, ca)?;
        let corporate = ca.map(authorities::read).transpose()?;
        check_name_is_free(engine, request.name.as_ref()).await?;
        if request.agent.keep {
            engine.dialect.check_keeps_agent()?;
        }
        if let Some(runtime) = &request.agent.runtime {
            runtime::check(engine, runtime)?;
        }
        let words = engine.dialect.check()?.into_iter();
        words.for_each(|words| crate::term::warn(Warning::ByEngine { about: None, words }));
        check_machine_is_known(engine)?;
        let limits = request.agent.limits.within(&request.policy, cpus(&engine.info))?;
        let facts = facts(engine);
        let networks = networks::list(engine).await?;
        let own = own_addresses()?;
        guard_inputs::check_proxy(&request.policy, &networks, &own).await?;
        guard_inputs::warn_of_loopback(&request.policy, &networks, &own).await;
        step.then("helper image");
        let helper = helper_image::ensure(engine).await?;
        let home = home::find(engine, image, request).await?;
        drop(step);
        Ok(Checked { facts, limits, helper, home, gathered: Gathered { networks, means, corporate } })
    }
}

/// Returns what an agent depends on of the engine's machine, beside the dialect.
fn facts(engine: &Engine) -> EngineFacts {
    let elsewhere = nonce::is_needed(engine.info.kernel_version.as_deref());
    EngineFacts {
        quotas: may_hold_quotas(&engine.info),
        own_files: etc::can_be_given(&engine.dialect, engine.local, elsewhere),
        elsewhere,
    }
}
