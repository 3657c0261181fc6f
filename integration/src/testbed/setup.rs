//! The testbed's needs of the machine: installed when root on Debian or Ubuntu, else said.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::command::bounded;

/// A program and the Debian package that has it.
type Need = (&'static str, &'static str);

/// Always needed.
const BASE: &[Need] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("git", "git"),
    ("setpriv", "util-linux"),
    ("tar", "tar"),
    ("docker", "docker.io"),
];
/// Needed to start an engine.
pub const ENGINE: &[Need] = &[("dockerd", "docker.io"), ("iptables", "iptables")];
/// Needed to build the agent's image.
pub const IMAGE: &[Need] = &[("debootstrap", "debootstrap"), ("npm", "npm")];
/// Needed to build a program with musl.
pub const MUSL: &[Need] = &[("musl-gcc", "musl-tools")];
/// Needed to build the tiny image.
pub const TINY: &[Need] = &[("busybox", "busybox-static")];

/// Checks that this is root and that the programs which are always needed are there.
///
/// # Errors
/// With the exact command to run.
pub fn base(say: &dyn Fn(&str)) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the testbed makes network namespaces and needs root; run it as root, for example\n  \
             sudo -E env \"PATH=$PATH\" cargo demo"
        );
    }
    // git is often there as a user's own build: any will do.
    programs(BASE, say)
}

/// As many open files as this process may have: one test fills the guard's table of connections,
/// and both ends are here.
///
/// # Errors
/// When that cannot be set.
pub fn many_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot raise the limit on open files")
}

/// Installs the packages of those programs that are missing.
///
/// # Errors
/// When that is not possible: then with the command that would.
pub fn programs(needs: &[Need], say: &dyn Fn(&str)) -> Result<()> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let command = format!("apt-get update && apt-get install -y --no-install-recommends {list}");
    if !debian() || find("apt-get").is_none() {
        bail!("missing on this machine: {list}\ninstall them; on Debian: {command}");
    }
    say(&format!("installing {list}"));
    let output = bounded(
        Command::new("sh").args(["-c", &command]).env("DEBIAN_FRONTEND", "noninteractive"),
        b"",
        Duration::from_secs(900),
    )?;
    if !output.status.success() {
        bail!("`{command}` failed:\n{}", output.stderr.trim());
    }
    match needs.iter().find(|(program, _)| find(program).is_none()) {
        Some((program, package)) => bail!("{package} is installed, and there is still no `{program}`"),
        None => Ok(()),
    }
}

/// Finds the path of a program. It looks where root's tools are too.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(root)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The workspace's target directory: where this program was built.
///
/// # Errors
/// When it does not lie in one.
pub fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .skip(1)
        .find(|directory| {
            directory.join(".rustc_info.json").exists() || directory.join("CACHEDIR.TAG").exists()
        })
        .map(Path::to_path_buf)
        .with_context(|| format!("{} does not lie in a target directory", program.display()))
}

fn debian() -> bool {
    std::fs::read_to_string("/etc/os-release").is_ok_and(|text| {
        text.lines().any(|line| {
            line.strip_prefix("ID=")
                .or(line.strip_prefix("ID_LIKE="))
                .is_some_and(|value| value.contains("debian") || value.contains("ubuntu"))
        })
    })
}
