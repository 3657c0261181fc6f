//! What of this machine no agent is given, whatever it is called: homes, the container engine's files, its sockets.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::mounts::Identity;
use super::own::Own;
use crate::layers;
use crate::supervisor::state;

/// The lowest number of a person's account; macOS begins at 501.
const FIRST_PERSON: u32 = if cfg!(target_os = "macos") { 501 } else { 1000 };
/// `nobody`.
const NOBODY: u32 = 65534;

/// Facts about this machine that mounts are checked against; every path without links.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The caller's homes: by the environment and by the account.
    pub homes: Vec<PathBuf>,
    /// Homes of others.
    pub other_homes: Vec<PathBuf>,
    /// Files and directories of container engines.
    pub engine: Vec<PathBuf>,
    /// Engines' sockets, which may have other names too.
    pub sockets: Vec<Identity>,
    /// ringfence's own files.
    pub own: Own,
}

impl Machine {
    /// This machine, with the engine that will be asked.
    pub fn here(engine_host: Option<&str>) -> Machine {
        let own = rustix::process::getuid().as_raw();
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let by_environment = std::env::var_os("HOME").map(PathBuf::from);
        let by_account = home_of(&accounts, own);
        let homes: Vec<PathBuf> = by_environment
            .into_iter()
            .chain(by_account)
            .map(resolved)
            .filter(|home| home.parent().is_some())
            .collect();
        let mut other_homes: Vec<PathBuf> = people(&accounts, own).map(resolved).collect();
        other_homes.extend(["/home", "/Users"].into_iter().flat_map(|dir| of_others(Path::new(dir), own)));
        other_homes.retain(|home| home.parent().is_some() && !homes.iter().any(|own| own.starts_with(home)));
        let engine: Vec<PathBuf> = engine_files(engine_host, &homes).into_iter().map(resolved).collect();
        let sockets = engine.iter().filter_map(|path| path.metadata().ok());
        let sockets = sockets
            .filter(|meta| meta.file_type().is_socket())
            .map(|meta| Identity { device: meta.dev(), inode: meta.ino() })
            .collect();
        let policies = layers::fixed_files();
        let folders: Vec<PathBuf> = state::place()
            .into_iter()
            .chain(policies.iter().filter_map(|policy| policy.parent()).map(Path::to_owned))
            .collect();
        Machine { homes, other_homes, engine, sockets, own: Own::of(&folders, &policies) }
    }
}

/// Without links where it exists, else as it is.
fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// The fields of an account that matter here: number and home.
fn account(line: &str) -> Option<(u32, PathBuf)> {
    let fields: Vec<&str> = line.split(':').collect();
    match fields.as_slice() {
        [_, _, number, _, _, home, _] if home.starts_with('/') => {
            Some((number.parse().ok()?, PathBuf::from(home)))
        }
        _ => None,
    }
}

fn home_of(accounts: &str, own: u32) -> Option<PathBuf> {
    accounts.lines().filter_map(account).find(|(number, _)| *number == own).map(|(_, home)| home)
}

/// Homes of root and of people, but the caller's.
fn people(accounts: &str, own: u32) -> impl Iterator<Item = PathBuf> {
    let others = accounts.lines().filter_map(account).filter(move |(number, _)| {
        *number != own && *number != NOBODY && (*number == 0 || *number >= FIRST_PERSON)
    });
    others.map(|(_, home)| home)
}

/// Directories in `dir` that belong to somebody else: accounts of a directory service are in no file.
fn of_others(dir: &Path, own: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() != own))
        .map(|entry| entry.path())
        .collect()
}

fn engine_files(engine_host: Option<&str>, homes: &[PathBuf]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [
        "/run/containerd",
        "/run/crio",
        "/run/docker",
        "/run/docker.sock",
        "/run/podman",
        "/var/run/docker.sock",
        "/var/lib/containerd",
        "/var/lib/containers",
        "/var/lib/docker",
        "/var/lib/kubelet",
    ]
    .map(PathBuf::from)
    .to_vec();
    for home in homes {
        let below = [
            ".colima",
            ".docker/run",
            ".docker/desktop",
            ".lima",
            ".local/share/containers",
            ".local/share/docker",
            ".orbstack",
            ".rd",
        ];
        files.extend(below.map(|path| home.join(path)));
    }
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        files.extend(["docker.sock", "podman", "containerd"].map(|path| runtime.join(path)));
    }
    let named = engine_host.map(str::to_owned).or_else(|| std::env::var("DOCKER_HOST").ok());
    files.extend(named.as_deref().and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/false\nann:x:1000:1000::/home/ann:/bin/sh\n\
                            bob:x:1001:1001::/home/bob:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nbroken\n";

    #[test]
    fn homes_are_those_of_people() {
        assert_eq!(home_of(ACCOUNTS, 1000), Some(PathBuf::from("/home/ann")));
        let others: Vec<PathBuf> = people(ACCOUNTS, 1000).collect();
        assert_eq!(others, [PathBuf::from("/root"), PathBuf::from("/home/bob")]);
    }
}
