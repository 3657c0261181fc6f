//! Lines that the doctor's probes print: a container's view of itself, and the outcome of a
//! rehearsed fence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A container's view of itself, from one of its processes; carried out of it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The kernel's boot.
    pub boot_id: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// `Seccomp:` of its status: 2 is a filter.
    pub seccomp: Option<u32>,
    /// `NoNewPrivs:` of its status.
    pub no_new_privileges: Option<bool>,
    /// `CapEff:` and `CapBnd:` of its status.
    pub capabilities: Option<(String, String)>,
    /// The label that AppArmor or SELinux gave it.
    pub confinement: Option<String>,
    /// Set when root inside is root outside; absent where that cannot be read.
    pub root_is_root: Option<bool>,
    /// Devices beyond the pseudo ones that every container has.
    pub devices: Vec<String>,
    /// Namespaces by kind.
    pub namespaces: BTreeMap<String, String>,
    /// Memory limit in bytes; absent where there is none.
    pub memory: Option<u64>,
    /// Process limit.
    pub pids: Option<u64>,
    /// Set when CPU time is bounded.
    pub cpu: bool,
}

/// A rehearsal of the fence; carried out of its container as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Kernel features of which the fence is made.
    pub features: Vec<Feature>,
    /// Empty: made, and every attempt to get out failed. Else what is in doubt.
    pub doubts: Vec<String>,
}

/// Feature of the kernel that the fence needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Name of the feature.
    pub name: String,
    /// Set when there is no fence without the feature.
    pub needed: bool,
    /// The kernel's words, where it cannot.
    pub error: Option<String>,
}
