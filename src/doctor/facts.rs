//! Facts about machine and engine as plain data, without any opinion.

pub use crate::supervisor::engine::dialect::{Component, Limits};
pub use crate::wire::probe::{Fence, Inside};
use std::collections::BTreeMap;

use netpolicy::policy::Date;
use netpolicy::settings::Requirement;

/// A fact, or why it could not be learned.
pub type Learned<T> = Result<T, String>;

/// Everything that the rows are judged by.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Today, for the age of the list of known holes.
    pub today: Date,
    /// Facts about this machine.
    pub machine: Machine,
    /// The engine, as it tells of itself.
    pub engine: Learned<Engine>,
    /// Facts as a container without powers sees them.
    pub inside: Learned<Inside>,
    /// A fence made and proven on the engine, without an agent.
    pub fence: Learned<Fence>,
    /// The containers that are not ringfence's.
    pub others: Learned<Others>,
    /// The project that was asked about.
    pub project: Option<Project>,
    /// Demands of the policy on the engine.
    pub require: Vec<Requirement>,
}

/// A project directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Path of the project.
    pub path: String,
    /// Covers that a run would lay over the project's files, in lines.
    pub masks: Learned<Masks>,
}

/// Covers of a project's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masks {
    /// Files without their secrets.
    pub hidden: usize,
    /// Files that cannot be changed.
    pub unchangeable: usize,
    /// Files with a secret that cannot be hidden.
    pub visible: Vec<String>,
    /// Files that were too large to look for secrets in.
    pub unread: usize,
}

/// The machine that ringfence runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Changes with every boot of a kernel; absent outside Linux.
    pub boot_id: Option<String>,
    /// Release of the kernel; absent outside Linux.
    pub kernel: Option<String>,
    /// Host name.
    pub name: String,
    /// The namespaces of this process by kind.
    pub namespaces: BTreeMap<String, String>,
    /// Set when systemd-resolved answers the questions of the machine's programs.
    pub resolved: bool,
}

/// Facts from the engine's API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    /// Address of the engine.
    pub host: String,
    /// Set when that is a socket on this machine.
    pub local: bool,
    /// Docker Engine, Docker Desktop, Podman, Colima, …
    pub product: String,
    /// The name of the machine that it runs on.
    pub name: String,
    /// System of the engine's machine.
    pub system: String,
    /// Kernel of the engine's machine.
    pub kernel: String,
    /// Set when the engine runs without root.
    pub rootless: bool,
    /// Set when users in containers are others outside.
    pub user_namespaces: bool,
    /// The seccomp profile that containers get, where there is one.
    pub seccomp: Option<String>,
    /// AppArmor or SELinux, where containers get one of them.
    pub confinement: Option<String>,
    /// OCI runtimes by name.
    pub runtimes: Vec<String>,
    /// The runtime that containers get.
    pub default_runtime: String,
    /// Limits that the engine can enforce.
    pub limits: Limits,
    /// Storage driver, and the file system below it.
    pub storage: (String, Option<String>),
    /// Warnings of the engine itself.
    pub warnings: Vec<String>,
    /// Itself and what it is made of.
    pub components: Vec<Component>,
}

/// Containers that are not ringfence's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// Containers that were looked at, in the engine's order.
    pub looked_at: Vec<Other>,
    /// Number of further containers that run.
    pub left_out: usize,
    /// Versions of the BuildKit images among them.
    pub builders: Vec<String>,
}

/// A container that is not ringfence's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Other {
    /// Name of the container.
    pub name: String,
    /// Ports that it publishes, as `address:port`.
    pub ports: Vec<String>,
    /// Sockets of an engine that are mounted into it.
    pub sockets: Vec<String>,
    /// Set when the container has every power.
    pub privileged: bool,
    /// Namespaces of the host that it is in.
    pub host_namespaces: Vec<&'static str>,
}
