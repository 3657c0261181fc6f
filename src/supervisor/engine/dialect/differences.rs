//! The single differences, each named by what it means for a run.
//!
//! "Seen" names the engine that showed it: rows of the table in docs/engines.md, which `cargo
//! engines` makes by the end-to-end tests, or a look by hand that the same page tells of.

/// Control groups of the engine's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// One tree (cgroup v2): without root, limits hold where systemd delegates them to the user.
    Unified,
    /// A tree for each controller (cgroup v1), or not told: without root no limit holds.
    Older,
}

/// Limits that an engine keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Memory.
    pub(crate) memory: bool,
    /// Swap.
    pub(crate) swap: bool,
    /// CPU time.
    pub(crate) cpu: bool,
    /// Processes.
    pub(crate) pids: bool,
}

/// The way in which a limit that was not kept is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitsShown {
    /// By the engine: Docker warns when a container is created (words of Docker 20.10 to 28.5).
    ByWarnings,
    /// From within: the fence looks for limits on itself. Podman looks for files of the older
    /// control groups (`pkg/sysinfo`) and denies limits of CPU and swap that it keeps where they
    /// are unified; its OCI runtime refuses what it cannot limit (seen: Podman 5.4.2, with and
    /// without root).
    FromWithin,
}

/// Power of an image's annotations over the container's confinement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Annotations {
    /// Nothing. Docker knows none; Podman keeps them from the OCI runtime since 4.6.
    KeptBack,
    /// By them an image can replace the agent's filter of system calls (crun), start hooks of the
    /// machine, and change limits that systemd keeps: Podman before 4.6, and one whose version
    /// cannot be read.
    PassedOn,
}

/// The form in which an engine takes a filter of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesProfile {
    /// As text in the container's options: Docker.
    Inline,
    /// As a path on the engine's machine: Podman. What was sent into a volume has one, wherever the
    /// engine is. Podman's own default leaves sockets open that no fence sees (AF_VSOCK; seen:
    /// Podman 5.4, decision 12).
    ByPathInVolume,
}

/// A security module that confines containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// AppArmor.
    AppArmor,
    /// SELinux.
    SeLinux,
}

impl Confinement {
    /// The module's name, as engines write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Confinement::AppArmor => "apparmor",
            Confinement::SeLinux => "selinux",
        }
    }
}

/// The way to give a container another OCI runtime than the engine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakesRuntime {
    /// By the name under which it is registered: Docker.
    ByName,
    /// Not at all: Podman's Docker API drops the wish without a word.
    No,
}

/// The way in which an engine mounts a directory of this machine into several containers, and what
/// it has to be told for that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Once for each container, by its path: Podman without root, which mounts nothing, and Podman
    /// before 5, which was never looked at.
    #[default]
    Never,
    /// Once for all, by a volume: Docker (seen: 20.10 to 28.5).
    Volume,
    /// Once for all, by a volume that is told an owner. Podman gives a volume without one, if it is
    /// empty, to the first container's user, and here that would be a person's directory. The owner
    /// told is that of the place to mount at and changes nothing else (seen: Podman 5.4.2 with
    /// root).
    OwnedVolume,
}

/// The host's names in a container's hosts file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostNames {
    /// Only who asks for it: Docker writes the host's address for `host-gateway`.
    OnRequest,
    /// The engine, unasked: Podman writes `host.containers.internal` and `host.docker.internal`
    /// with the host's own address. Its lines give way to ones that are asked for (seen: Podman
    /// 5.4.2).
    Always,
}

/// The host name of a container that is in another one's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hostname {
    /// The other one's: Docker, where the agent has the fence's.
    SharedWithFence,
    /// One that the engine makes for each container: Podman.
    OfEachContainer,
}

/// The removal of a container that others share the network of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkOwner {
    /// It goes, and what is left of the others cannot be started any more: Docker (seen: 20.10).
    GoesAlone,
    /// It goes when the others are gone: Podman names them as its dependents.
    GoesLast,
}

/// The engine's answer to a list of paths that are to be read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOnlyPaths {
    /// Yes: Docker takes a list in the place of its own.
    Kept,
    /// Podman's Docker API was not seen to take a list.
    NotAsked,
}

/// The way to take a variable of the image out of a container's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemovesVariable {
    /// By its name alone: Docker.
    NameAlone,
    /// Not at all, so it gets an empty value: Podman.
    EmptyValue,
}

/// The way to find and recognise the helper image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HelperImage {
    /// Found by its name; layers and all settings are compared. Docker's ids are hashes of the
    /// configuration, or of the manifest with containerd's store.
    ByName,
    /// Found by its id, the hash of its configuration. On Podman a name may mean several images, by
    /// the registries that it stands for, and no health check is shown, which would run beside the
    /// fence; the id covers it (decision 3).
    ByHashOfConfiguration,
}

/// Files that hold credentials for registries, by the programs that write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialFiles {
    /// Docker's.
    Docker,
    /// Those of Podman, Buildah and Skopeo (`containers/auth.json`).
    Containers,
}

/// The end of a command that cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnstartableCommand {
    /// With status 126 or 127: Docker's init.
    HasOwnStatus,
    /// With status 1, and the reason in the last words: Podman's init, catatonit (seen: Podman
    /// 5.4.2).
    IsToldInWords,
}
