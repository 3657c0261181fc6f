//! `ringfence policy learn`: the smallest policy with which runs would have reached what they asked
//! for.
//!
//! ```text
//!  each log ──sightings──▶ names, ports ─┬─ proposal ──words──▶ YAML on stdout, the rest on stderr
//!                                        └─ --apply FILE ──save::PolicyEdit──▶ shown, agreed, written
//! ```

mod doubt;
mod proposal;
mod sightings;
mod tally;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path;

use netpolicy::edit::Permission;
use netpolicy::policy::Rule;
use netpolicy::print;

use self::proposal::{Proposal, Wishes};
use self::sightings::Sightings;
use super::{COULD_NOT_TELL, apply};
use crate::cli::policy::LearnArgs;
use crate::commands::save::target::PolicyFile;
use crate::commands::save::{PolicyEdit, listed};
use crate::commands::sources;
use crate::term::{self, Failure, Warning};

/// A person said no.
const NOT_WRITTEN: u8 = 1;

/// Learns from logs, and prints the proposal or puts it into a file.
pub(crate) async fn learn(engine_host: Option<&str>, args: LearnArgs) -> Result<u8, Failure> {
    let mut runs = Vec::new();
    for source in &args.sources {
        let log = sources::read(engine_host, source).await.map_err(could_not)?;
        let sightings = Sightings::of(&log.bytes);
        if sightings.unread > 0 {
            term::warn(Warning::EventsUnread(sightings.unread));
        }
        runs.push(sightings);
    }
    let proposal = Proposal::of(&runs, &Wishes { wildcards: args.wildcards, once: args.once });
    if args.json {
        return term::print_json(&words::json(&args.sources, &proposal)).map(|()| 0);
    }
    term::talk_lines(words::account(runs.len(), &proposal));
    match &args.apply {
        Some(file) => put(file, &proposal, args.yes).map_err(could_not),
        None => term::print_document(&words::yaml(&proposal)).map(|()| 0),
    }
}

fn could_not(failure: Failure) -> Failure {
    Failure { exit: COULD_NOT_TELL, ..failure }
}

/// Puts the names into a policy file, after a person agreed.
fn put(file: &Path, proposal: &Proposal, yes: bool) -> Result<u8, Failure> {
    let file = PolicyFile::named(file)?;
    let (names, by_hand) = proposal.permissions();
    if !by_hand.is_empty() {
        term::essential_lines(lines_by_hand(&by_hand));
    }
    let (names, held) = apply::offered(&file, names)?;
    for (name, why) in &held {
        term::essential(format_args!("{name} is not written: it would be refused all the same ({why})"));
    }
    if names.is_empty() {
        term::talk("there is no name to write");
        return Ok(0);
    }
    write(file, &names, yes)
}

fn write(file: PolicyFile, names: &[Permission], yes: bool) -> Result<u8, Failure> {
    let edit = PolicyEdit::plan(file, names)?;
    if edit.is_empty() {
        term::talk(format_args!("{} permits {} already", edit.shown(), listed(names)));
        return Ok(0);
    }
    if !edit.agreed(yes)? {
        term::talk("nothing was written");
        return Ok(NOT_WRITTEN);
    }
    edit.write()?;
    Ok(0)
}

/// Lists the rules that no program writes: patterns, and checks of their own.
fn lines_by_hand(rules: &[&Rule]) -> String {
    let lines: String = rules.iter().map(|rule| format!("    - {}\n", print::entry(rule, false))).collect();
    format!("these lines are more than a name and a port; write them by hand:\nnetwork:\n  allow:\n{lines}")
}
