//! `ringfence init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Agents that there are starter files for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AgentKind {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// opencode
    Opencode,
    /// A shell, for any other agent
    Shell,
}

/// `ringfence init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes .ringfence.yml, from what `ringfence policy suggest` finds and the agent's preset, and Dockerfile.ringfence.
An existing file is never changed. Nothing is built, started or approved: the last lines say how.
Exit status: 0 written or printed, 125 nothing was written")]
pub(crate) struct InitArgs {
    /// The agent
    #[arg(long, value_enum, value_name = "AGENT", default_value_t = AgentKind::Shell)]
    pub(crate) agent: AgentKind,
    /// The project's folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// Print the files to stdout, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
