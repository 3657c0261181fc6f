//! `ringfence policy …`: one file a command; reads files, asks netpolicy, prints.
//!
//! ```text
//!  files ──check──▶ diagnostics
//!  all layers ──layers::load──▶ Policy ──┬─ explain: one target
//!                                        ├─ test:    the targets that the policies name themselves
//!                                        └─ show:    the policy itself
//! ```

mod check;
mod explain;
mod show;
mod test;

use std::path::Path;

use netpolicy::load::Loaded;

use crate::cli::policy::{PolicyArgs, PolicyCommand};
use crate::error::Failure;
use crate::layers;

/// Nothing could be told: bad input.
const COULD_NOT_TELL: u8 = 2;

/// Carries out one of the commands.
pub fn dispatch(command: PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Check { files, json } => check::check(&files, json),
        PolicyCommand::Explain(args) => explain::explain(&args),
        PolicyCommand::Show(args) => show::show(&args),
        PolicyCommand::Test(args) => test::test(&args),
        PolicyCommand::Schema => crate::commands::print(&netpolicy::schema::json()).map(|()| 0),
    }
}

/// What a command line says, with the project in a folder.
pub fn wanted(args: &PolicyArgs, project: Option<&Path>) -> layers::Wanted {
    layers::Wanted {
        policies: args.policies.clone(),
        allow: args.allow.clone(),
        deny: args.deny.clone(),
        project: project.map(Path::to_owned),
        network_denied: false,
    }
}

/// All layers, the project in the current directory among them.
fn load_here(args: &PolicyArgs) -> Result<Loaded, Failure> {
    layers::load(&wanted(args, Some(Path::new("."))))
        .map_err(|failure| Failure { exit: COULD_NOT_TELL, ..failure })
}
