//! R6, R7, R9, R10: what an agent is given. These rows say what this version does, and does not do,
//! about each.

use crate::doctor::facts::Project;
use crate::doctor::row::{Row, Verdict};

/// Judges R6 and returns its row.
pub(crate) fn mounts(project: Option<&Project>) -> Row {
    let mut row = Row::new("R6", "mounts beyond the project");
    row.found(
        "an agent gets the directory given by --project, what --mount names, and nothing else of this machine's; never an engine's socket",
    );
    row.found(
        "system directories, the home directory and what belongs to the engine are refused as a project",
    );
    if let Some(project) = project {
        row.found(format!("{} may be a project", project.path));
    }
    row
}

/// Judges R7 and returns its row.
pub(crate) fn secrets(project: Option<&Project>) -> Row {
    let mut row = Row::new("R7", "credentials in the project directory");
    row.found("files known as secrets, by name or by content, are covered before an agent exists");
    row.found("what looks like nothing stays visible, and so does git's history");
    match project.map(|project| (&project.path, &project.masks)) {
        None => row.found("no project was named: --project DIR tells what would be covered"),
        Some((path, Err(why))) => {
            row.held_against(Verdict::Fail, format!("{path} cannot be given to an agent: {why}"));
            row.advise("`ringfence project check` says the same by itself");
        }
        Some((path, Ok(masks))) => {
            row.found(format!(
                "{path}: {} files without their secrets, {} unchangeable",
                masks.hidden, masks.unchangeable
            ));
            if !masks.visible.is_empty() {
                let what = super::list(&masks.visible);
                row.held_against(Verdict::Warn, format!("a secret that cannot be hidden is in {what}"));
                row.advise("take the secret out of git's own files: a credential helper keeps it elsewhere");
            }
            if masks.unread > 0 {
                row.held_against(
                    Verdict::Warn,
                    format!("{} files are too large to look for secrets in", masks.unread),
                );
                row.advise("`ringfence project check DIR` names them; `workspace.mask` covers what you name");
            }
        }
    }
    row
}

/// Judges R9 and returns its row.
pub(crate) fn token() -> Row {
    let mut row = Row::new("R9", "the workflow token's power and lifetime");
    row.found("a token given by --gitlab-token-env is refused when it may do more, or lives longer, than the policy permits");
    row.found("the run ends with it; a token given by -e is not looked at");
    row
}

/// Judges R10 and returns its row.
pub(crate) fn messages() -> Row {
    let mut row = Row::new("R10", "secrets in goals and messages");
    row.found("command line, variables and prompts are searched for secrets, and a finding ends the start");
    row.advise("pass secrets by name (--secret NAME, -e NAME), never as text in a command or a goal");
    row
}
