//! Data on stdout, with an error that says so.

use super::escape::{json_text, lines};
use super::printer::{Stream, is_terminal, write};
use super::{COULD_NOT_RUN, Failure};

/// Writes rows for people to stdout, with nothing in them that a terminal obeys.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    written(&lines(text))
}

/// Writes what is escaped already, part by part, and may have colours.
pub(crate) fn print_coloured(text: &str) -> Result<(), Failure> {
    written(text)
}

/// Writes a document, which a program reads as it is: into a file or a pipe unchanged, to a
/// terminal as rows are.
pub(crate) fn print_document(text: &str) -> Result<(), Failure> {
    if is_terminal(Stream::Data) { print(text) } else { written(text) }
}

/// Writes JSON to stdout.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot write JSON").caused_by(&error))?;
    written(&json_text(&format!("{text}\n")))
}

/// Writes to stdout. A reader that has gone away (`| head`) is no error.
fn written(text: &str) -> Result<(), Failure> {
    match write(Stream::Data, text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(COULD_NOT_RUN, "cannot write to stdout").caused_by(&error))
        }
        _ => Ok(()),
    }
}
