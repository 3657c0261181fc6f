//! Finding workflows again by the names and labels of their parts, and removing what is theirs.
//!
//! ```text
//!  objects on the engine ─▶ Part (name and labels parse) ─▶ Found (id, parts, state) ─▶ ps | stop | gc
//! ```

pub(crate) mod homes;
mod output;
mod remove;
pub(crate) mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, ListVolumesOptions};
use netpolicy::service::ServiceName;
use serde::Serialize;

pub(crate) use self::output::{has_terminal, piece, save_output};
pub(crate) use self::remove::{Extent, Saved, end, read_events, remove, save_events};
use crate::layers::record::Record;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::usage::Usage;
use crate::supervisor::records::runs::Run;
use crate::supervisor::spec::part::{Claim, Part};
use crate::supervisor::spec::workflow::{Helpers, LABEL_ROLE, LABEL_WORKFLOW, Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{ImageDigest, ImageName, PolicyDigest, UnixTime, WorkflowId, WorkflowName};

/// State of a container that is not there.
const ABSENT: &str = "absent";
/// State of a container that works.
const RUNNING: &str = "running";

/// Agreement of a record on this machine with what the engine lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The record agrees; `locked` tells whether its supervisor held a lock.
    Here {
        /// Tells whether it did.
        locked: bool,
    },
    /// Version 0.1 made it here: the policy's sources alone were written down.
    Earlier,
    /// There is no record: another machine's run, or a lost state folder.
    No,
}

impl Serialize for Recorded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*self != Recorded::No)
    }
}

/// A workflow of which parts are on the engine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WorkflowSummary {
    /// Id of the workflow.
    pub(crate) id: WorkflowId,
    /// The name that a person gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<WorkflowName>,
    /// The agent's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageName>,
    /// Digest under which a registry gave that image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_digest: Option<ImageDigest>,
    /// running, exited, created, … of the agent; `absent` without one.
    pub(crate) agent: String,
    /// State of the guard.
    pub(crate) guard: String,
    /// State of the fence.
    pub(crate) fence: String,
    /// Digest of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<PolicyDigest>,
    /// The time of the start.
    pub(crate) created_at: UnixTime,
    /// Knowledge of this machine.
    pub(crate) recorded: Recorded,
    /// Usage of a running agent, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// States of the services by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<ServiceName, String>,
    /// Tells whether its agent's container stays after the agent's end.
    #[serde(skip)]
    pub(crate) keep: bool,
    /// Tells whether that container is all that is left: the agent is over, and nothing works.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) kept: bool,
    /// All that is there of it.
    #[serde(skip)]
    pub(crate) parts: Vec<Part>,
}

impl WorkflowSummary {
    /// Makes a workflow without any part.
    fn of(claim: &Claim) -> WorkflowSummary {
        WorkflowSummary {
            id: claim.workflow,
            name: claim.name.clone(),
            image: None,
            image_digest: None,
            agent: ABSENT.to_owned(),
            guard: ABSENT.to_owned(),
            fence: ABSENT.to_owned(),
            digest: claim.digest.clone(),
            created_at: claim.created_at,
            recorded: Recorded::No,
            usage: None,
            services: BTreeMap::new(),
            keep: false,
            kept: false,
            parts: Vec::new(),
        }
    }

    /// Makes a workflow of its parts.
    fn with(mut self, parts: impl Iterator<Item = Part>) -> WorkflowSummary {
        parts.for_each(|part| self.add(part));
        // Volumes stay with the container that has them.
        let stays = |part: &Part| {
            part.role == Role::Agent || part.role != Role::Volume && Role::VOLUMES.contains(&part.role)
        };
        self.kept = self.keep && self.agent_has_ended() && self.parts.iter().all(stays);
        self
    }

    fn add(&mut self, part: Part) {
        let state = part.state.clone();
        match part.role {
            Role::Agent => {
                self.agent = state;
                self.image.clone_from(&part.image);
                self.image_digest.clone_from(&part.image_digest);
                self.keep = part.keep;
            }
            Role::Guard => self.guard = state,
            Role::Fence => self.fence = state,
            Role::Service => self.services.extend(part.service.clone().map(|name| (name, state))),
            // A group works while one of its containers does.
            Role::Member if self.agent != RUNNING => self.agent = state,
            _ => {}
        }
        self.parts.push(part);
    }

    /// Notes that the guard has ended, which the engine may list later.
    pub(crate) fn guard_has_ended(&mut self) {
        "exited".clone_into(&mut self.guard);
        let guards = self.parts.iter_mut().filter(|part| part.role == Role::Guard);
        guards.for_each(|part| "exited".clone_into(&mut part.state));
    }

    /// Tells whether its agent ran and has ended, by the engine's word.
    pub(crate) fn agent_has_ended(&self) -> bool {
        matches!(self.agent.as_str(), "exited" | "dead")
    }

    /// Tells whether this machine made it, so that its files here are the workflow's.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded != Recorded::No
    }

    /// Lists the containers that clients of `ringfence serve` made in it.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.role == Role::Member)
    }

    /// Returns the engine's id of a container.
    pub(crate) fn container(&self, role: Role) -> Option<&str> {
        self.parts.iter().find(|part| part.role == role).map(|part| part.handle.as_str())
    }

    /// Returns the engine's id of a service's container.
    pub(crate) fn service_container(&self, name: &ServiceName) -> Option<&str> {
        let is_it = |part: &&Part| part.role == Role::Service && part.service.as_ref() == Some(name);
        self.parts.iter().find(is_it).map(|part| part.handle.as_str())
    }

    /// Returns the workflow's fence and guard, where both are there.
    pub(crate) fn helpers(&self) -> Option<Helpers> {
        let handle = |role| self.container(role).map(str::to_owned);
        Some(Helpers { id: self.id, guard: handle(Role::Guard)?, fence: handle(Role::Fence)? })
    }
}

/// Lists all workflows of which anything is left on the engine, oldest first.
pub(crate) async fn workflows(engine: &Engine) -> Result<Vec<WorkflowSummary>, Failure> {
    Ok(group(parts(engine, LABEL_WORKFLOW).await?, known))
}

/// Counts the workflows on the engine whose fence is there: those that may make connections.
pub(crate) async fn count_runs(engine: &Engine) -> Result<u32, Failure> {
    let label = format!("{LABEL_ROLE}={}", Role::Fence);
    let filters = Some(HashMap::from([("label".to_owned(), vec![label])]));
    let options = ListContainersOptions { all: true, filters, ..Default::default() };
    let listed = engine.list_containers(options).await;
    let listed = listed.map_err(|error| engine::refused("cannot list the engine's containers", &error))?;
    let is_over = |part: &Part| matches!(part.state.as_str(), "exited" | "dead" | "removing");
    let fences = listed.iter().filter_map(Part::of_container).filter(|part| !is_over(part));
    let workflows: BTreeSet<WorkflowId> = fences.map(|part| part.claim.workflow).collect();
    Ok(u32::try_from(workflows.len()).unwrap_or(u32::MAX))
}

/// Lists everything that is left on the engine of a workflow; none where nothing is.
async fn of_id(engine: &Engine, id: WorkflowId) -> Result<Option<WorkflowSummary>, Failure> {
    let parts = parts(engine, &format!("{LABEL_WORKFLOW}={id}")).await?;
    Ok(group(parts, known).into_iter().find(|found| found.id == id))
}

/// Lists everything that is left on the engine of a workflow that this process made.
pub(crate) async fn of_run(engine: &Engine, workflow: &Workflow) -> Result<WorkflowSummary, Failure> {
    let own = Claim {
        workflow: workflow.id,
        name: workflow.name.clone(),
        digest: workflow.digest.clone(),
        created_at: workflow.created_at,
    };
    let found = WorkflowSummary { recorded: Recorded::Here { locked: true }, ..WorkflowSummary::of(&own) };
    let parts = parts(engine, &format!("{LABEL_WORKFLOW}={}", workflow.id)).await?;
    Ok(found.with(parts.into_iter().filter(|part| part.claim == own)))
}

/// Lists everything with a label that is, by name and labels, a part of a workflow.
async fn parts(engine: &Engine, label: &str) -> Result<Vec<Part>, Failure> {
    let cannot = |what: &str| format!("cannot list the engine's {what}");
    let by_label = || Some(HashMap::from([("label".to_owned(), vec![label.to_owned()])]));
    let containers = ListContainersOptions { all: true, filters: by_label(), ..Default::default() };
    let networks = ListNetworksOptions { filters: by_label() };
    let volumes = ListVolumesOptions { filters: by_label() };
    let (containers, networks, volumes) = tokio::join!(
        engine.list_containers(containers),
        engine.api.list_networks(Some(networks)),
        engine.api.list_volumes(Some(volumes)),
    );
    let containers = containers.map_err(|error| engine::refused(cannot("containers"), &error))?;
    let networks = networks.map_err(|error| engine::refused(cannot("networks"), &error))?;
    let volumes = volumes.map_err(|error| engine::refused(cannot("volumes"), &error))?;
    let containers = containers.iter().filter_map(Part::of_container);
    let networks = networks.iter().filter_map(Part::of_network);
    let volumes = volumes.volumes.iter().flatten().filter_map(Part::of_volume);
    Ok(containers.chain(networks).chain(volumes).collect())
}

/// Record of this machine about a workflow.
enum Known {
    Run(Run),
    Earlier,
    Nothing,
}

fn known(id: WorkflowId) -> Known {
    match Run::of(id) {
        Some(run) => Known::Run(run),
        None if Record::of_workflow(id).is_ok_and(|record| record.is_some()) => Known::Earlier,
        None => Known::Nothing,
    }
}

/// Groups parts into workflows.
fn group(parts: Vec<Part>, known: impl Fn(WorkflowId) -> Known) -> Vec<WorkflowSummary> {
    let mut by_id: BTreeMap<WorkflowId, Vec<Part>> = BTreeMap::new();
    for part in parts {
        by_id.entry(part.claim.workflow).or_default().push(part);
    }
    let mut all: Vec<WorkflowSummary> =
        by_id.into_iter().filter_map(|(id, parts)| one(parts, &known(id))).collect();
    all.sort_by_key(|found| (found.created_at, found.id));
    all
}

/// Makes the workflow of parts that claim one id. Parts that do not agree with the record are
/// nobody's; without a record, those that do not agree with the fence, which is there first and
/// stays longest.
fn one(mut parts: Vec<Part>, known: &Known) -> Option<WorkflowSummary> {
    let recorded = match known {
        Known::Run(run) => {
            parts.retain(|part| run.knows(part));
            Recorded::Here { locked: run.was_locked() }
        }
        Known::Earlier => Recorded::Earlier,
        Known::Nothing => Recorded::No,
    };
    let weight =
        |part: &&Part| [Role::Fence, Role::Guard, Role::Agent].iter().position(|role| *role == part.role);
    let claim = parts.iter().min_by_key(|part| weight(part).unwrap_or(usize::MAX))?.claim.clone();
    let found = WorkflowSummary { recorded, ..WorkflowSummary::of(&claim) };
    Some(found.with(parts.into_iter().filter(|part| part.claim == claim)))
}

/// Returns the one workflow that is meant by an id, a unique prefix of one, or a name.
pub(crate) fn pick<'a>(all: &'a [WorkflowSummary], wanted: &str) -> Result<&'a WorkflowSummary, Failure> {
    find(all, wanted)?.ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("no workflow `{wanted}` is on this engine"))
            .hint("`ringfence ps` lists them")
    })
}

/// Returns the one workflow that is meant, as [`pick`] does; none where no workflow on the engine
/// is.
///
/// # Errors
/// When several may be meant.
pub(crate) fn find<'a>(
    all: &'a [WorkflowSummary],
    wanted: &str,
) -> Result<Option<&'a WorkflowSummary>, Failure> {
    let named: Vec<_> =
        all.iter().filter(|found| found.name.as_ref().is_some_and(|name| name.as_ref() == wanted)).collect();
    let begun: Vec<_> =
        all.iter().filter(|found| !wanted.is_empty() && found.id.to_string().starts_with(wanted)).collect();
    let exact = begun.iter().find(|_| wanted.len() == 8);
    match (exact, named.as_slice(), begun.as_slice()) {
        (Some(found), ..) => Ok(Some(found)),
        (None, [found], _) | (None, [], [found]) => Ok(Some(found)),
        (None, [], []) => Ok(None),
        _ => Err(Failure::new(COULD_NOT_RUN, format!("`{wanted}` may mean several workflows"))
            .hint("give more of the id; `ringfence ps` lists them")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::supervisor::spec::part::tests::listed;

    /// Makes a workflow without any part.
    pub(crate) fn found(id: &str) -> WorkflowSummary {
        let workflow = id.parse().unwrap();
        WorkflowSummary::of(&Claim { workflow, name: None, digest: None, created_at: UnixTime(0) })
    }

    #[test]
    fn a_workflow_is_meant_by_id_prefix_or_name_and_never_by_chance() {
        let named = |id, name: &str| WorkflowSummary { name: Some(name.parse().unwrap()), ..found(id) };
        let all = [named("aa010000", "night"), found("aa020000"), found("bb030000")];
        let meant = |wanted| pick(&all, wanted).map(|found| found.id.to_string());
        assert_eq!(meant("aa020000").unwrap(), "aa020000");
        assert_eq!(meant("b").unwrap(), "bb030000");
        assert_eq!(meant("night").unwrap(), "aa010000");
        for unclear in ["aa", "", "c", "nigh"] {
            assert!(meant(unclear).is_err(), "{unclear:?}");
        }
        // An id that is somebody's name stays an id.
        let all = [named("aa010000", "aa020000"), found("aa020000")];
        assert_eq!(pick(&all, "aa020000").unwrap().id.to_string(), "aa020000");
    }

    #[test]
    fn parts_that_disagree_with_the_fence_are_nobodys() {
        let part = |role: &str, created: &str, id: char| {
            let mut listed = listed(
                &format!("/ringfence-00112233-{role}"),
                &[("dev.ringfence.role", role), ("dev.ringfence.created-at", created)],
            );
            listed.id = Some(id.to_string().repeat(64));
            Part::of_container(&listed).unwrap()
        };
        let parts = vec![part("agent", "8", 'a'), part("guard", "7", 'b'), part("fence", "7", 'c')];
        let all = group(parts, |_| Known::Nothing);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].agent.as_str(), all[0].guard.as_str()), ("absent", "exited"));
        assert_eq!(all[0].container(Role::Agent), None);
        assert_eq!(all[0].helpers().unwrap().guard, "b".repeat(64));
    }

    #[test]
    fn a_kept_agent_is_one_that_is_over_and_beside_which_nothing_works() {
        let part = |name: &str, role: &str, keep: &str, state: &str| {
            let labels = [("dev.ringfence.role", role), ("dev.ringfence.keep", keep)];
            let mut listed = listed(&format!("/ringfence-00112233-{name}"), &labels);
            listed.state = serde_json::from_value(state.into()).unwrap();
            Part::of_container(&listed).unwrap()
        };
        let agent = |keep, state| part("agent", "agent", keep, state);
        let kept = |parts: Vec<Part>| group(parts, |_| Known::Nothing)[0].kept;
        assert!(kept(vec![agent("yes", "exited")]));
        for parts in [
            vec![agent("", "exited")],
            vec![agent("no", "exited")],
            vec![agent("yes", "running")],
            vec![agent("yes", "created")],
            vec![agent("yes", "exited"), part("fence", "fence", "", "running")],
            vec![agent("yes", "exited"), part("guard", "guard", "", "exited")],
            vec![agent("yes", "exited"), part("service-db", "service", "yes", "exited")],
            // Of another part the label says nothing.
            vec![part("fence", "fence", "yes", "exited")],
        ] {
            assert!(!kept(parts.clone()), "{parts:?}");
        }
    }
}
