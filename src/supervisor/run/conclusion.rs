//! The end of a run: what is told, and the exit status.

use super::ended::Closed;
use super::prepared::RunPlan;
use super::summary::last_digest;
use crate::supervisor::aftermath::{self, Report};
use crate::supervisor::spec::workflow::Role;
use crate::term::Failure;
use crate::workspace::aftermath::Aftermath;
use crate::workspace::{masks, review};

/// Puts back after an agent that never ran, or whose end could not be seen before the removal.
pub(super) fn settle_late(plan: &RunPlan, left: Aftermath) -> Report {
    let mut left = left.settle();
    review::look_for_stand_ins(plan.workflow.id, &mut left);
    left.uncovered = plan.covers.covered.moved();
    Report::listed(left, plan.workflow.id)
}

/// Tells what came of a run; its exit status. An error in removing is told, and never hides the
/// agent's status. `kept`: the agent's container was to stay, and does.
pub(super) fn conclude(
    plan: &RunPlan,
    mut outcome: Result<Closed, Failure>,
    removed: Result<(), Failure>,
    late: Option<Report>,
    kept: Option<bool>,
) -> Result<u8, Failure> {
    let settled = outcome.as_mut().ok().and_then(|closed| closed.report.take());
    if let Some(report) = late.or(settled) {
        aftermath::tell(&report);
    }
    let project = plan.request.masks.iter().find(|plan| plan.is_project());
    let busy = project.filter(|_| outcome.is_ok()).and_then(masks::Plan::busy);
    if let Some(line) = busy {
        crate::term::talk(line);
    }
    if let Err(failure) = &removed {
        failure.tell();
    }
    let Closed { end, summary, .. } = outcome?;
    if let Some(kept) = kept {
        tell_kept(plan, kept);
    }
    for line in end.reached.iter().map(|(_, line)| line).chain(&end.why).chain(&end.lost) {
        crate::term::essential(line);
    }
    if let Some(summary) = &summary {
        crate::term::talk_lines(summary.text(plan.workflow.id));
    }
    crate::term::talk_lines(last_digest(summary.as_ref(), plan.workflow.id));
    Ok(end.status)
}

/// Tells whether the agent's container is there, as it was asked for.
fn tell_kept(plan: &RunPlan, kept: bool) {
    let (id, agent) = (plan.workflow.id, plan.workflow.object(Role::Agent));
    match kept {
        true => crate::term::talk(format_args!(
            "the agent's container is kept, stopped: docker cp {agent}:PATH . copies a file out; \
             ringfence stop {id} removes it"
        )),
        false => {
            crate::term::essential("the agent's container could not be kept by itself: see ringfence ps")
        }
    }
}
