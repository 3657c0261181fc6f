//! One supervised run, and the names and labels of everything on the engine that is part of it.
//!
//! Every name derives from the id, and every object carries the labels, so that whatever a killed
//! supervisor leaves can be found by the next one, on any machine that reaches the engine.

use std::collections::HashMap;
use std::fmt;

use netpolicy::service::ServiceName;

pub(crate) use crate::wire::Role;
use crate::wire::{PolicyDigest, UnixTime, WorkflowId, WorkflowName};

/// Label that holds the workflow's id.
pub(crate) const LABEL_WORKFLOW: &str = "dev.ringfence.workflow";
/// Label that holds the [`Role`].
pub(crate) const LABEL_ROLE: &str = "dev.ringfence.role";
/// Label that holds the name that a person gave.
pub(super) const LABEL_NAME: &str = "dev.ringfence.name";
/// Label that holds the policy's digest.
pub(super) const LABEL_DIGEST: &str = "dev.ringfence.policy-digest";
/// Label of the agent that holds its image's name, as it was typed.
pub(super) const LABEL_IMAGE: &str = "dev.ringfence.image";
/// Label of the agent that holds the digest under which a registry gave its image.
pub(super) const LABEL_IMAGE_DIGEST: &str = "dev.ringfence.image-digest";
/// Label that holds ringfence's version.
pub(crate) const LABEL_VERSION: &str = "dev.ringfence.version";
/// Label that holds the time of creation, seconds of Unix time by the supervisor's clock.
pub(super) const LABEL_CREATED: &str = "dev.ringfence.created-at";

/// The `ringfence serve` that made an object.
pub(crate) const LABEL_SERVE: &str = "dev.ringfence.serve";
/// The word by which containers of one `serve` share a fence.
pub(crate) const LABEL_GROUP: &str = "dev.ringfence.group";
/// Names of a member in its fence, apart by blanks.
pub(crate) const LABEL_NAMES: &str = "dev.ringfence.names";
/// The id under which this machine keeps the covers of a member's files.
pub(crate) const LABEL_COVERS: &str = "dev.ringfence.covers";
/// Label of the agent that holds its disk limit, in bytes.
pub(crate) const LABEL_DISK: &str = "dev.ringfence.disk-limit";
/// Label of the agent whose container stays after its end: [`KEPT`].
pub(crate) const LABEL_KEEP: &str = "dev.ringfence.keep";
/// The one value of [`LABEL_KEEP`] that means something.
pub(crate) const KEPT: &str = "yes";
/// Label of the agent that holds the seconds that it may run.
pub(crate) const LABEL_TIME: &str = "dev.ringfence.time-limit";

/// Labels that are filled for an agent only.
const OF_AGENTS: [&str; 5] = [LABEL_IMAGE, LABEL_IMAGE_DIGEST, LABEL_DISK, LABEL_TIME, LABEL_KEEP];

/// Identity of a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    /// Its id.
    pub(crate) id: WorkflowId,
    /// The name that a person gave.
    pub(crate) name: Option<WorkflowName>,
    /// Digest of the policy that it started with; none where it has no policy.
    pub(crate) digest: Option<PolicyDigest>,
    /// The time of the start.
    pub(crate) created_at: UnixTime,
}

impl Workflow {
    /// A new identity; fails when the kernel gives no random bytes.
    pub(crate) fn new(
        name: Option<WorkflowName>,
        digest: Option<PolicyDigest>,
        created_at: UnixTime,
    ) -> std::io::Result<Self> {
        Ok(Workflow { id: WorkflowId::random()?, name, digest, created_at })
    }

    /// The engine's name of a part.
    pub(crate) fn object(&self, role: Role) -> String {
        object_name(self.id, role)
    }

    /// The engine's name of a part that belongs to a service.
    pub(crate) fn object_of(&self, role: Role, service: &ServiceName) -> String {
        format!("{}-{service}", self.object(role))
    }

    /// The helpers of a run that this process made.
    pub(crate) fn helpers(&self) -> Helpers {
        Helpers { id: self.id, guard: self.object(Role::Guard), fence: self.object(Role::Fence) }
    }

    /// The labels of a part: every label that ringfence reads, the empty ones too. A container
    /// inherits from its image each label that it is not given.
    pub(crate) fn labels(&self, role: Role) -> HashMap<String, String> {
        let text = |value: Option<&dyn fmt::Display>| value.map(ToString::to_string).unwrap_or_default();
        let mut labels: HashMap<String, String> =
            OF_AGENTS.iter().map(|label| ((*label).to_owned(), String::new())).collect();
        labels.extend(
            [
                (LABEL_WORKFLOW, self.id.to_string()),
                (LABEL_ROLE, role.to_string()),
                (LABEL_NAME, text(self.name.as_ref().map(|name| name as &dyn fmt::Display))),
                (LABEL_DIGEST, text(self.digest.as_ref().map(|digest| digest as &dyn fmt::Display))),
                (LABEL_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
                (LABEL_CREATED, self.created_at.to_string()),
            ]
            .map(|(label, value)| (label.to_owned(), value)),
        );
        labels
    }
}

/// Names by which the engine is asked for a workflow's helpers: its own ids, or, in the run that
/// made them, their names.
#[derive(Debug, Clone)]
pub(crate) struct Helpers {
    /// The workflow's id.
    pub(crate) id: WorkflowId,
    /// The guard's container.
    pub(crate) guard: String,
    /// The fence's container.
    pub(crate) fence: String,
}

impl Helpers {
    /// Returns the helpers of a run by their names, for the program that started the run.
    pub(crate) fn of_names(id: WorkflowId) -> Helpers {
        Helpers { id, guard: object_name(id, Role::Guard), fence: object_name(id, Role::Fence) }
    }
}

/// The engine's name of a workflow's agent, for the program that started the run.
pub(crate) fn agent_name(id: WorkflowId) -> String {
    object_name(id, Role::Agent)
}

/// The engine's name of a part of workflow `id`.
pub(super) fn object_name(id: WorkflowId, role: Role) -> String {
    format!("ringfence-{id}-{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_every_label_that_is_read() {
        let digest = format!("sha256:{}", "d".repeat(64));
        let workflow =
            Workflow::new(Some("n".parse().unwrap()), Some(digest.parse().unwrap()), UnixTime(7)).unwrap();
        let labels = workflow.labels(Role::Fence);
        assert_eq!(labels[LABEL_WORKFLOW], workflow.id.to_string());
        assert_eq!((labels[LABEL_ROLE].as_str(), labels[LABEL_NAME].as_str()), ("fence", "n"));
        assert_eq!((&labels[LABEL_DIGEST], labels[LABEL_CREATED].as_str()), (&digest, "7"));
        assert_eq!(workflow.object(Role::Fence), format!("ringfence-{}-fence", workflow.id));
        // What an image says of itself must not stay where a person said nothing.
        let bare = Workflow::new(None, None, UnixTime(7)).unwrap().labels(Role::Agent);
        for label in [LABEL_NAME, LABEL_DIGEST].iter().chain(&OF_AGENTS) {
            let label = *label;
            assert_eq!(bare.get(label).map(String::as_str), Some(""), "{label}");
        }
    }
}
