//! `ringfence man`: the man page on stdout, or the pages of all commands in a folder.

use std::path::Path;

use clap_mangen::Man;

use crate::cli::usage;
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Prints the page of the program, or writes a page for it and for each of its commands.
pub(crate) fn man(output: Option<&Path>) -> Result<u8, Failure> {
    match output {
        Some(folder) => write(folder),
        None => print(),
    }
    .map(|()| 0)
}

fn print() -> Result<(), Failure> {
    let mut page = Vec::new();
    let cannot = |error: &dyn std::error::Error| {
        Failure::new(COULD_NOT_RUN, "cannot make the man page").caused_by(error)
    };
    // As in the pages that go into a folder.
    let mut command = usage::command().disable_help_subcommand(true);
    command.build();
    Man::new(command).render(&mut page).map_err(|error| cannot(&error))?;
    term::print_document(&String::from_utf8(page).map_err(|error| cannot(&error))?)
}

fn write(folder: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(COULD_NOT_RUN, format!("cannot write man pages into {}", folder.display()))
            .caused_by(&error)
            .hint("name a folder that you may write")
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(usage::command(), folder).map_err(cannot)
}
