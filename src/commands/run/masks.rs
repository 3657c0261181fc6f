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
    let worktree = files.worktree.as_ref();
    let masks = plans(files.project(), worktree, &project::wishes(&policy.policy))?;
    project::check_unmasked(&masks, worktree.and_then(Worktree::below), &policy.unmasked)?;
    masks.iter().enumerate().for_each(|(number, plan)| tell_plan(number, plan));
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
fn tell_plan(number: usize, plan: &Plan) {
    let text = plan.summary();
    if number == 0 {
        return crate::term::talk_lines(text);
    }
    // Of a repository: its paths are below another directory.
    let place =
        format!("ringfence: in {}: ", netpolicy::diagnostic::harmless(&plan.project.to_string_lossy()));
    let lines = text.lines().filter(|line| !line.contains("--unmask PATH"));
    let lines = lines.map(|line| format!("{}\n", line.replacen("ringfence: ", &place, 1)));
    crate::term::talk_lines(lines.collect::<String>());
}
