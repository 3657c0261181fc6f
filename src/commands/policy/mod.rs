//! `ringfence policy …`: one file a command; reads files, asks netpolicy, prints.
//!
//! ```text
//!  files ──check──▶ diagnostics
//!  two files ──diff──▶ what the new one reaches beyond the old one
//!  all layers ──layers::load──▶ Policy ──┬─ explain: one target
//!                                        ├─ test:    the targets that the policies name themselves
//!                                        └─ show:    the policy itself
//!  another program's file ──import──▶ policy      policy ──export──▶ another program's file
//!  logs of runs ──learn──▶ policy                  ──unused──▶ rules that no run needed
//!  refusals of a run ──apply──▶ names chosen by a person ──save──▶ a policy file
//!  project ──walk──▶ files ──suggest──▶ policy    ──presets──▶ policy
//! ```

mod apply;
mod check;
pub(crate) mod diff;
mod explain;
mod export;
mod headroom;
mod import;
mod learn;
mod presets;
mod resolved;
mod show;
pub(crate) mod suggest;
mod test;
mod unused;
mod walk;

use std::path::Path;

use netpolicy::load::Loaded;
use netpolicy::note::Note;

pub(super) use self::apply::apply;
pub(super) use self::learn::learn;
pub(super) use self::unused::unused;
use crate::cli::policy::{LayerArgs, PolicyArgs, PolicyCommand};
use crate::cli::run::Network;
use crate::layers;
use crate::term::Failure;

/// Exit status for bad input: nothing could be told.
const COULD_NOT_TELL: u8 = 2;

/// Carries out one of the commands.
pub(crate) fn dispatch(command: PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Check { files, layer, json } => check::check(&files, layer, json),
        PolicyCommand::Explain(args) => explain::explain(&args),
        PolicyCommand::Show(args) => show::show(&args),
        PolicyCommand::Test(args) => test::test(&args),
        PolicyCommand::Schema => crate::term::print(&netpolicy::schema::json()).map(|()| 0),
        PolicyCommand::Import(args) => import::import(&args),
        PolicyCommand::Export(args) => export::export(&args),
        PolicyCommand::Suggest(args) => suggest::suggest(&args),
        PolicyCommand::Presets(args) => presets::presets(&args),
        PolicyCommand::Diff(args) => diff::diff(&args),
        PolicyCommand::Apply(_) | PolicyCommand::Learn(_) | PolicyCommand::Unused(_) => {
            Err(Failure::new(COULD_NOT_TELL, "this command asks the engine"))
        }
    }
}

/// Returns the policy options of a command line, with the project in a folder.
pub(crate) fn wanted(args: &PolicyArgs, project: Option<&Path>) -> layers::Wanted {
    layers::Wanted {
        policies: args.policies.clone(),
        allow: args.allow.clone(),
        deny: args.deny.clone(),
        gitlab: args.gitlab.clone(),
        project: project.map(Path::to_owned),
        network_denied: false,
        network_observed: false,
    }
}

/// Says what a translation could not carry over.
pub(crate) fn say(notes: &[Note]) {
    for note in notes {
        crate::term::talk_lines(format_args!("{note}\n"));
    }
}

/// Loads all layers, the project in the current directory among them.
fn load_here(args: &PolicyArgs) -> Result<Loaded, Failure> {
    load_for(args, &LayerArgs::default(), Network::Policy)
}

/// Loads the layers that are chosen, as a run with this network has them.
fn load_for(args: &PolicyArgs, chosen: &LayerArgs, network: Network) -> Result<Loaded, Failure> {
    let here = (!chosen.alone).then_some(Path::new("."));
    let wanted = layers::Wanted {
        network_denied: network == Network::Denied,
        network_observed: network == Network::Observe,
        ..wanted(args, chosen.project.as_deref().or(here))
    };
    let choice = layers::Choice { of_files: chosen.layer, alone: chosen.alone };
    project_there(chosen)
        .and_then(|()| layers::load_chosen(&wanted, &choice))
        .and_then(|loaded| layers::check_observing(&loaded.policy).map(|()| loaded))
        .map_err(|failure| Failure { exit: COULD_NOT_TELL, ..failure })
}

/// Refuses a project that is not there: its policy would be missed in silence.
fn project_there(chosen: &LayerArgs) -> Result<(), Failure> {
    match &chosen.project {
        Some(folder) if !folder.is_dir() => {
            Err(Failure::new(COULD_NOT_TELL, format!("{} is no folder", folder.display()))
                .hint("name the project's folder"))
        }
        _ => Ok(()),
    }
}
