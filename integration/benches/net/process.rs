//! Programs that are measured: found, pinned to their core, and ended with their value.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use integration::testbed::setup;
use tempfile::TempDir;

/// The core of the programs; the load comes from another.
pub(crate) const CORE: usize = 0;

/// A running program and the folder of its configuration; both end with this.
pub(crate) struct Process {
    child: Child,
    _directory: TempDir,
}

impl Process {
    /// Keeps a program with its folder.
    pub(crate) fn new(child: Child, directory: TempDir) -> Process {
        Process { child, _directory: directory }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Finds a program, or says how to get it. It is not installed by us: its package may start a
/// server on this machine.
pub(crate) fn installed(program: &str, package: &str, say: &dyn Fn(&str)) -> Option<PathBuf> {
    let found = setup::find(program);
    if found.is_none() {
        say(&format!("{program} is not installed and not measured: apt-get install {package}"));
    }
    found
}

/// Returns a command that runs on the core of the programs, silent.
pub(crate) fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &CORE.to_string()]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
