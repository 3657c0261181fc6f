//! Questions to the person at the terminal.

use std::io::IsTerminal;

use crate::term::{self, COULD_NOT_RUN, Failure};

/// Asks, and returns what was typed. `otherwise` is the hint where there is no terminal.
///
/// # Errors
/// When nobody can be asked.
pub(super) fn answer(question: &str, otherwise: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(COULD_NOT_RUN, "nobody can be asked: stdin is no terminal").hint(otherwise));
    }
    term::ask(question).map_err(|error| Failure::new(COULD_NOT_RUN, "cannot ask").caused_by(&error))
}

/// Asks for a yes; anything else is a no.
///
/// # Errors
/// When nobody can be asked.
pub(super) fn agreed(question: &str, otherwise: &str) -> Result<bool, Failure> {
    Ok(matches!(answer(question, otherwise)?.trim(), "y" | "Y" | "yes"))
}
