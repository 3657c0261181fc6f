//! The program with an environment of its own, where no engine is.

use std::path::Path;
use std::process::Command;

/// Returns `ringfence` in a folder, with this home and without an engine.
pub(crate) fn without_engine(folder: &Path, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
    command.env("DOCKER_HOST", "unix:///nonexistent/engine.sock");
    command
}
