//! Differences between engines, as plain data computed once from what an engine says of itself.
//!
//! ```text
//!  /version ─┐             ┌─ recognised by ENGINES ─▶ its constructor ─▶ Dialect ─▶ rooms that act
//!            ├─▶ Answers ─▶┤
//!  /info ────┘             └─ no readable API range ─▶ no connection
//! ```
//! No other file asks which engine it is, parses its version or reads its security options:
//! `tests/engines.rs` holds that. A new engine is one constructor in `engines`, and its line in
//! [`ENGINES`]. A missing answer is the answer that permits least: a run on such an engine is
//! refused by [`Dialect::check`].

mod answers;
mod api;
mod described;
mod differences;
mod engines;
#[cfg(test)]
mod examples;
mod refusals;
#[cfg(test)]
mod tests;

use bollard::models::{SystemInfo, SystemVersion};

use self::answers::Answers;
pub(crate) use self::api::{ApiRange, ApiVersion};
pub(crate) use self::described::{Component, Title};
pub(crate) use self::differences::*;
#[cfg(test)]
pub(crate) use self::examples::example;

/// Everything in which engines differ, of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Name and version, to be shown.
    pub(crate) title: Title,
    /// Name of what the engine is part of, to be shown: Docker Engine, Docker Desktop, Podman,
    /// Colima.
    pub(crate) distribution: String,
    /// The engine's parts with their versions, for the list of known vulnerabilities.
    pub(crate) components: Vec<Component>,
    /// Versions of Docker's API that the engine speaks.
    pub(crate) api: ApiRange,

    /// Set where the engine runs without root: root in its containers is the person who runs it.
    pub(crate) rootless: bool,
    /// Set where users in containers have other numbers on the engine's machine (`userns-remap`).
    /// Such a container may not be in the host's network. Docker tells; Podman has no such setting.
    pub(crate) remaps_users: bool,

    /// Control groups of the engine's machine.
    pub(crate) cgroups: Cgroups,
    /// Limits that the engine keeps.
    pub(crate) limits: Limits,
    /// The way in which a limit that was not kept is noticed.
    pub(crate) limits_shown: LimitsShown,
    /// Power of an image's annotations.
    pub(crate) annotations: Annotations,

    /// Set where the engine can filter system calls at all.
    pub(crate) filters_system_calls: bool,
    /// The filter that containers get unasked; none: they get none, or the engine does not tell.
    pub(crate) default_profile: Option<String>,
    /// The form in which the engine takes the agent's filter of system calls.
    pub(crate) takes_profile: TakesProfile,
    /// The security module that confines containers, where one does.
    pub(crate) confinement: Option<Confinement>,
    /// Set where SELinux keeps containers from files without their label.
    pub(crate) labels_files: bool,
    /// Tells whether a socket may be served before it (`ringfence serve`).
    pub(crate) serves: bool,
    /// The way to give a container another OCI runtime than the engine's own.
    pub(crate) takes_runtime: TakesRuntime,

    /// The way in which the engine mounts a directory of this machine into several containers.
    pub(crate) shares_binds: Sharing,
    /// The host's names in a container's hosts file.
    pub(crate) host_names: HostNames,
    /// The host name of a container that is in another one's network.
    pub(crate) hostname: Hostname,
    /// The removal of a container that others share the network of.
    pub(crate) network_owner: NetworkOwner,
    /// A file that the engine lays into every container beside hosts, hostname and resolv.conf.
    pub(crate) container_mark: Option<&'static str>,
    /// The option of a place in memory by which it begins empty. Podman copies into it what lies
    /// beneath, before anything is mounted in it (seen: Podman 5.4.2).
    pub(crate) empty_memory: Option<&'static str>,
    /// The engine's answer to a list of paths that are to be read-only.
    pub(crate) read_only_paths: ReadOnlyPaths,

    /// The way to take a variable of the image out of a container's environment.
    pub(crate) removes_variable: RemovesVariable,
    /// The way to find and recognise the helper image.
    pub(crate) helper_image: HelperImage,
    /// The files of registry credentials that are asked first.
    pub(crate) credentials: CredentialFiles,
    /// The end of a command that cannot be started.
    pub(crate) unstartable_command: UnstartableCommand,
    /// Columns to ask for in a list of processes. Podman runs the container's own `ps` for an
    /// option of `ps`, and reads these itself; Docker runs the `ps` of its machine.
    pub(crate) process_columns: Option<&'static str>,
}

/// An engine that is told from others.
struct Known {
    /// Tells whether these answers are its own.
    is_it: fn(&Answers) -> bool,
    /// Makes its dialect.
    describe: fn(&Answers, ApiRange) -> Dialect,
}

/// The engines that are told apart. The first that fits counts.
const ENGINES: [Known; 2] = [
    Known { is_it: engines::is_podman, describe: engines::podman },
    Known { is_it: engines::is_anything, describe: engines::docker },
];

impl Dialect {
    /// Computes the dialect of an engine from its answers to `/version` and `/info`.
    ///
    /// # Errors
    /// When the engine speaks no version of the API that ringfence can use, or does not say which
    /// it speaks.
    pub(crate) fn of(version: &SystemVersion, info: &SystemInfo) -> Result<Dialect, String> {
        let answers = Answers { version, info };
        let api = ApiRange::of(version)?;
        let known = ENGINES.iter().find(|known| (known.is_it)(&answers));
        let known = known.ok_or("it is no engine that ringfence knows")?;
        Ok((known.describe)(&answers, api))
    }
}
