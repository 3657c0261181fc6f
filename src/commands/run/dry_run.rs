//! `ringfence run --dry-run`: what would be run, as data.

use std::fmt::Write;

use crate::cli::run::RunArgs;
use crate::supervisor::run::RunRequest;
use crate::term::{self, Failure};

/// Prints what a checked request would run.
pub(crate) fn print(args: &RunArgs, request: &RunRequest) -> Result<u8, Failure> {
    term::print(&text(args, request))?;
    Ok(0)
}

fn network(args: &RunArgs) -> &'static str {
    match (args.network_denied(), args.network_observed()) {
        (true, _) => "denied",
        (false, true) => "observe",
        (false, false) => "policy",
    }
}

fn text(args: &RunArgs, request: &RunRequest) -> String {
    let words = |words: &[String]| shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut row = |key: &str, value: &str| _ = writeln!(text, "{key:<8} {value}");
    row("image", args.image());
    if !args.command().is_empty() {
        row("command", &words(args.command()));
    }
    if let Some(project) = request.agent.project() {
        row("project", &project.source.display().to_string());
    }
    row("network", network(args));
    row("policy", &request.policy.digest());
    for service in &request.services {
        row("service", &format!("{} {}", service.name, service.image));
    }
    for taken in &args.defaults {
        row("default", &taken.to_string());
    }
    text
}
