//! One supervised run, and the names and labels of everything on the engine that is part of it.
//!
//! Every name derives from the id, and every object carries the labels, so that whatever a killed
//! supervisor leaves can be found by the next one, on any machine that reaches the engine.

use std::collections::HashMap;
use std::fmt;

/// Label that holds the workflow's id.
pub const LABEL_WORKFLOW: &str = "dev.ringfence.workflow";
/// Label that holds the [`Role`].
pub const LABEL_ROLE: &str = "dev.ringfence.role";
/// Label that holds the name that a person gave.
pub const LABEL_NAME: &str = "dev.ringfence.name";
/// Label that holds the policy's digest.
pub const LABEL_DIGEST: &str = "dev.ringfence.policy-digest";
/// Label of the agent that holds its image's name, as it was typed.
pub const LABEL_IMAGE: &str = "dev.ringfence.image";
/// Label of the agent that holds the digest under which a registry gave its image.
pub const LABEL_IMAGE_DIGEST: &str = "dev.ringfence.image-digest";
/// Label that holds ringfence's version.
pub const LABEL_VERSION: &str = "dev.ringfence.version";
/// Label that holds the time of creation, seconds of Unix time by the supervisor's clock.
pub const LABEL_CREATED: &str = "dev.ringfence.created-at";

/// Label of the agent that holds its disk limit, in bytes.
pub const LABEL_DISK: &str = "dev.ringfence.disk-limit";
/// Label of the agent that holds the seconds that it may run.
pub const LABEL_TIME: &str = "dev.ringfence.time-limit";

/// What an object on the engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The container that runs the agent.
    Agent,
    /// The container that made the namespace and holds it.
    Fence,
    /// The container with the DNS filter and the gate.
    Guard,
    /// A short container that proves another runtime.
    Probe,
    /// The workflow's own internal network.
    Network,
    /// What the fence and the guard share.
    Volume,
    /// The authorities that the agent trusts besides its image's own.
    Trust,
    /// What the agent is handed over in memory.
    Secrets,
    /// A directory of the supervisor's machine; there may be several.
    Mount,
    /// The network of all guards.
    Uplink,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Agent => "agent",
            Role::Fence => "fence",
            Role::Guard => "guard",
            Role::Probe => "probe",
            Role::Network => "network",
            Role::Volume => "volume",
            Role::Trust => "trust",
            Role::Secrets => "secrets",
            Role::Mount => "mount",
            Role::Uplink => "uplink",
        })
    }
}

/// Identity of a workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Eight hexadecimal digits.
    pub id: String,
    /// The name that a person gave.
    pub name: Option<String>,
    /// Digest of the policy that it started with.
    pub digest: String,
    /// Unix time of the start, seconds.
    pub created_at: u64,
}

impl Workflow {
    /// A new identity; fails when the kernel gives no random bytes.
    pub fn new(name: Option<String>, digest: String, created_at: u64) -> std::io::Result<Self> {
        let mut bytes = [0u8; 4];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Workflow { id: format!("{:08x}", u32::from_be_bytes(bytes)), name, digest, created_at })
    }

    /// The engine's name of a part.
    pub fn object(&self, role: Role) -> String {
        object_name(&self.id, role)
    }

    /// The labels of a part.
    pub fn labels(&self, role: Role) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (LABEL_WORKFLOW.to_owned(), self.id.clone()),
            (LABEL_ROLE.to_owned(), role.to_string()),
            (LABEL_DIGEST.to_owned(), self.digest.clone()),
            (LABEL_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (LABEL_CREATED.to_owned(), self.created_at.to_string()),
        ]);
        if let Some(name) = &self.name {
            labels.insert(LABEL_NAME.to_owned(), name.clone());
        }
        labels
    }
}

/// The engine's name of a part of workflow `id`.
pub fn object_name(id: &str, role: Role) -> String {
    format!("ringfence-{id}-{role}")
}

/// Whether `name` may be a workflow's name: it becomes a label and is typed on command lines.
pub fn valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_to_print_and_to_type() {
        for good in ["a", "nightly-3", "A.b_c"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", "-a", "a b", "a\n", "ä", &"a".repeat(64), "a/b"] {
            assert!(!valid_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_object_is_labelled_with_its_workflow_and_role() {
        let workflow = Workflow::new(Some("n".into()), "sha256:d".into(), 7).unwrap();
        let labels = workflow.labels(Role::Fence);
        assert_eq!(labels[LABEL_WORKFLOW], workflow.id);
        assert_eq!(labels[LABEL_ROLE], "fence");
        assert_eq!(workflow.object(Role::Fence), format!("ringfence-{}-fence", workflow.id));
    }
}
