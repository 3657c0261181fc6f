//! `ringfence run --keep`: what stays in a kept container's configuration.
//!
//! Files of `--secret` and `--prompt` are in memory and go with the run. An engine has no way to
//! take a variable out of a container that it has made.

use super::inputs::AgentInputs;
use crate::cli::run::RunArgs;
use crate::term::{self, COULD_NOT_RUN, Failure, Warning};

/// Refuses to keep a token that is good after the run, and names the variables that stay.
pub(super) fn check(args: &RunArgs, given: &AgentInputs) -> Result<(), Failure> {
    if !args.keep {
        return Ok(());
    }
    let has_token = args.gitlab_token_env.is_some() || args.gitlab_token_glab;
    if has_token && !args.revoke_token {
        let what = "--keep: the agent's GitLab token would stay in the kept container's configuration";
        return Err(Failure::new(COULD_NOT_RUN, what)
            .hint("add --revoke-token, which ends the token with the run, or leave --keep out"));
    }
    let names: Vec<String> =
        given.env.iter().filter_map(|pair| pair.split('=').next()).map(str::to_owned).collect();
    if !names.is_empty() {
        term::warn(Warning::VariablesKept(names));
    }
    Ok(())
}
