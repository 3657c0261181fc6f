//! `ringfence project …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Show a project as an agent would see it.
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// List the files that would be hidden from an agent, masked, or protected from its changes,
    /// and why
    Check(CheckArgs),
}

/// `ringfence project check`.
#[derive(Debug, Args)]
#[command(after_help = "\
A line a file: `empty` (a secret), `masked` (without its secret values), `read-only` (it runs code on this machine later),
`visible` (a secret that cannot be hidden), `unread` (not looked into), `unmasked` (by a policy or --unmask)
Exit status: 0; 125 when it cannot be told")]
pub(crate) struct CheckArgs {
    /// The project
    #[arg(default_value = ".", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// A path below the project that is shown as it is, although it looks like a secret
    #[arg(long, value_name = "PATH")]
    pub(crate) unmask: Vec<String>,
    /// The policies in force
    #[command(flatten)]
    pub(crate) policy: super::policy::PolicyArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
