//! The command line as completion scripts and man pages show it: without what is hidden.

use clap::{Command, ValueEnum};

use super::usage;

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

/// Describes the command line without hidden commands.
pub(crate) fn command() -> Command {
    visible(&usage::command()).version(env!("CARGO_PKG_VERSION"))
}

/// Copies a command without its hidden subcommands: clap can hide them from its own help only.
fn visible(command: &Command) -> Command {
    // A name lives as long as the program, which prints one text and ends.
    let name: &'static str = command.get_name().to_owned().leak();
    let mut copy = Command::new(name)
        .args(command.get_arguments().cloned())
        .groups(command.get_groups().cloned())
        .subcommands(command.get_subcommands().filter(|one| !one.is_hide_set()).map(visible));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    copy
}
