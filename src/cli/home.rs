//! `ringfence home …`.

use clap::Subcommand;

use super::JsonArgs;

/// List and remove the homes that `run --home` keeps.
#[derive(Debug, Subcommand)]
pub(crate) enum HomeCommand {
    /// List the homes of this machine: project, image, last use
    #[command(after_help = "Exit status: 0 listed, 125 could not")]
    Ls(JsonArgs),
    /// Remove homes, with all that agents have kept there
    #[command(after_help = "Exit status: 0 removed, 125 one could not be removed")]
    Rm {
        /// Names of homes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}
