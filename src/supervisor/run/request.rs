//! A run as it was asked for, checked as far as it can be without the engine.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use netpolicy::policy::Policy;
use netpolicy::service::ServiceName;

use crate::layers::record::Record;
use crate::supervisor::forward::ForwardRequest;
use crate::supervisor::spec::home::HomeRequest;
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::spec::request::AgentRequest;
use crate::supervisor::spec::service::ServiceRequest;
use crate::supervisor::ssh_agent::SshAgentRequest;
use crate::supervisor::streams::Surfaces;
use crate::wire::WorkflowName;
use crate::wire::event::Observation;
use crate::wire::planned::PlannedConditions;
use crate::workspace::masks;
use crate::workspace::mounts::Bind;
use crate::workspace::worktree::Worktree;

/// All that a run needs besides the engine and the image.
pub(crate) struct RunRequest {
    /// A name for the workflow.
    pub(crate) name: Option<WorkflowName>,
    /// The policy, whole.
    pub(crate) policy: Policy,
    /// The origin of the policy, for a reload.
    pub(crate) layers: Record,
    /// The agent, as it was asked for.
    pub(crate) agent: AgentRequest,
    /// Tells whether containers come into the fence later, in the place of an agent (`serve`).
    pub(crate) shared: bool,
    /// Services beside the agent.
    pub(crate) services: Vec<ServiceRequest>,
    /// Covers of the project's files, and of those of its repository where that lies elsewhere.
    pub(crate) masks: Vec<masks::Plan>,
    /// The project as a working tree whose repository lies elsewhere.
    pub(crate) worktree: Option<Worktree>,
    /// End of the agent's token, which ends the run.
    pub(crate) token_ends: Option<SystemTime>,
    /// A home that survives the run.
    pub(crate) home: Option<HomeRequest>,
    /// Ports that lead to the agent's, taken on this machine.
    pub(crate) forwards: ForwardRequest,
    /// The person's ssh agent, for logins.
    pub(crate) ssh_agent: Option<SshAgentRequest>,
    /// Surfaces on which refusals are shown meanwhile.
    pub(crate) surfaces: Surfaces,
    /// Words of a command by which refused names are put into the run's policy, behind the id.
    pub(crate) apply: Option<String>,
    /// Every refusal is told at the end, the harmless ones too.
    pub(crate) tells_all: bool,
    /// Conditions that are planned, by `ringfence test`.
    pub(crate) planned: PlannedConditions,
    /// A second file for the events.
    pub(crate) events: Option<PathBuf>,
}

/// The time after which a run is ended.
pub(super) struct Deadline {
    /// Time that is left.
    pub(super) left: Duration,
    /// The limit that it is.
    pub(super) limit: Observation,
    /// Words for the person.
    pub(super) why: String,
}

impl RunRequest {
    /// Returns the names of the services.
    pub(super) fn service_names(&self) -> Vec<ServiceName> {
        self.services.iter().map(|service| service.name.clone()).collect()
    }

    /// Returns the project, as a person named it.
    pub(super) fn project(&self) -> Option<&Bind> {
        let part = self.worktree.as_ref().and_then(|worktree| worktree.part.as_ref());
        part.or_else(|| self.agent.project())
    }

    /// Returns what ends the run if nothing else does: its time, or the end of its token.
    pub(super) fn deadline(&self, limits: &Limits) -> Deadline {
        let shown = humantime::format_duration(limits.time);
        let time = Deadline {
            left: limits.time,
            limit: Observation::TimeLimit,
            why: format!("the time of {shown} is over (--time, or container.time of a policy)"),
        };
        let token = self.token_ends.map(|end| Deadline {
            left: end.duration_since(SystemTime::now()).unwrap_or_default(),
            limit: Observation::TokenOver,
            why: "the agent's GitLab token is over".to_owned(),
        });
        token.filter(|token| token.left < limits.time).unwrap_or(time)
    }
}
