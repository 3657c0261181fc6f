//! The policy of a run: all layers, and the words of the command line that must agree with them.

use std::path::Path;

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
    /// Absolute paths in other mounts that `--unmask` shows.
    pub(crate) unmasked_in_mounts: Vec<String>,
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
        let (network_denied, network_observed) = (args.network_denied(), args.network_observed());
        let wanted = Wanted { network_denied, network_observed, ..said };
        let loaded = layers::load(&wanted)?;
        layers::check_observing(&loaded.policy)?;
        layers::warn(&loaded);
        let mut policy = loaded.policy;
        let (in_mounts, in_project) = apart(&args.unmask, folder)?;
        let unmasked = project::unmask(&mut policy, &in_project, folder)?;
        check_digest(&policy, args.expect_digest.as_deref())?;
        let runtime = runtime::wanted(policy.container.runtime.as_deref(), args.runtime.as_deref())?;
        Ok(RunPolicy {
            policy,
            layers: Record::of(wanted)?,
            unmasked,
            unmasked_in_mounts: in_mounts,
            runtime,
        })
    }
}

/// Sets the absolute paths of `--unmask` that lie outside the project apart from those in it.
fn apart(unmask: &[String], project: Option<&Path>) -> Result<(Vec<String>, Vec<String>), Failure> {
    let is_outside = |path: &&String| {
        path.starts_with('/') && !project.is_some_and(|folder| Path::new(path).starts_with(folder))
    };
    let (outside, inside): (Vec<String>, Vec<String>) = (
        unmask.iter().filter(is_outside).cloned().collect(),
        unmask.iter().filter(|path| !is_outside(path)).cloned().collect(),
    );
    match inside.first().filter(|_| project.is_none()) {
        Some(path) => Err(Failure::new(
            COULD_NOT_RUN,
            format!("--unmask {path}: it counts from the project, and there is none"),
        )
        .hint("give the project by --project DIR, or the absolute path of what a --mount gives")),
        None => Ok((outside, inside)),
    }
}

/// Refuses a policy that is not the one that was agreed on (`--expect-digest`, its hexadecimal
/// digits).
fn check_digest(policy: &Policy, expected: Option<&str>) -> Result<(), Failure> {
    let digest = policy.digest();
    match expected {
        Some(expected) if digest.strip_prefix("sha256:") != Some(expected) => Err(Failure::new(
            COULD_NOT_RUN,
            format!("the policy is {digest}, not sha256:{expected} (--expect-digest)"),
        )
        .hint("look at it with the same options: ringfence policy show --project DIR")),
        _ => Ok(()),
    }
}
