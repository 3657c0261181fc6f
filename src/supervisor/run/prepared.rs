//! The second phase: this machine has written down what will be, and the engine has nothing of it.

use std::fs::File;

use super::checked::{Checked, Gathered};
use super::events::EventFiles;
use super::request::RunRequest;
use crate::host::clock::unix_seconds;
use crate::host::territory;
use crate::supervisor::engine::Engine;
use crate::supervisor::forward::ForwardRequest;
use crate::supervisor::live;
use crate::supervisor::records::history::{HistoryWriter, RunBeginning};
use crate::supervisor::records::homes::HeldHome;
use crate::supervisor::records::output;
use crate::supervisor::records::runs::Held;
use crate::supervisor::spec::agent::{AgentSpec, EngineFacts, SpecFacts};
use crate::supervisor::spec::etc;
use crate::supervisor::spec::home::HomeIdentity;
use crate::supervisor::spec::image::{Image, Images};
use crate::supervisor::spec::places::WORKSPACE;
use crate::supervisor::spec::service::{self, ServiceSpec};
use crate::supervisor::spec::workflow::Workflow;
use crate::term::{COULD_NOT_RUN, Failure, Warning};
use crate::wire::event::Observation;
use crate::wire::{UnixTime, WorkflowId, init};
use crate::workspace::aftermath::Aftermath;
use crate::workspace::masks::{self, Laying};
use crate::workspace::mounts::Bind;

/// All that is decided about a run. It does not change while the run goes through its phases.
pub(super) struct RunPlan {
    /// The engine.
    pub(super) engine: Engine,
    /// Names and labels.
    pub(super) workflow: Workflow,
    /// The request.
    pub(super) request: RunRequest,
    /// The agent.
    pub(super) agent: AgentSpec,
    /// The services beside the agent.
    pub(super) services: Vec<ServiceSpec>,
    /// Facts of the engine's machine that the agent depends on.
    pub(super) facts: EngineFacts,
    /// Covers over files of this machine.
    pub(super) covers: Laying,
    /// The engine's id of the helper image.
    pub(super) helper: String,
    /// The agent's home, where it has one that survives.
    pub(super) home: Option<HomeIdentity>,
}

/// A run of which this machine knows.
pub(super) struct Prepared {
    /// The plan.
    pub(super) plan: RunPlan,
    /// Values that the start needs once.
    pub(super) gathered: Gathered,
    /// Ports that are to lead to the agent's.
    pub(super) forwards: ForwardRequest,
    /// The log.
    pub(super) events: EventFiles,
    /// The run's record, locked.
    pub(super) record: Held,
    /// The run's history, locked.
    pub(super) history: HistoryWriter,
    /// The file for what the supervisor says once it has left its caller, where it will.
    pub(super) said: Option<File>,
    /// The journal by which is put back after the run, where anything can be written.
    pub(super) aftermath: Option<Aftermath>,
    /// The record of the agent's home, locked.
    pub(super) home: Option<HeldHome>,
}

impl Checked {
    /// Writes down on this machine what will be: log, record, covers, journal.
    ///
    /// # Errors
    /// When one of them cannot be written; the covers are taken back then.
    pub(super) fn prepare(
        self,
        engine: &Engine,
        images: &Images,
        mut request: RunRequest,
    ) -> Result<Prepared, Failure> {
        let Checked { facts, limits, helper, home: place, gathered } = self;
        let workflow = workflow(&request)?;
        let home = request.home.as_ref().map(|home| HeldHome::of_run(home, &engine.host, &workflow));
        let home = home.transpose()?;
        let events = EventFiles::open(workflow.id, request.events.as_deref())?;
        let project = request.project().map(|bind| bind.source.as_path());
        let record = Held::begin(&workflow, &engine.host, project)?;
        let covers = cover(&request, &facts, engine, workflow.id)?;
        let (dialect, home_place) = (&engine.dialect, place.as_ref());
        let image = &images.agent;
        let known = SpecFacts { image, dialect, engine: facts, limits, covers: &covers, home: home_place };
        let begun = AgentSpec::new(&request.agent, known)
            .and_then(|agent| {
                let services = service::all(&request.services, &images.services, &agent, dialect)?;
                Ok((agent, services, begin_aftermath(&request, engine, &workflow)?))
            })
            .and_then(|begun| {
                let history = HistoryWriter::begin(beginning(&workflow, engine, image, &request))?;
                // A sweep of another start takes what no remembered run has.
                let said = request.agent.detached.then(|| output::begin_said(workflow.id)).transpose()?;
                Ok((begun, history, said))
            });
        let ((agent, services, aftermath), history, said) = begun.inspect_err(|_| {
            // Else the next runs on these files would be held to the covers of one that never was.
            masks::close(workflow.id).unwrap_or_else(|failure| failure.tell());
        })?;
        let identity = home.as_ref().map(|held| held.record.identity.clone());
        let (engine, forwards) = (engine.clone(), std::mem::take(&mut request.forwards));
        let plan =
            RunPlan { engine, workflow, request, agent, services, facts, covers, helper, home: identity };
        Ok(Prepared { plan, gathered, forwards, events, record, history, said, aftermath, home })
    }
}

impl RunPlan {
    /// Has the guard write something down, beside whatever goes on.
    pub(super) fn note(&self, notes: Vec<(Observation, String)>) {
        let (engine, helpers) = (self.engine.clone(), self.workflow.helpers());
        tokio::spawn(async move { live::note(&engine, &helpers, notes).await });
    }
}

/// Returns what is known of a run before anything of it exists.
fn beginning(workflow: &Workflow, engine: &Engine, image: &Image, request: &RunRequest) -> RunBeginning {
    let project = request.project().map(|project| project.source.to_string_lossy().into_owned());
    RunBeginning {
        id: workflow.id,
        name: workflow.name.clone(),
        image: image.name.parse().ok(),
        project,
        engine: engine.host.clone(),
        created_at: workflow.created_at,
        detached: request.agent.detached,
        locked: false,
    }
}

/// Makes an identity for the run.
fn workflow(request: &RunRequest) -> Result<Workflow, Failure> {
    let digest = request
        .policy
        .digest()
        .parse()
        .map_err(|error| Failure::new(COULD_NOT_RUN, "the policy has no digest").caused_by(&error))?;
    Workflow::new(request.name.clone(), Some(digest), UnixTime(unix_seconds()))
        .map_err(|error| Failure::new(COULD_NOT_RUN, "cannot make an id for the workflow").caused_by(&error))
}

/// Writes what is laid over the files that the agent is given, and tells it.
fn cover(
    request: &RunRequest,
    facts: &EngineFacts,
    engine: &Engine,
    id: WorkflowId,
) -> Result<Laying, Failure> {
    let resolver = request.policy.dns.virtual_range.broadcast();
    let services = request.service_names();
    let own = facts.own_files.then(|| etc::files(engine.dialect.container_mark, resolver, &services));
    let given = masks::Given {
        binds: &request.agent.binds,
        workspace: WORKSPACE,
        mirror: request.worktree.as_ref().and_then(|worktree| worktree.mirror.as_ref()),
        own: own.as_ref().map_or(&[], |own| own),
        // Another runtime shows other numbers, and may have sockets of its own; so may another
        // kernel.
        init: init::PROGRAM.filter(|_| facts.own_files && request.agent.runtime.is_none()),
    };
    let covers = masks::serve(&request.masks, given, id, &engine.host)?;
    covers.told.iter().for_each(|told| crate::term::warn(Warning::Noted(told.clone())));
    Ok(covers)
}

/// Writes down what is there before the agent, and the layers for a reload.
fn begin_aftermath(
    request: &RunRequest,
    engine: &Engine,
    workflow: &Workflow,
) -> Result<Option<Aftermath>, Failure> {
    let binds = &request.agent.binds;
    remember(binds)?;
    let (name, worktree) = (workflow.name.as_ref().map(AsRef::as_ref), request.worktree.as_ref());
    let aftermath = Aftermath::begin(binds, &request.masks, worktree, workflow.id, name, &engine.host)?;
    request.layers.keep(workflow.id)?;
    Ok(aftermath)
}

/// Writes down what the agent will be able to write: no later run follows a link that it left
/// there.
fn remember(binds: &[Bind]) -> Result<(), Failure> {
    let given: std::io::Result<Vec<_>> = binds.iter().filter_map(|bind| bind.given().transpose()).collect();
    given.and_then(|given| territory::record(&given)).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot write down what the agent is given").caused_by(&error)
    })
}
