//! `ringfence project check`: what an agent would see of a project. Nothing is created, no engine
//! is asked.

use std::path::Path;

use netpolicy::load::pattern_fault;
use netpolicy::policy::Policy;

use crate::cli::project::{CheckArgs, ProjectCommand};
use crate::host::open;
use crate::layers;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::masks::{self, Plan, Wishes};

/// Carries out one of the commands.
pub(crate) fn dispatch(command: ProjectCommand) -> Result<u8, Failure> {
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
    let shown = unmask(&mut policy, &args.unmask, Some(&project))?;
    let plan = masks::plan(&project, &wishes(&policy))?;
    check_unmasked(std::slice::from_ref(&plan), None, &shown)?;
    match args.json {
        true => crate::term::print_json(&plan.json())?,
        false => crate::term::print(&plan.text())?,
    }
    Ok(0)
}

/// Adds what the command line shows to the policy, so that it is part of what is digested; the
/// paths as they are below the project.
pub(crate) fn unmask(
    policy: &mut Policy,
    paths: &[String],
    project: Option<&Path>,
) -> Result<Vec<String>, Failure> {
    let mut shown = Vec::new();
    for given in paths {
        let path = below(given, project);
        if let Some((why, hint)) = pattern_fault(&path, "unmask") {
            return Err(Failure::new(COULD_NOT_RUN, format!("--unmask {given}: {why}")).hint(hint));
        }
        if !policy.workspace.unmask.contains(&path) {
            policy.workspace.unmask.push(path.clone());
        }
        shown.push(path);
    }
    policy.workspace.unmask.sort();
    Ok(shown)
}

/// Returns an absolute path as it is below the project; every other as it was given.
fn below(given: &str, project: Option<&Path>) -> String {
    let project = project.and_then(Path::to_str);
    match project.and_then(|project| given.strip_prefix(project)?.strip_prefix('/')) {
        Some(inside) => format!("./{inside}"),
        None => given.to_owned(),
    }
}

/// Refuses to show what is not there. `part` is the folder of the first plan's directory that the
/// paths count from.
pub(super) fn check_unmasked(plans: &[Plan], part: Option<&Path>, shown: &[String]) -> Result<(), Failure> {
    let Some(first) = plans.first() else { return Ok(()) };
    let Some(path) = masks::showing_nothing_in(plans, part, shown)? else { return Ok(()) };
    let project = part.map_or_else(|| first.project.clone(), |part| first.project.join(part));
    Err(Failure::new(
        COULD_NOT_RUN,
        format!("--unmask {path}: nothing in {} has this path", project.display()),
    )
    .hint("write it as seen from the project's directory; `ringfence project check` lists what is covered"))
}

/// Returns the policy's wishes about masks.
pub(crate) fn wishes(policy: &Policy) -> Wishes {
    Wishes {
        mask: policy.workspace.mask.clone(),
        unmask: policy.workspace.unmask.clone(),
        stand_ins: policy.workspace.hide_committed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_is_one_below_the_project() {
        let project = Some(Path::new("/a/b"));
        for (given, expected) in
            [("/a/b/.env", "./.env"), ("/a/bc/.env", "/a/bc/.env"), ("./x", "./x"), (".env", ".env")]
        {
            assert_eq!(below(given, project), expected);
        }
        let mut policy = Policy::nothing();
        for bad in ["/elsewhere/.env", "../.env", "./", ".", "", "./*", "~/x"] {
            assert!(unmask(&mut policy, &[bad.to_owned()], project).is_err(), "{bad}");
        }
    }
}
