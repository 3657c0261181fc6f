//! Programs of the workspace, built by cargo when they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::bounded;
use crate::testbed::setup::target_directory;

/// The packages and tests chosen beside a program in the cargo command that builds it. The features
/// of all dependencies follow from the choice. Another choice than that of the command at work
/// builds every dependency anew, which takes minutes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beside {
    /// Nothing: the program as its users have it.
    Nothing,
    /// The end-to-end tests, and the workspace with them: as `cargo test --workspace` chooses.
    Tests,
}

/// The cargo at work, without what it told this program of itself: ring's build script, among
/// others, runs anew when a variable such as `CARGO_PKG_NAME` changes, and with it everything that
/// stands on ring is built again.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "OUT_DIR" {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds the program `name` of a package, in the profile of this build; the executable's path.
///
/// # Errors
/// When it does not build.
pub fn build(package: &str, name: &str, beside: Beside) -> Result<PathBuf> {
    let target = target_directory()?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = cargo();
    command.args(["build", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    match beside {
        Beside::Nothing => command.args(["--package", package, "--bin", name]),
        Beside::Tests => command.args(["--workspace", "--bin", name, "--test", "e2e"]),
    };
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        command.arg("--release");
        "release"
    };
    let output = bounded(&mut command, b"", Duration::from_secs(3600))?;
    if !output.status.success() {
        bail!("{name} does not build:\n{}", output.stderr.trim());
    }
    let executable = target.join(profile).join(name);
    if !executable.is_file() {
        bail!("cargo built {name}, but not as {}", executable.display());
    }
    Ok(executable)
}
