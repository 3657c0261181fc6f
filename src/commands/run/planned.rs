//! Demands of `ringfence test` on a run beside the options of a person: a plan of conditions, and a
//! place for ringfence's own words, so that stderr is the agent's alone.

use crate::cli::run::RunArgs;
use crate::host::open;
use crate::term::{self, COULD_NOT_RUN, Failure};
use crate::wire::planned::PlannedConditions;

/// The largest plan that is read.
const LARGEST: u64 = 4 << 20;
/// Mode of the file for ringfence's words.
const MODE: u32 = 0o600;

/// Reads the plan; an empty one where there is none.
pub(super) fn read(args: &RunArgs) -> Result<PlannedConditions, Failure> {
    let Some(file) = &args.planned_conditions else { return Ok(PlannedConditions::default()) };
    let cannot = || {
        Failure::new(COULD_NOT_RUN, format!("the planned conditions in {} cannot be used", file.display()))
    };
    let bytes = open::read(file, LARGEST).map_err(|refused| refused.explain(cannot()))?;
    serde_json::from_slice(&bytes).map_err(|error| cannot().caused_by(&error))
}

/// Has ringfence's words go to the file that is asked for.
pub(super) fn redirect_talk(args: &RunArgs) -> Result<(), Failure> {
    let Some(file) = &args.talk else { return Ok(()) };
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot write {}", file.display()));
    term::keep_talk(open::create(file, MODE).map_err(|refused| refused.explain(cannot()))?.file);
    Ok(())
}
