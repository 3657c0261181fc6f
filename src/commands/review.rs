//! `ringfence review`: what a run changed.

use crate::cli::ReviewArgs;
use crate::term::Failure;
use crate::workspace::review;

/// Shows what a run changed, from its record and the project as it is now. Needs no engine.
pub(crate) fn review(args: &ReviewArgs) -> Result<u8, Failure> {
    let (id, run) = review::find(&args.run)?;
    let review = review::review(id, &run)?;
    match args.json {
        true => crate::term::print_json(&review)?,
        false => crate::term::print(&review.text())?,
    }
    Ok(0)
}
