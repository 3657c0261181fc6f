//! Facts about machine and engine as plain data, without any opinion.

pub(crate) use crate::supervisor::engine::dialect::{Component, Limits};
pub(crate) use crate::wire::probe::{Fence, Inside};
use std::collections::BTreeMap;

use netpolicy::policy::Date;
use netpolicy::settings::Requirement;

/// A fact, or why it could not be learned.
pub(crate) type Learned<T> = Result<T, String>;

/// Everything that the rows are judged by.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Today, for the age of the list of known holes.
    pub(crate) today: Date,
    /// Facts about this machine.
    pub(crate) machine: Machine,
    /// The engine, as it tells of itself.
    pub(crate) engine: Learned<Engine>,
    /// Facts as a container without powers sees them.
    pub(crate) inside: Learned<Inside>,
    /// A fence made and proven on the engine, without an agent.
    pub(crate) fence: Learned<Fence>,
    /// The containers that are not ringfence's.
    pub(crate) others: Learned<Others>,
    /// The project that was asked about.
    pub(crate) project: Option<Project>,
    /// Demands of the policy on the engine.
    pub(crate) require: Vec<Requirement>,
}

/// A project directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// Path of the project.
    pub(crate) path: String,
    /// Covers that a run would lay over the project's files, in lines.
    pub(crate) masks: Learned<Masks>,
}

/// Covers of a project's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    /// Files without their secrets.
    pub(crate) hidden: usize,
    /// Files that cannot be changed.
    pub(crate) unchangeable: usize,
    /// Files with a secret that cannot be hidden.
    pub(crate) visible: Vec<String>,
    /// Files that were too large to look for secrets in.
    pub(crate) unread: usize,
}

/// The machine that ringfence runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Changes with every boot of a kernel; absent outside Linux.
    pub(crate) boot_id: Option<String>,
    /// Release of the kernel; absent outside Linux.
    pub(crate) kernel: Option<String>,
    /// Host name.
    pub(crate) name: String,
    /// The namespaces of this process by kind.
    pub(crate) namespaces: BTreeMap<String, String>,
    /// Set when systemd-resolved answers the questions of the machine's programs.
    pub(crate) resolved: bool,
}

/// Facts from the engine's API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Engine {
    /// Address of the engine.
    pub(crate) host: String,
    /// Set when that is a socket on this machine.
    pub(crate) local: bool,
    /// Docker Engine, Docker Desktop, Podman, Colima, …
    pub(crate) product: String,
    /// The name of the machine that it runs on.
    pub(crate) name: String,
    /// System of the engine's machine.
    pub(crate) system: String,
    /// Kernel of the engine's machine.
    pub(crate) kernel: String,
    /// Set when the engine runs without root.
    pub(crate) rootless: bool,
    /// Set when users in containers are others outside.
    pub(crate) user_namespaces: bool,
    /// The seccomp profile that containers get, where there is one.
    pub(crate) seccomp: Option<String>,
    /// AppArmor or SELinux, where containers get one of them.
    pub(crate) confinement: Option<String>,
    /// OCI runtimes by name.
    pub(crate) runtimes: Vec<String>,
    /// The runtime that containers get.
    pub(crate) default_runtime: String,
    /// Limits that the engine can enforce.
    pub(crate) limits: Limits,
    /// Storage driver, and the file system below it.
    pub(crate) storage: (String, Option<String>),
    /// Warnings of the engine itself.
    pub(crate) warnings: Vec<String>,
    /// Itself and what it is made of.
    pub(crate) components: Vec<Component>,
}

/// Containers that are not ringfence's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Others {
    /// Containers that were looked at, in the engine's order.
    pub(crate) looked_at: Vec<Other>,
    /// Number of further containers that run.
    pub(crate) left_out: usize,
    /// Versions of the BuildKit images among them.
    pub(crate) builders: Vec<String>,
}

/// A container that is not ringfence's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Other {
    /// Name of the container.
    pub(crate) name: String,
    /// Ports that it publishes, as `address:port`.
    pub(crate) ports: Vec<String>,
    /// Sockets of an engine that are mounted into it.
    pub(crate) sockets: Vec<String>,
    /// Set when the container has every power.
    pub(crate) privileged: bool,
    /// Namespaces of the host that it is in.
    pub(crate) host_namespaces: Vec<&'static str>,
}
