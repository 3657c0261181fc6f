//! Check from within that the engine enforces limits: the fence has every kind of limit that the
//! agent gets.

use super::failure;
use crate::host::cgroups;
use crate::term::Failure;

/// Looks at its own.
pub(super) fn check() -> Result<(), Failure> {
    let found = [
        ("memory", cgroups::memory().is_some()),
        ("process", cgroups::processes().is_some()),
        ("CPU", cgroups::bounds_cpu()),
        ("swap", cgroups::bounds_swap()),
    ];
    let lacking: Vec<&str> = found.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(failure(format!(
        "the engine was asked for limits, and the fence finds itself without these: {}",
        lacking.join(", ")
    )))
}
