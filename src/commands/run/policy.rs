//! The policy of a run: all layers, and the words of the command line that must agree with them.

use netpolicy::policy::Policy;

use super::files::Files;
use crate::cli::run::RunArgs;
use crate::commands::{policy, project};
use crate::layers::record::Record;
use crate::layers::{self, Wanted};
use crate::supervisor::run::runtime;
use crate::term::{COULD_NOT_RUN, Failure};

/// The policy that holds for one run.
pub(crate) struct RunPolicy {
    /// All layers in one.
    pub(crate) policy: Policy,
    /// The origin of the policy, for a reload.
    pub(crate) layers: Record,
    /// Paths below the project that `--unmask` shows.
    pub(crate) unmasked: Vec<String>,
    /// OCI runtime of the agent; none: the engine's own.
    pub(crate) runtime: Option<String>,
}

impl RunPolicy {
    /// Loads all layers.
    ///
    /// # Errors
    /// When a layer cannot be used, or the command line contradicts the policy.
    pub(crate) fn load(args: &RunArgs, files: &Files) -> Result<RunPolicy, Failure> {
        let folder = files.folder();
        let said = policy::wanted(&args.policy, folder);
        let wanted = Wanted { network_denied: args.network_denied(), ..said };
        let loaded = layers::load(&wanted)?;
        layers::warn(&loaded);
        let mut policy = loaded.policy;
        let unmasked = project::unmask(&mut policy, &args.unmask, folder)?;
        check_digest(&policy, args.expect_digest.as_deref())?;
        let runtime = runtime::wanted(policy.container.runtime.as_deref(), args.runtime.as_deref())?;
        Ok(RunPolicy { policy, layers: Record::of(wanted)?, unmasked, runtime })
    }
}

/// Refuses a policy that is not the one that was agreed on (`--expect-digest`).
fn check_digest(policy: &Policy, expected: Option<&str>) -> Result<(), Failure> {
    let digest = policy.digest();
    match expected {
        Some(expected) if expected != digest => Err(Failure::new(
            COULD_NOT_RUN,
            format!("the policy is {digest}, not {expected} (--expect-digest)"),
        )
        .hint("see what changed: ringfence policy show, ringfence policy diff")),
        _ => Ok(()),
    }
}
