//! `ringfence doctor`, and what it runs inside containers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::policy::PolicyArgs;

/// `ringfence doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
A fence is made on the engine and tried, without an agent, and removed again. What the policy demands by engine.require
is held against its row.
Exit status: 0 no risk fails, 1 one does, 2 no engine answers, or bad input")]
pub(crate) struct DoctorArgs {
    /// The policy
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// A project directory; its own policy counts, as with `run`
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write versions, verdicts, sizes and the last runs' counts to a file, for somebody who helps:
    /// no secret, no name, no path
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) bundle: Option<PathBuf>,
    /// Add the policy's names and the rows' evidence to the bundle
    #[arg(long, requires = "bundle")]
    pub(crate) names: bool,
}

/// Programs that the doctor's containers run.
#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    /// Print what a process sees of its container
    Container,
    /// Make a fence, prove it, and print the doubts
    Fence,
}
