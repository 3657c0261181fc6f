//! Facts about the covers that a run would lay over a project's secrets; the project is only read.

use std::path::Path;

use crate::doctor::facts::{Masks, Project};
use crate::workspace::masks::{self, Plan, Wishes, With};

/// Looks at it.
pub(crate) fn look(path: &Path, wishes: &Wishes) -> Project {
    let masks = masks::plan(path, wishes).map(|plan| count(&plan)).map_err(|failure| {
        let causes = failure.causes.join(": ");
        if causes.is_empty() { failure.message } else { format!("{}: {causes}", failure.message) }
    });
    Project { path: path.display().to_string(), masks }
}

fn count(plan: &Plan) -> Masks {
    let unchangeable = plan.covers.iter().filter(|cover| cover.with == With::Itself).count();
    Masks {
        hidden: plan.covers.len() - unchangeable,
        unchangeable,
        visible: plan.seen.in_git.iter().map(|(path, rule)| format!("{} ({rule})", path.display())).collect(),
        unread: plan.seen.too_large.len(),
    }
}
