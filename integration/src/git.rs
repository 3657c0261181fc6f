//! The person's git, beside an agent's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{Output, bounded};

/// Runs `git WORDS` in a folder, however it ends; what it printed.
///
/// # Errors
/// When it cannot be started or hangs.
pub fn git(folder: &Path, words: &[&str]) -> Result<String> {
    Ok(run(folder, words)?.stdout)
}

/// Runs git like the function above, and gives its stderr behind its stdout.
///
/// # Errors
/// When it cannot be started or hangs.
pub fn git_with_complaints(folder: &Path, words: &[&str]) -> Result<String> {
    let output = run(folder, words)?;
    Ok(output.stdout + &output.stderr)
}

/// Runs git with a name of its own, and without the configuration of the person who runs the tests.
fn run(folder: &Path, words: &[&str]) -> Result<Output> {
    let mut command = Command::new("git");
    command
        .args(["-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "testbed@example.com");
    }
    bounded(&mut command, b"", Duration::from_secs(20))
}
