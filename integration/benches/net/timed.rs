//! Commands that are timed.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// No command takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a command that must succeed; its time in milliseconds, and what it said on stderr.
pub(crate) fn timed(command: &mut Command) -> Result<(f64, String)> {
    let began = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    ensure!(took < LIMIT, "{command:?} took {} s", took.as_secs());
    Ok((took.as_secs_f64() * 1e3, said))
}
