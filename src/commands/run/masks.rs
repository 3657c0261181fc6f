//! Files of the project that are covered before the agent sees them.

use super::files::Files;
use super::policy::RunPolicy;
use crate::commands::project;
use crate::term::Failure;
use crate::workspace::masks::{self, Plan, Wishes};
use crate::workspace::mounts::Bind;
use crate::workspace::worktree::Worktree;

/// Plans what is covered, and tells it.
///
/// # Errors
/// When a file cannot be looked at, or `--unmask` names a path that is not there.
pub(crate) fn plan(files: &Files, policy: &RunPolicy) -> Result<Vec<Plan>, Failure> {
    let (worktree, wishes) = (files.worktree.as_ref(), project::wishes(&policy.policy));
    let mut masks = plans(files.project(), worktree, &wishes)?;
    project::check_unmasked(&masks, worktree.and_then(Worktree::below), &policy.unmasked)?;
    masks.extend(masks::plan_mounts(files.given(), &wishes, &policy.unmasked_in_mounts)?);
    masks.iter().for_each(tell_plan);
    Ok(masks)
}

/// Returns what is laid over the project, and over its repository where that is mounted apart from
/// it.
fn plans(project: Option<&Bind>, worktree: Option<&Worktree>, wishes: &Wishes) -> Result<Vec<Plan>, Failure> {
    let Some(project) = project else { return Ok(Vec::new()) };
    let Some(worktree) = worktree else { return Ok(vec![masks::plan(&project.source, wishes)?]) };
    let mut plans = vec![match worktree.below() {
        Some(part) => masks::plan(&project.source, &wishes.of_part(part))?,
        None => masks::plan(&project.source, wishes)?,
    }];
    if worktree.mirror.is_some() {
        plans.push(masks::plan_repository(&worktree.git.source, &worktree.record, wishes)?);
    }
    plans.iter_mut().for_each(|plan| plan.point(&worktree.pointers));
    Ok(plans)
}

/// Tells what is covered.
fn tell_plan(plan: &Plan) {
    let text = plan.summary();
    if plan.is_project() {
        return crate::term::talk_lines(text);
    }
    // Of a repository or a mount: its paths are below another directory.
    let shown = netpolicy::diagnostic::harmless(&plan.project.to_string_lossy());
    let place = format!("ringfence: in {shown}: ");
    let lines = text.lines().filter_map(|line| match (line.contains("--unmask PATH"), plan.is_mount()) {
        (true, true) => Some(format!("ringfence: --unmask {shown}/PATH shows a file as it is\n")),
        (true, false) => None,
        (false, _) => Some(format!("{}\n", line.replacen("ringfence: ", &place, 1))),
    });
    crate::term::talk_lines(lines.collect::<String>());
}
