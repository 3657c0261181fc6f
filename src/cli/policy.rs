//! `ringfence policy …`.

use clap::{Args, Subcommand};

/// Work with policies, offline.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say everything that is wrong with policy files
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        /// Print the diagnostics as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a target is permitted, and by which rule
    #[command(after_help = "\
Targets: https://host/path, host (port 443), host:port, tcp://addr:port, ssh://host
Exit status: 0 allowed, 1 denied, 2 cannot tell (bad input)")]
    Explain(ExplainArgs),
}

/// `ringfence policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What would be reached
    pub target: String,
    /// A policy file, or the name of a preset
    #[arg(long = "policy", value_name = "NAME|FILE")]
    pub policies: Vec<String>,
    /// Permit a name (port 443 unless given)
    #[arg(long = "allow", value_name = "HOST[:PORT]")]
    pub allow: Vec<String>,
    /// Refuse a name or a range
    #[arg(long = "deny", value_name = "HOST|CIDR")]
    pub deny: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
