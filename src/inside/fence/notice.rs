//! The agent's notice, written anew while the agent reads it.

use std::io::BufRead as _;
use std::path::Path;

use super::first_files::replace;
use super::{FAILED, failed};
use crate::term::Failure;
use crate::wire::handover::{NOTICE, NOTICE_FILE};

/// Replaces the notice by the text that arrives on stdin, as a line of JSON.
pub(crate) fn notice() -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(failed("cannot read the notice from stdin"))?;
    let text: String = serde_json::from_str(&line)
        .map_err(|error| Failure::new(FAILED, "the notice on stdin is no text").caused_by(&error))?;
    replace(Path::new(NOTICE), NOTICE_FILE, &text).map_err(failed("cannot replace the agent's notice"))
}
