//! Several runs beside each other: what none of those before had.

use std::collections::HashSet;

use super::run::RunReport;

/// Marks in each run but the first what no run before it reached, or was refused.
pub(crate) fn mark_new(runs: &mut [RunReport]) {
    let (mut reached, mut refused) = (HashSet::new(), HashSet::new());
    for (number, run) in runs.iter_mut().enumerate() {
        for (key, target) in &mut run.reached {
            target.is_new = reached.insert(key.clone()) && number > 0;
        }
        for (key, target) in &mut run.refused {
            target.is_new = refused.insert(key.clone()) && number > 0;
        }
    }
}
