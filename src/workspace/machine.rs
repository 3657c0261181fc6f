//! Files of this machine that are given to no agent, whatever path leads to them: homes, the
//! container engine's files, its sockets.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::mounts::Identity;
use super::own_files::Own;
use crate::host::path_walk::symlink_chain;
use crate::host::state;

/// The lowest number of a person's account; macOS begins at 501.
const FIRST_PERSON: u32 = if cfg!(target_os = "macos") { 501 } else { 1000 };
/// `nobody`.
const NOBODY: u32 = 65534;

/// Facts about this machine that mounts are checked against; every path without links.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// The caller's homes: by the environment and by the account.
    pub(crate) homes: Vec<PathBuf>,
    /// Homes of others.
    pub(crate) other_homes: Vec<PathBuf>,
    /// Files and directories of container engines.
    pub(crate) engine: Vec<PathBuf>,
    /// Engines' sockets, which may have other names too.
    pub(crate) sockets: Vec<Identity>,
    /// Links on the way to those, and files that say which engine is used: no directory around one
    /// is given to be written.
    pub(crate) engine_ways: Vec<PathBuf>,
    /// The bundle that was named for the helper image, and links on the way to it: the next run's
    /// fence and guard come out of it.
    pub(crate) helper_ways: Vec<PathBuf>,
    /// ringfence's own files.
    pub(crate) own: Own,
}

/// Files of this machine that decide over runs, and that other rooms know of.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Sockets of the engine that will be asked, by every name that led to it.
    pub(crate) sockets: Vec<PathBuf>,
    /// Files that say which engine that is.
    pub(crate) configuration: Vec<PathBuf>,
    /// The bundle that was named for the helper image.
    pub(crate) helper_bundle: Option<PathBuf>,
    /// Policies of this machine and of its user.
    pub(crate) policies: Vec<PathBuf>,
}

impl Machine {
    /// Describes this machine, with the facts that other rooms know about it.
    pub(crate) fn here(known: &Known) -> Machine {
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
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folders = engine_folders(&homes, runtime.as_deref());
        let (engine, engine_ways) = engine_places(&folders, &known.sockets, &known.configuration);
        let sockets = engine.iter().filter_map(|path| path.metadata().ok());
        let sockets = sockets
            .filter(|meta| meta.file_type().is_socket())
            .map(|meta| Identity { device: meta.dev(), inode: meta.ino() })
            .collect();
        let folders: Vec<PathBuf> = state::place()
            .into_iter()
            .chain(known.policies.iter().filter_map(|policy| policy.parent()).map(Path::to_owned))
            .collect();
        let helper_ways = known.helper_bundle.as_deref().map(symlink_chain).unwrap_or_default();
        let own = Own::of(&folders, &known.policies);
        Machine { homes, other_homes, engine, sockets, engine_ways, helper_ways, own }
    }
}

/// Returns a path without links where it exists, or else as it is.
fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Reads an account's number and home.
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

/// Directories in `dir` that belong to somebody else: accounts of a directory service are in no
/// file.
fn of_others(dir: &Path, own: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() != own))
        .map(|entry| entry.path())
        .collect()
}

/// Lists the folders in which container engines keep their files. `engine::Choice` knows the
/// engines' sockets.
fn engine_folders(homes: &[PathBuf], runtime: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/run/containerd",
        "/run/crio",
        "/run/docker",
        "/run/podman",
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
            ".config/colima",
            ".docker/run",
            ".docker/desktop",
            ".lima",
            ".local/share/containers",
            ".local/share/docker",
            ".orbstack",
            ".rd",
        ];
        folders.extend(below.map(|path| home.join(path)));
    }
    let below =
        runtime.into_iter().flat_map(|runtime| ["podman", "containerd"].map(|path| runtime.join(path)));
    folders.extend(below);
    folders
}

/// Collects the engine's places, which no agent is given, and the links that lead to them, which no
/// agent may write: an agent that exchanges such a link makes the next run speak to another engine.
fn engine_places(
    folders: &[PathBuf],
    sockets: &[PathBuf],
    configuration: &[PathBuf],
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut engine, mut ways): (Vec<PathBuf>, Vec<PathBuf>) =
        (folders.iter().cloned().map(resolved).collect(), Vec::new());
    for socket in sockets {
        let mut way = symlink_chain(socket);
        engine.extend(way.pop());
        ways.append(&mut way);
    }
    ways.extend(configuration.iter().flat_map(|file| symlink_chain(file)));
    (engine, ways)
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
