//! Lines that the doctor's probes print: a container's view of itself, and the outcome of a
//! rehearsed fence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A container's view of itself, from one of its processes; carried out of it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inside {
    /// The kernel's boot.
    pub(crate) boot_id: Option<String>,
    /// The kernel's release.
    pub(crate) kernel: Option<String>,
    /// `Seccomp:` of its status: 2 is a filter.
    pub(crate) seccomp: Option<u32>,
    /// `NoNewPrivs:` of its status.
    pub(crate) no_new_privileges: Option<bool>,
    /// `CapEff:` and `CapBnd:` of its status.
    pub(crate) capabilities: Option<(String, String)>,
    /// The label that AppArmor or SELinux gave it.
    pub(crate) confinement: Option<String>,
    /// Set when root inside is root outside; absent where that cannot be read.
    pub(crate) root_is_root: Option<bool>,
    /// Devices beyond the pseudo ones that every container has.
    pub(crate) devices: Vec<String>,
    /// Namespaces by kind.
    pub(crate) namespaces: BTreeMap<String, String>,
    /// Memory limit in bytes; absent where there is none.
    pub(crate) memory: Option<u64>,
    /// Process limit.
    pub(crate) pids: Option<u64>,
    /// Set when CPU time is bounded.
    pub(crate) cpu: bool,
}

/// A rehearsal of the fence; carried out of its container as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fence {
    /// Kernel features of which the fence is made.
    pub(crate) features: Vec<Feature>,
    /// Empty: made, and every attempt to get out failed. Else what is in doubt.
    pub(crate) doubts: Vec<String>,
}

/// Feature of the kernel that the fence needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feature {
    /// Name of the feature.
    pub(crate) name: String,
    /// Set when there is no fence without the feature.
    pub(crate) needed: bool,
    /// The kernel's words, where it cannot.
    pub(crate) error: Option<String>,
}
