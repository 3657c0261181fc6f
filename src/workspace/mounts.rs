//! Checks of the directories that `--project` and `--mount` give to an agent, after every link is
//! resolved.
//!
//! ```text
//!  words ─▶ resolved path ─▶ held open, without following a link ─▶ may it be given? ─▶ Bind
//!                                    │                                                   │
//!                                    └── device and inode, which the fence finds again ◀─┘  or there is no agent
//! ```
//! The engine resolves a path anew when it mounts it, so that what was checked may be something
//! else by then: another agent that has the directory above can swap it for a link at the right
//! moment. Hence the identity: the fence looks at the very mount that the agent gets, before the
//! agent starts.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::machine::Machine;
use super::{docker, held};
use crate::host::territory::GivenDirectory;
use crate::host::{identity, open};
use crate::term::{COULD_NOT_RUN, Failure};

/// Directories that nobody gives to an agent, themselves.
const NOT_ITSELF: &[&str] = &[
    "/",
    "/bin",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
    "/Applications",
    "/Library",
    "/System",
    "/Users",
    "/Volumes",
    "/private",
    "/private/tmp",
    "/private/var",
];
/// Nor anything below these: keys, devices, sockets, state of the system.
const NOT_BELOW: &[&str] = &[
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/run",
    "/sys",
    "/var/cache",
    "/var/run",
    "/var/spool",
    "/private/etc",
    "/private/var/db",
    "/private/var/run",
];
/// Targets at and below which nothing is mounted in the agent's container.
const NO_TARGET_BELOW: &[&str] = &["/proc", "/sys", "/dev", "/run/ringfence"];
/// Targets at which nothing is mounted; below them it may be.
const NO_TARGET: &[&str] =
    &["/", "/etc", "/run", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/run/.containerenv"];
/// Places of the engines' own init in a container: Docker's, also where `/sbin` is a link to
/// `/usr/sbin`, and Podman's.
const ENGINES_INIT: &[&str] = &["/sbin/docker-init", "/usr/sbin/docker-init", "/run/podman-init"];
/// Parts of a project that may not be mounted over from elsewhere: they run code on this machine
/// later, or are policy.
const PROTECTED: &[&str] = &[".git", ".ringfence.yml", ".gitlab", ".envrc", ".vscode", ".idea"];

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Device.
    pub(crate) device: u64,
    /// Inode.
    pub(crate) inode: u64,
}

/// Directory or file of this machine that the agent is given.
#[derive(Debug, Clone)]
pub(crate) struct Bind {
    /// Path on this machine, without links.
    pub(crate) source: PathBuf,
    /// Path in the agent's container.
    pub(crate) target: String,
    /// Set when the agent may write the mount.
    pub(crate) writable: bool,
    /// Set for a directory; unset for a regular file.
    pub(crate) directory: bool,
    /// Device and inode that were checked.
    pub(crate) identity: Identity,
    /// User and group that it belongs to.
    pub(crate) owner: (u32, u32),
    /// The checked file, held open: it stays the same file wherever the path leads later, and its
    /// inode is not given to another file.
    held: Arc<OwnedFd>,
}

/// Checks the project directory, and mounts it at `target`.
pub(crate) fn project(given: &Path, target: &str, machine: &Machine) -> Result<Bind, Failure> {
    let called = format!("--project {}", given.display());
    let bind = hold(&called, given, target.to_owned(), true)?;
    if !bind.directory {
        return Err(refusal(&called, "it is not a directory", "give the directory of one project"));
    }
    may_be_given(&called, &bind, machine)?;
    Ok(bind)
}

/// Checks a directory that git needs for a project, and mounts it at `target`. `called` names the
/// option that asks for it.
pub(super) fn of_repository(
    called: &str,
    path: &Path,
    target: String,
    writable: bool,
    machine: &Machine,
) -> Result<Bind, Failure> {
    let bind = hold(called, path, target, writable)?;
    if !bind.directory {
        return Err(refusal(called, "it is not a directory", "leave out --worktree"));
    }
    may_be_given(called, &bind, machine)?;
    may_be_used(called, &bind)?;
    Ok(bind)
}

/// Reads and checks `SRC:DST[:ro|:rw]`, read-only unless it says otherwise.
pub(crate) fn mount(given: &str, project: Option<&Bind>, machine: &Machine) -> Result<Bind, Failure> {
    let called = format!("--mount {given}");
    let form = "write SRC:DST, or SRC:DST:rw for one that the agent may write";
    let (source, target, writable) = match given.split(':').collect::<Vec<_>>()[..] {
        [source, target] | [source, target, "ro"] if !docker::is_long_form(given) => (source, target, false),
        [source, target, "rw"] => (source, target, true),
        _ => {
            let (why, hint) =
                docker::mount(given).unwrap_or(("it is not understood".to_owned(), form.to_owned()));
            return Err(refusal(&called, &why, &hint));
        }
    };
    if !source.contains('/') && !source.starts_with('.') {
        let why = "a path is wanted, and volumes of the engine are not given to agents";
        return Err(refusal(&called, why, &format!("./{source} is the path below this directory; {form}")));
    }
    let target = may_be_target(target, project).map_err(|why| refusal(&called, &why, form))?;
    let bind = hold(&called, Path::new(source), target, writable)?;
    may_be_given(&called, &bind, machine)?;
    may_be_used(&called, &bind)?;
    Ok(bind)
}

/// Checks a directory or file that a client of `ringfence serve` asks for at `target`.
pub(crate) fn of_client(
    source: &Path,
    target: &str,
    writable: bool,
    machine: &Machine,
) -> Result<Bind, Failure> {
    let called = format!("{}:{target}", source.display());
    let target = may_be_target(target, None).map_err(|why| refusal(&called, &why, "choose another place"))?;
    let bind = hold(&called, source, target, writable)?;
    if bind.source != source {
        return Err(refusal(&called, "a link is on its way", "give the path without links"));
    }
    may_be_given(&called, &bind, machine)?;
    may_be_used(&called, &bind)?;
    Ok(bind)
}

impl Bind {
    /// Returns the directory as one that an agent can write. Returns nothing for a directory that
    /// the agent can only read, and for a file, whose content alone the agent can write.
    pub(crate) fn given(&self) -> std::io::Result<Option<GivenDirectory>> {
        if !self.writable || !self.directory {
            return Ok(None);
        }
        Ok(Some(GivenDirectory::new(&self.source, identity::Identity::of(&*self.held)?)))
    }

    /// Returns the same source, mounted at another place in the container.
    pub(super) fn moved_to(&self, target: String) -> Bind {
        Bind { target, ..self.clone() }
    }

    /// Opens what was checked, to be read.
    pub(crate) fn reopen(&self) -> std::io::Result<OwnedFd> {
        if self.directory {
            return held::reopen_directory(&self.held);
        }
        held::reopen_file(&self.held, &self.source)
    }

    /// Tells whether the path still leads to the file that was checked.
    pub(crate) fn is_still_there(&self) -> bool {
        let now = held::open(&self.source).and_then(|file| Ok(rustix::fs::fstat(file)?));
        now.is_ok_and(|now| held::identity(&now) == self.identity)
    }
}

/// Resolves the path, and opens what it leads to; from here on that is meant, not the path. A link
/// that an earlier agent could have left on the way would give this one another directory than the
/// person means.
fn hold(called: &str, given: &Path, target: String, writable: bool) -> Result<Bind, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(COULD_NOT_RUN, format!("{called}: cannot be used"))
            .caused_by(&error)
            .hint("give an existing path")
    };
    if given.to_str().is_none() {
        return Err(refusal(
            called,
            "its path is no UTF-8, which engines do not take",
            "rename it, or name it by a link",
        ));
    }
    let source = open::real(given).map_err(|refused| match refused {
        open::Refused::System(error) => cannot(error),
        refused => refused.explain(Failure::new(COULD_NOT_RUN, format!("{called}: cannot be used"))),
    })?;
    if source.to_str().is_none() {
        return Err(refusal(
            called,
            "its path is no UTF-8, which engines do not take",
            "rename what is above it",
        ));
    }
    let held = held::open(&source).map_err(cannot)?;
    let stat = rustix::fs::fstat(&held).map_err(|error| cannot(error.into()))?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let directory = kind == rustix::fs::FileType::Directory;
    if !directory && kind != rustix::fs::FileType::RegularFile {
        let why = "a socket, pipe or device is never given to an agent";
        return Err(refusal(called, why, "give a directory or a regular file"));
    }
    Ok(Bind {
        source,
        target,
        writable,
        directory,
        identity: held::identity(&stat),
        owner: (stat.st_uid, stat.st_gid),
        held: Arc::new(held),
    })
}

/// Refuses a file that is given to no agent: a home directory, an engine's files, ringfence's own.
fn may_be_given(called: &str, bind: &Bind, machine: &Machine) -> Result<(), Failure> {
    let path = bind.source.as_path();
    let project = "give the directory of one project";
    if let Some(home) = machine.homes.iter().find(|home| home.starts_with(path)) {
        let what = if home == path {
            "your home directory"
        } else {
            "a directory that contains your home directory"
        };
        return Err(refusal(called, &format!("{what} is not given to an agent"), project));
    }
    if NOT_ITSELF.iter().any(|system| path == Path::new(system)) {
        return Err(refusal(called, "a directory of the system is not given to an agent", project));
    }
    if let Some(system) = NOT_BELOW.iter().find(|system| path.starts_with(system)) {
        return Err(refusal(called, &format!("nothing of {system} is given to an agent"), project));
    }
    if let Some(home) =
        machine.other_homes.iter().find(|home| path.starts_with(home) || home.starts_with(path))
    {
        let why = format!("{} belongs to another user", home.display());
        return Err(refusal(called, &why, "run ringfence as that user, or work on a copy"));
    }
    let engine = machine.engine.iter().find(|part| part.starts_with(path) || path.starts_with(part));
    if let Some(part) = engine {
        let why = format!("the container engine's {} is not given to an agent", part.display());
        return Err(refusal(called, &why, project));
    }
    for (ways, what, hint) in [
        (
            &machine.engine_ways,
            "says which container engine is used, or proves it",
            "give a directory apart from it, or give this one read-only",
        ),
        (
            &machine.helper_ways,
            "is what fence and guard are made of (RINGFENCE_HELPER_IMAGE)",
            "keep it in a folder that only you or root can write and no agent is given, and name it there",
        ),
    ] {
        let way = ways.iter().find(|way| way.starts_with(path) || path.starts_with(way));
        if let Some(way) = way.filter(|_| bind.writable) {
            let why = format!("{} {what}, and is not given to an agent to write", way.display());
            return Err(refusal(called, &why, hint));
        }
    }
    if let Some(own) = machine.own.exposed_by(path, bind.writable) {
        let why = format!("ringfence's own {} is not given to an agent", own.display());
        let hint = "what is written there counts as yours; give a directory apart from it, or keep it elsewhere (XDG_CONFIG_HOME, XDG_STATE_HOME)";
        return Err(refusal(called, &why, hint));
    }
    Ok(())
}

/// Refuses a file that the person could not use: the engine may be root, and must give no more than
/// the person could.
fn may_be_used(called: &str, bind: &Bind) -> Result<(), Failure> {
    use rustix::fs::Access;
    let mut wanted = Access::READ_OK;
    if bind.directory {
        wanted |= Access::EXEC_OK;
    }
    if bind.writable {
        wanted |= Access::WRITE_OK;
    }
    rustix::fs::access(&bind.source, wanted).map_err(|error| {
        let what = if bind.writable { "read and write" } else { "read" };
        refusal(
            called,
            &format!("you may not {what} it yourself ({error})"),
            "give what you may use yourself",
        )
    })
}

/// Tells whether what is mounted at a path in a container lies over an engine's init: a program of
/// the mount would be the container's first.
pub(crate) fn hides_init(path: &Path) -> bool {
    ENGINES_INIT.iter().any(|init| Path::new(init).starts_with(path))
}

/// Returns the place in the container, or the reason for which nothing is mounted there.
pub(crate) fn may_be_target(target: &str, project: Option<&Bind>) -> Result<String, String> {
    let path = Path::new(target);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(format!("{target} is no absolute path without `..`"));
    }
    // Engines take them for the end of the path.
    if target.contains(|c: char| c == ':' || c.is_control()) {
        return Err(format!("{target} has a `:` or a control character in it"));
    }
    let path: PathBuf = path.components().collect();
    let below = NO_TARGET_BELOW.iter().find(|dir| path.starts_with(dir));
    if let Some(dir) = below.or_else(|| NO_TARGET.iter().find(|dir| path == Path::new(dir))) {
        return Err(format!("nothing is mounted at {dir} in the container"));
    }
    if hides_init(&path) {
        return Err(format!("nothing is mounted at {} in the container", path.display()));
    }
    if let Some(project) = project {
        let workspace = Path::new(&project.target);
        if workspace.starts_with(&path) {
            return Err(format!("{} is where the project is", project.target));
        }
        if let Ok(within) = path.strip_prefix(workspace) {
            // Also of a repository deeper in the project: what is shown since its objects lie there
            // must lie there.
            let is_gits = within.iter().any(|part| part.eq_ignore_ascii_case(".git"));
            if is_gits || PROTECTED.iter().any(|name| within.starts_with(name)) {
                return Err(format!("{} of the project is protected", within.display()));
            }
            if project.source.join(within).symlink_metadata().is_err() {
                return Err(format!("the engine would make {} in the project", within.display()));
            }
        }
    }
    Ok(path.to_string_lossy().into_owned())
}

/// Refuses two mounts at one place, which would hide each other.
pub(crate) fn all_differ(binds: &[Bind], tmpfs: &[String]) -> Result<(), Failure> {
    let mut places: Vec<&str> =
        binds.iter().map(|bind| &*bind.target).chain(tmpfs.iter().map(|at| &**at)).collect();
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(refusal(pair[0], "two things are to be mounted there", "give each a place of its own"))
        }
        None => Ok(()),
    }
}

/// Checks a path for a tmpfs, by the same rules as a mount's.
pub(crate) fn memory_target(target: &str, project: Option<&Bind>) -> Result<String, Failure> {
    let called = format!("--tmpfs {target}");
    if let Some((path, options)) = target.split_once(':') {
        let why =
            format!("options (`{options}`) are not taken; what is in memory counts as the agent's memory");
        return Err(refusal(
            &called,
            &why,
            &format!("write --tmpfs {path}, and --memory SIZE for the limit of all"),
        ));
    }
    may_be_target(target, project)
        .map_err(|why| refusal(&called, &why, "give an absolute path in the container"))
}

fn refusal(called: &str, why: &str, hint: &str) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("{called}: {why}")).hint(hint)
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
