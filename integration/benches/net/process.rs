//! Programs that are measured: found, pinned to their core, and ended with their value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use integration::testbed::setup;
use tempfile::TempDir;

/// The core of the programs; the load comes from another.
pub(crate) const CORE: usize = 0;
/// Debian's packages of the other programs.
const PACKAGES: [&str; 7] =
    ["dnsmasq-base", "unbound", "dnsperf", "haproxy", "nginx-light", "libnginx-mod-stream", "squid-openssl"];
/// The file by which Debian's packages ask whether they may start their servers.
const PERMISSION: &str = "/usr/sbin/policy-rc.d";

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

/// Finds a program, or says how to get it.
pub(crate) fn installed(program: &str, package: &str, say: &dyn Fn(&str)) -> Option<PathBuf> {
    let found = setup::find(program);
    if found.is_none() {
        say(&format!(
            "{program} is not installed and not measured: cargo bench-net setup, or apt-get install {package}"
        ));
    }
    found
}

/// Installs the other programs from Debian. Their packages start no server meanwhile.
///
/// # Errors
/// When that is not possible.
pub(crate) fn install(say: &dyn Fn(&str)) -> Result<()> {
    let is_ours = !Path::new(PERMISSION).exists();
    if is_ours {
        fs::write(PERMISSION, "#!/bin/sh\nexit 101\n").context("installing programs needs root")?;
        fs::set_permissions(PERMISSION, fs::Permissions::from_mode(0o755))?;
    }
    say(&format!("installing {}", PACKAGES.join(" ")));
    let done = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    if is_ours {
        fs::remove_file(PERMISSION)?;
    }
    let done = done?;
    ensure!(done.success(), "apt-get: {done}");
    Ok(())
}

/// The cores that a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The core of the programs.
    One,
    /// All of them, which load and server use too.
    All,
}

impl Cores {
    /// Returns the cores as `taskset -c` takes them.
    pub(crate) fn list(self) -> String {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match self {
            Cores::One => CORE.to_string(),
            Cores::All => format!("0-{}", all - 1),
        }
    }
}

/// Returns a command that runs on these cores, silent.
pub(crate) fn pinned(program: &Path, cores: Cores) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &cores.list()]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
