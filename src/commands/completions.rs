//! `ringfence completions`: the completion script of a shell, on stdout.

use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};

use crate::cli::manual::{self, Shell};
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Prints the script.
pub(crate) fn completions(shell: Shell) -> Result<u8, Failure> {
    let script = match shell {
        Shell::Bash => script(Bash),
        Shell::Zsh => script(Zsh),
        Shell::Fish => script(Fish),
    };
    let text = String::from_utf8(script)
        .map_err(|error| Failure::new(COULD_NOT_RUN, "the script is no text").caused_by(&error))?;
    term::print_document(&text).map(|()| 0)
}

fn script(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut manual::command(), "ringfence", &mut script);
    script
}
