//! R6, R7, R9, R10: what an agent is given. These rows say what this version does, and does not do, about each.

use crate::doctor::row::{Row, Verdict};

/// R6.
pub fn mounts(project: Option<&str>) -> Row {
    let mut row = Row::new("R6", "mounts beyond the project");
    row.found("an agent gets the directory given by --project and no other of this machine's, and never an engine's socket");
    row.found(
        "system directories, the home directory and what belongs to the engine are refused as a project",
    );
    if let Some(project) = project {
        row.found(format!("{project} may be a project"));
    }
    row
}

/// R7.
pub fn secrets(project: Option<&str>) -> Row {
    let mut row = Row::new("R7", "credentials in the project directory");
    let what = project.unwrap_or("the project directory");
    row.found(format!(
        "secret files of {what} are empty to the agent, configuration and code lose their secret values"
    ));
    row.found("git's history is not hidden: what was once committed can be read");
    row.advise("ringfence project check: what is hidden, and why");
    row
}

/// R9.
pub fn token() -> Row {
    let mut row = Row::new("R9", "the workflow token's power and lifetime");
    row.held_against(Verdict::Warn, "scope and lifetime of a token are not checked in this version");
    row.advise("give an agent a token of its own with the least scope, and end the run with it (--time)");
    row
}

/// R10.
pub fn messages() -> Row {
    let mut row = Row::new("R10", "secrets in goals and messages");
    row.held_against(
        Verdict::Warn,
        "command line, goal and prompts are not searched for secrets in this version",
    );
    row.advise("pass secrets by name (-e NAME), never as text in a command or a goal");
    row
}
