//! Objects that the engine lists, read as parts of workflows.
//!
//! ```text
//!  name, labels, id of an object ──▶ Part: every label parses, the name is the one that ringfence gives   └─ else: none, somebody else's
//! ```
//! An image chooses labels, and any container that is made of it inherits them; a name it cannot
//! choose.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, Network, Volume};
use netpolicy::service::ServiceName;

use super::workflow::{
    KEPT, LABEL_COVERS, LABEL_CREATED, LABEL_DIGEST, LABEL_IMAGE, LABEL_IMAGE_DIGEST, LABEL_KEEP, LABEL_NAME,
    LABEL_ROLE, LABEL_WORKFLOW, object_name,
};
use crate::wire::{EngineId, ImageDigest, ImageName, PolicyDigest, Role, UnixTime, WorkflowId, WorkflowName};

/// Words of the labels that all parts of a workflow share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its id.
    pub(crate) workflow: WorkflowId,
    /// The name that a person gave.
    pub(crate) name: Option<WorkflowName>,
    /// Digest of the policy.
    pub(crate) digest: Option<PolicyDigest>,
    /// The time of the start.
    pub(crate) created_at: UnixTime,
}

/// An object on the engine that is, by name and labels, a part of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Words of its labels.
    pub(crate) claim: Claim,
    /// Purpose.
    pub(crate) role: Role,
    /// Handle by which the engine is asked for it: its own id of a container or network, the name
    /// of a volume, which has no other.
    pub(crate) handle: String,
    /// State of a container.
    pub(crate) state: String,
    /// The agent's image.
    pub(crate) image: Option<ImageName>,
    /// Digest under which a registry gave that image.
    pub(crate) image_digest: Option<ImageDigest>,
    /// Tells whether it is a container that stays after its end.
    pub(crate) keep: bool,
    /// The service that it is, or that it belongs to.
    pub(crate) service: Option<ServiceName>,
    /// The id under which this machine keeps covers of a member's files.
    pub(crate) covers: Option<WorkflowId>,
}

impl Part {
    /// A container.
    pub(crate) fn of_container(listed: &ContainerSummary) -> Option<Part> {
        let names = listed.names.iter().flatten().map(|name| name.trim_start_matches('/'));
        let part = Part::read(listed.labels.as_ref()?, names)?;
        let is_container = matches!(
            part.role,
            Role::Agent
                | Role::Fence
                | Role::Guard
                | Role::Host
                | Role::Disk
                | Role::Service
                | Role::Member
                | Role::Probe
        );
        let id: EngineId = listed.id.as_deref()?.parse().ok()?;
        // The engine fills the list with its own words for what it cannot tell.
        let state = listed.state.map(|state| state.to_string()).unwrap_or_default();
        let image = part.image.or_else(|| listed.image.as_deref()?.parse().ok());
        is_container.then(|| Part { handle: id.to_string(), state, image, ..part })
    }

    /// A network.
    pub(crate) fn of_network(listed: &Network) -> Option<Part> {
        let part = Part::read(listed.labels.as_ref()?, listed.name.as_deref().into_iter())?;
        let id: EngineId = listed.id.as_deref()?.parse().ok()?;
        (part.role == Role::Network).then(|| Part { handle: id.to_string(), ..part })
    }

    /// A volume.
    pub(crate) fn of_volume(listed: &Volume) -> Option<Part> {
        let part = Part::read(&listed.labels, std::iter::once(listed.name.as_str()))?;
        let is_volume = Role::VOLUMES.contains(&part.role);
        is_volume.then_some(part)
    }

    fn read<'a>(labels: &HashMap<String, String>, mut names: impl Iterator<Item = &'a str>) -> Option<Part> {
        let claim = Claim {
            workflow: labels.get(LABEL_WORKFLOW)?.parse().ok()?,
            name: optional(labels, LABEL_NAME)?,
            digest: optional(labels, LABEL_DIGEST)?,
            created_at: labels.get(LABEL_CREATED)?.parse().ok()?,
        };
        let role = labels.get(LABEL_ROLE)?.parse().ok()?;
        let claim_id = claim.workflow;
        let name = names.find(|name| is_name_of(name, claim_id, role))?;
        Some(Part {
            claim,
            role,
            handle: name.to_owned(),
            state: String::new(),
            image: optional(labels, LABEL_IMAGE)?,
            image_digest: optional(labels, LABEL_IMAGE_DIGEST)?,
            keep: role == Role::Agent && labels.get(LABEL_KEEP).is_some_and(|word| word == KEPT),
            service: service_of(name, claim_id, role),
            covers: optional(labels, LABEL_COVERS)?.filter(|_| role == Role::Member),
        })
    }
}

/// A label that may be absent or empty; none where it is there and is nothing of its kind.
#[allow(clippy::option_option, reason = "the outer one says that the object is somebody else's")]
fn optional<T: std::str::FromStr>(labels: &HashMap<String, String>, label: &str) -> Option<Option<T>> {
    match labels.get(label).map(String::as_str) {
        None | Some("") => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

/// Tells whether ringfence gives that name to a part.
fn is_name_of(name: &str, workflow: WorkflowId, role: Role) -> bool {
    let Some(rest) = name.strip_prefix(&object_name(workflow, role)) else { return false };
    match role {
        // One volume a directory, numbered.
        Role::Mount | Role::Data => rest.strip_prefix('-').is_some_and(|number| {
            (1..=5).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
        }),
        Role::Service => service_of(name, workflow, role).is_some(),
        // The name that the client gave.
        Role::Member => rest.strip_prefix('-').is_some_and(|name| !name.is_empty()),
        Role::Disk => rest.is_empty() || service_of(name, workflow, role).is_some(),
        _ => rest.is_empty(),
    }
}

/// The service in the name of a part.
fn service_of(name: &str, workflow: WorkflowId, role: Role) -> Option<ServiceName> {
    if !matches!(role, Role::Service | Role::Disk) {
        return None;
    }
    name.strip_prefix(&object_name(workflow, role))?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "00112233";

    /// The part that [`listed`] is.
    pub(crate) fn agent() -> Part {
        Part::of_container(&listed("/ringfence-00112233-agent", &[])).unwrap()
    }

    /// A container as the engine lists it, with the labels that an agent of version 0.1 has, and
    /// others.
    pub(crate) fn listed(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        let digest = format!("sha256:{}", "d".repeat(64));
        let mut all = json!({
            LABEL_WORKFLOW: ID, LABEL_ROLE: "agent", LABEL_DIGEST: digest, LABEL_CREATED: "7",
            "dev.ringfence.version": "0.1.0", LABEL_IMAGE: "debian:12",
        });
        for (label, value) in labels {
            all[label] = Value::from(*value);
        }
        let id = "e".repeat(64);
        serde_json::from_value(json!({"Id": id, "Names": [name], "Labels": all, "State": "exited"})).unwrap()
    }

    #[test]
    fn an_object_of_version_0_1_is_known() {
        let part = Part::of_container(&listed("/ringfence-00112233-agent", &[])).unwrap();
        assert_eq!(part.claim.workflow.to_string(), ID);
        assert_eq!((part.role, part.state.as_str()), (Role::Agent, "exited"));
        assert_eq!(part.handle, "e".repeat(64), "it is acted on by the engine's own id");
        assert_eq!(part.image.unwrap().as_ref(), "debian:12");
        assert_eq!(part.claim.name, None);
    }

    #[test]
    fn labels_that_are_not_of_their_form_make_it_somebody_elses() {
        for (label, value) in [
            (LABEL_WORKFLOW, "/some/folder"),
            (LABEL_WORKFLOW, "../../etc"),
            (LABEL_WORKFLOW, ""),
            (LABEL_WORKFLOW, "0011223"),
            (LABEL_ROLE, "king"),
            (LABEL_ROLE, ""),
            (LABEL_NAME, "\u{1b}[2J"),
            (LABEL_NAME, "a b"),
            (LABEL_DIGEST, "d"),
            (LABEL_CREATED, "-1"),
            (LABEL_CREATED, ""),
            (LABEL_IMAGE, "a\nb"),
            (LABEL_IMAGE, "../volumes/x"),
            (LABEL_IMAGE_DIGEST, "x@sha256:\u{9b}"),
        ] {
            for name in ["ringfence-00112233-agent".to_owned(), format!("ringfence-{value}-agent")] {
                let listed = listed(&format!("/{name}"), &[(label, value)]);
                assert_eq!(Part::of_container(&listed), None, "{label} = {value:?}");
            }
        }
    }

    #[test]
    fn what_an_image_says_of_a_plain_container_counts_for_nothing() {
        // `docker create` of an image with every label in good form: the engine makes the name up,
        // or a person gives another.
        for name in [
            "/happy_turing",
            "/ringfence-00112233",
            "/ringfence-00112233-fence",
            "/x-ringfence-00112233-agent",
        ] {
            assert_eq!(Part::of_container(&listed(name, &[])), None, "{name}");
        }
        let foreign = listed("/ringfence-00112233-agent", &[]);
        for id in [None, Some(String::new()), Some("../x".to_owned())] {
            assert_eq!(Part::of_container(&ContainerSummary { id, ..foreign.clone() }), None);
        }
    }

    #[test]
    fn a_service_is_known_by_its_name() {
        let part = |name: &str, role: &str| {
            Part::of_container(&listed(&format!("/ringfence-00112233-{name}"), &[(LABEL_ROLE, role)]))
        };
        for (name, role, service) in
            [("service-db", "service", Some("db")), ("disk-db", "disk", Some("db")), ("disk", "disk", None)]
        {
            let service = service.map(|name| name.parse().unwrap());
            assert_eq!(part(name, role).map(|part| part.service), Some(service), "{name}");
        }
        for (name, role) in [
            ("service", "service"),
            ("service-", "service"),
            ("service-localhost", "service"),
            ("service-A", "service"),
            ("service-db", "disk"),
            ("service-db", "agent"),
            ("agent-db", "agent"),
            ("fence-db", "fence"),
        ] {
            assert_eq!(part(name, role), None, "{name} {role}");
        }
    }

    #[test]
    fn a_role_fits_its_kind_of_object() {
        assert_eq!(
            Part::of_container(&listed("/ringfence-00112233-volume", &[(LABEL_ROLE, "volume")])),
            None
        );
        let volume = |name: &str, role: &str| {
            let labels = json!({LABEL_WORKFLOW: ID, LABEL_ROLE: role, LABEL_CREATED: "7", LABEL_NAME: ""});
            let listed = json!({"Name": name, "Labels": labels, "Driver": "local", "Mountpoint": "/m",
                                "Scope": "local", "Options": {}});
            Part::of_volume(&serde_json::from_value(listed).unwrap()).map(|part| part.handle)
        };
        for (name, role) in [
            ("ringfence-00112233-volume", "volume"),
            ("ringfence-00112233-mount-12", "mount"),
            ("ringfence-00112233-data-0", "data"),
        ] {
            assert_eq!(volume(name, role).as_deref(), Some(name));
        }
        for (name, role) in [
            ("ringfence-00112233-agent", "agent"),
            ("ringfence-00112233-mount", "mount"),
            ("ringfence-00112233-mount-", "mount"),
            ("ringfence-00112233-mount-1/2", "mount"),
            ("ringfence-00112233-mount-x", "mount"),
            ("ringfence-44556677-volume", "volume"),
            ("ringfence-00112233-data", "data"),
            ("ringfence-00112233-data-1", "mount"),
            ("ringfence-00112233-disk", "disk"),
            ("my-data", "volume"),
        ] {
            assert_eq!(volume(name, role), None, "{name}");
        }
    }
}
