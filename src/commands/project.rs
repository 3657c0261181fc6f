//! `ringfence project check`: what an agent would see of a project. Nothing is created, no engine is asked.

use netpolicy::load::pattern_fault;
use netpolicy::policy::Policy;

use crate::cli::project::{CheckArgs, ProjectCommand};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::host::open;
use crate::layers;
use crate::workspace::masks::{self, Wishes};

/// Carries out one of the commands.
pub fn dispatch(command: ProjectCommand) -> Result<u8, Failure> {
    match command {
        ProjectCommand::Check(args) => check(&args),
    }
}

fn check(args: &CheckArgs) -> Result<u8, Failure> {
    let cannot = || Failure::new(COULD_NOT_RUN, format!("{} cannot be read", args.directory.display()));
    let project = open::real(&args.directory).map_err(|refused| refused.explain(cannot()))?;
    let loaded = layers::load(&super::policy::wanted(&args.policy, Some(&project)))?;
    layers::warn(&loaded);
    let mut policy = loaded.policy;
    unmask(&mut policy, &args.unmask)?;
    let plan = masks::plan(&project, &wishes(&policy))?;
    match args.json {
        true => super::print_json(&plan.json())?,
        false => super::print(&plan.text())?,
    }
    Ok(0)
}

/// Adds what the command line shows to the policy, so that it is part of what is digested.
pub fn unmask(policy: &mut Policy, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        if let Some((why, hint)) = pattern_fault(path, "unmask") {
            return Err(Failure::new(COULD_NOT_RUN, format!("--unmask {path}: {why}")).hint(hint));
        }
        if !policy.workspace.unmask.contains(path) {
            policy.workspace.unmask.push(path.clone());
        }
    }
    policy.workspace.unmask.sort();
    Ok(())
}

/// What the policy says about masks.
pub fn wishes(policy: &Policy) -> Wishes {
    Wishes { mask: policy.workspace.mask.clone(), unmask: policy.workspace.unmask.clone() }
}
