//! `ringfence run --keep`: what stays in a kept container's configuration.
//!
//! Files of `--secret` and `--prompt` are in memory and go with the run. An engine has no way to
//! take a variable out of a container that it has made.

use super::inputs::AgentInputs;
use crate::cli::run::RunArgs;
use crate::term::{self, COULD_NOT_RUN, Failure, Warning};

/// Refuses to keep a GitLab token, and names the variables that stay.
pub(super) fn check(args: &RunArgs, given: &AgentInputs) -> Result<(), Failure> {
    if !args.keep {
        return Ok(());
    }
    // --revoke-token is no remedy: it comes after the container was kept, and may fail.
    if args.gitlab_token_env.is_some() || args.gitlab_token_glab {
        let what = "--keep: the agent's GitLab token would stay in the kept container's configuration";
        return Err(Failure::new(COULD_NOT_RUN, what).hint("leave --keep out, or run without the token"));
    }
    let names: Vec<String> =
        given.env.iter().filter_map(|pair| pair.split('=').next()).map(str::to_owned).collect();
    if !names.is_empty() {
        term::warn(Warning::VariablesKept(names));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// Returns the hint of the refusal, where these options are refused.
    fn hint(options: &[&str]) -> Option<String> {
        let words = ["ringfence", "run"].iter().chain(options).chain(&["i"]);
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!("a run") };
        let given = AgentInputs { env: Vec::new(), handed: Vec::new() };
        check(&args, &given).err().map(|refused| refused.hint.unwrap())
    }

    #[test]
    fn no_gitlab_token_is_kept_whether_it_is_to_be_revoked_or_not() {
        for token in [&["--gitlab-token-env", "T"][..], &["--gitlab-token-glab"]] {
            for revoke in [&[][..], &["--revoke-token"]] {
                let with = [&["--keep"], token, revoke].concat();
                assert!(hint(&with).unwrap().contains("leave --keep out"), "{with:?}");
                assert_eq!(hint(&[token, revoke].concat()), None, "the control: nothing is kept");
            }
        }
        assert_eq!(hint(&["--keep"]), None);
    }
}
