//! One run: create, start, wait, remove. See the drawing in the module above.
//!
//! The order is the guarantee: the agent's container is started last, after the guard has said that it
//! serves the sockets of a fence that proved itself. Whatever fails before that removes everything.

mod account;
pub mod checks;
mod clock;
mod configuration;
mod create;
mod events;
mod exit_status;
mod filter;
mod host;
mod reached;
mod ready;
pub mod removal;
mod running;
pub mod runtime;
mod start;
pub mod streams;
pub mod summary;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use netpolicy::policy::Policy;

use self::checks::{check_name_is_free, cpus, may_hold_quotas, own_addresses};
use self::clock::Clock;
use self::events::EventFiles;
use self::start::{Checked, Prepared, start};
use super::aftermath::Report;
use super::engine::Engine;
use super::signals::Signals;
use super::{aftermath, helper_image, networks};
use crate::host::clock::unix_seconds;
use crate::host::territory;
use crate::layers::record::Record;
use crate::supervisor::mounts::nonce;
use crate::supervisor::records::runs;
use crate::supervisor::run::summary::{Summary, last_digest};
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::spec::agent::{AgentSpec, EngineFacts, Facts};
use crate::supervisor::spec::etc;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::spec::places::WORKSPACE;
use crate::supervisor::spec::request::AgentRequest;
use crate::supervisor::spec::workflow::Workflow;
use crate::supervisor::upload::guard_inputs::{self, Means};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::event::{AgentEnded, How, Observation};
use crate::wire::{UnixTime, WorkflowName};
use crate::workspace::aftermath::Aftermath;
use crate::workspace::mounts::Bind;
use crate::workspace::worktree::Worktree;
use crate::workspace::{masks, review};

/// An engine that restarts is back within this time.
const ENGINE_LIMIT: Duration = Duration::from_secs(30);
/// Removing what a run made takes seconds, or minutes where an agent left millions of files on a slow disk.
const REMOVAL_LIMIT: Duration = Duration::from_secs(900);
/// The fence ended the run: the guard or the fence died, or a limit was reached.
pub const FENCE_ENDED: u8 = 123;
/// The time is over.
pub const TIME_OVER: u8 = 124;

/// All that a run needs, checked as far as it can be without the engine.
pub struct RunRequest {
    /// A name for the workflow.
    pub name: Option<WorkflowName>,
    /// The policy, whole.
    pub policy: Policy,
    /// Where it comes from, for a reload.
    pub layers: Record,
    /// The agent, as it was asked for.
    pub agent: AgentRequest,
    /// What is laid over the project's files, and over those of its repository where that lies elsewhere.
    pub masks: Vec<masks::Plan>,
    /// The project as a working tree whose repository lies elsewhere.
    pub worktree: Option<Worktree>,
    /// When the agent's token ends, which ends the run.
    pub token_ends: Option<SystemTime>,
    /// Where a person wants the events too.
    pub events: Option<PathBuf>,
    /// Print how long each step took.
    pub timings: bool,
    /// No summary.
    pub quiet: bool,
}

impl RunRequest {
    /// The project, as a person named it.
    fn project(&self) -> Option<&Bind> {
        let part = self.worktree.as_ref().and_then(|worktree| worktree.part.as_ref());
        part.or_else(|| self.agent.project())
    }

    /// What is left until the run must end, what ends it, and in words.
    fn left(&self, limits: &Limits) -> (Duration, Observation, String) {
        let time = limits.time;
        let shown = humantime::format_duration(time);
        let limit = (
            time,
            Observation::TimeLimit,
            format!("the time of {shown} is over (--time, or container.time of a policy)"),
        );
        let token = self.token_ends.map(|end| {
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            (left, Observation::TokenOver, "the agent's GitLab token is over".to_owned())
        });
        token.filter(|(left, ..)| *left < time).unwrap_or(limit)
    }
}

/// Runs the agent to its end; the exit status for the program.
pub async fn run(
    engine: &Engine,
    image: &Image,
    request: RunRequest,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut clock = Clock::new(request.timings);
    // Nothing has been created yet, so an engine that has gone silent is simply left.
    let checked = until_signal(signals, check(engine, &request, &mut clock)).await?;

    let digest = request
        .policy
        .digest()
        .parse()
        .map_err(|error| Failure::new(COULD_NOT_RUN, "the policy has no digest").caused_by(&error))?;
    let began = UnixTime(unix_seconds());
    let workflow = Workflow::new(request.name.clone(), Some(digest), began).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot make an id for the workflow").caused_by(&error)
    })?;
    let events = EventFiles::open(workflow.id, request.events.as_deref())?;
    let binds = &request.agent.binds;
    let project = request.project().map(|bind| bind.source.as_path());
    let mut record = runs::Held::begin(&workflow, &engine.host, project)?;
    let resolver = request.policy.dns.virtual_range.broadcast();
    let own = checked.facts.own_files.then(|| etc::files(engine.dialect.container_mark, resolver));
    let given = masks::Given {
        binds,
        memory: &request.agent.surface.tmpfs,
        workspace: WORKSPACE,
        mirror: request.worktree.as_ref().and_then(|worktree| worktree.mirror.as_ref()),
        own: own.as_ref().map_or(&[], |own| own),
        // Another runtime shows other numbers, and may have sockets of its own; so may another kernel.
        init: crate::wire::init::PROGRAM
            .filter(|_| checked.facts.own_files && request.agent.runtime.is_none()),
    };
    let laying = masks::serve(&request.masks, given, workflow.id, &engine.host)?;
    laying.told.iter().for_each(|told| crate::term::talk(format_args!("{told}")));
    let facts = Facts {
        image,
        dialect: &engine.dialect,
        engine: checked.facts,
        limits: checked.limits,
        covers: &laying,
    };
    let name = workflow.name.as_ref().map(AsRef::as_ref);
    let worktree = request.worktree.as_ref();
    let begun = AgentSpec::new(&request.agent, facts).and_then(|agent| {
        let held = remember(binds).and_then(|()| {
            Aftermath::begin(binds, &request.masks, worktree, workflow.id, name, &engine.host)
        })?;
        request.layers.keep(workflow.id).map(|()| (agent, held))
    });
    let (agent, mut held) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            // Else the next runs on these files would be held to the covers of one that never was.
            masks::close(workflow.id).unwrap_or_else(|failure| crate::term::talk_lines(&failure));
            return Err(failure);
        }
    };
    let prepared = Prepared { checked, events, record: &mut record, covered: laying.covered.clone() };

    // From here on things exist. A signal waits until the start is through, so that nothing is
    // created behind the back of the removal; a second one does not where the engine has gone silent.
    let early_signal = Cell::new(None);
    let started = {
        let start = start(engine, &workflow, &request, &agent, prepared, &early_signal, &mut clock);
        tokio::pin!(start);
        loop {
            tokio::select! {
                started = &mut start => break started,
                number = signals.next() => if early_signal.replace(Some(number)).is_some() && !engine.answers().await {
                    let status = Ended::with(128 + number).status;
                    break Err(Failure::new(status, "interrupted twice while the run was starting")
                        .hint("what the engine makes of it later is removed by `ringfence gc`"));
                },
            }
        }
    };
    let mut told = None;
    let outcome = match started {
        Err(failure) => Err(failure),
        Ok(mut running) => {
            if let Some(number) = early_signal.get() {
                signals.again(number);
            }
            let ended = running.supervise(engine, &workflow, &request, &agent.limits, &laying, signals).await;
            let end = ended.as_ref().ok().map(Ended::event);
            told = running.close(engine, &workflow, &mut held, Some(&laying.covered), end).await;
            ended.map(|ended| (ended, running.summary.take()))
        }
    };
    let ran = outcome.is_ok();
    let removed = remove(engine, &workflow).await;
    if removed.is_ok()
        && let Some(held) = held.take()
    {
        // The agent never ran, or its end could not be seen before.
        let mut left = held.settle();
        review::look_for_stand_ins(workflow.id, &mut left);
        left.uncovered = laying.covered.moved();
        told = Some(Report::listed(left, workflow.id));
    }
    clock.step("removed");
    clock.print();
    if let Some(told) = told {
        aftermath::tell(&told, request.quiet);
    }
    if let Some(line) = request.masks.first().filter(|_| ran && !request.quiet).and_then(masks::Plan::busy) {
        crate::term::talk(format_args!("{line}"));
    }
    conclude(outcome, removed, &workflow, request.quiet)
}

/// Writes down what the agent will be able to write: no later run follows a link that it left there.
fn remember(binds: &[Bind]) -> Result<(), Failure> {
    let given: std::io::Result<Vec<_>> = binds.iter().filter_map(|bind| bind.given().transpose()).collect();
    given.and_then(|given| territory::record(&given)).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot write down what the agent is given").caused_by(&error)
    })
}

/// Looks at all that can be looked at before anything is created, and has the helper image on the engine.
async fn check(engine: &Engine, request: &RunRequest, clock: &mut Clock) -> Result<Checked, Failure> {
    let means = Means::gather(&request.policy, request.agent.ca.as_ref())?;
    let corporate = request.agent.ca.as_ref().map(crate::host::authorities::read).transpose()?;
    check_name_is_free(engine, request.name.as_ref()).await?;
    if let Some(runtime) = &request.agent.runtime {
        runtime::check(engine, runtime)?;
    }
    engine.dialect.check()?.iter().for_each(|told| crate::term::talk(format_args!("{told}")));
    host::check(engine)?;
    let limits = request.agent.limits.within(&request.policy, cpus(&engine.info))?;
    let elsewhere = nonce::is_needed(engine.info.kernel_version.as_deref());
    let facts = EngineFacts {
        quotas: may_hold_quotas(&engine.info),
        own_files: etc::can_be_given(engine, elsewhere),
        elsewhere,
    };
    let networks = networks::list(engine).await?;
    guard_inputs::check_proxy(&request.policy, &networks, &own_addresses()?).await?;
    clock.step("checked");
    let helper = helper_image::ensure(engine).await?;
    clock.step("helper image");
    Ok(Checked { helper, networks, means, corporate, facts, limits })
}

/// Removes everything of the workflow. An engine that restarts is waited for: what it leaves running is closed, but nobody's.
async fn remove(engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
    if engine.answers().await {
        let tried = try_to_remove(engine, workflow).await;
        if tried.is_ok() || engine.answers().await {
            return tried;
        }
    }
    crate::term::talk(format_args!(
        "the engine does not answer; waiting {} s for it, to remove workflow {}",
        ENGINE_LIMIT.as_secs(),
        workflow.id
    ));
    engine.back_within(ENGINE_LIMIT).await;
    if engine.answers().await {
        return try_to_remove(engine, workflow).await;
    }
    let what = format!("workflow {} could not be removed: the engine does not answer", workflow.id);
    Err(Failure::new(COULD_NOT_RUN, what).hint("`ringfence gc` tries again once it does"))
}

/// Each step has the limit that every request has; all of them together, one that leaves room for a slow disk.
async fn try_to_remove(engine: &Engine, workflow: &Workflow) -> Result<(), Failure> {
    let removed = tokio::time::timeout(REMOVAL_LIMIT, removal::remove(engine, workflow)).await;
    removed.unwrap_or_else(|_| {
        let minutes = REMOVAL_LIMIT.as_secs() / 60;
        let what = format!("workflow {} was not removed within {minutes} minutes", workflow.id);
        Err(Failure::new(COULD_NOT_RUN, what)
            .hint("`ringfence ps` tells what is there, `ringfence gc` tries again"))
    })
}

/// What is said at the end, and the status. An error in removing is told, and never hides the agent's status.
fn conclude(
    outcome: Result<(Ended, Option<Summary>), Failure>,
    removed: Result<(), Failure>,
    workflow: &Workflow,
    quiet: bool,
) -> Result<u8, Failure> {
    if let Err(failure) = &removed {
        crate::term::talk_lines(failure);
    }
    let (ended, summary) = outcome?;
    for line in ended.reached.iter().map(|(_, line)| line).chain(&ended.why).chain(&ended.lost) {
        crate::term::talk(format_args!("{line}"));
    }
    if !quiet {
        if let Some(summary) = &summary {
            crate::term::talk_lines(summary.text(workflow.id));
        }
        crate::term::talk_lines(last_digest(summary.as_ref(), workflow.id));
    }
    Ok(ended.status)
}

struct Ended {
    status: u8,
    /// What ended the agent.
    how: How,
    why: Option<String>,
    /// The limits that the agent met, whether they ended it or not, in words.
    reached: Vec<(Observation, String)>,
    /// The output that could not be written, in words.
    lost: Option<String>,
}

impl Ended {
    fn with(status: i32) -> Self {
        let status = u8::try_from(status).unwrap_or(u8::MAX);
        Ended { status, how: How::Exited, why: None, reached: Vec::new(), lost: None }
    }

    /// The same where output was lost: a program that was given part of it must not take that for a success.
    fn without(mut self, lost: Option<String>) -> Self {
        if lost.is_some() && self.status == 0 {
            self.status = COULD_NOT_RUN;
        }
        self.lost = lost;
        self
    }

    /// One that the supervisor ended, or could not follow any more.
    fn because(how: How, why: impl Into<String>) -> Self {
        Ended { status: FENCE_ENDED, how, why: Some(why.into()), reached: Vec::new(), lost: None }
    }

    /// How it ended, for the log.
    fn event(&self) -> AgentEnded {
        AgentEnded { how: self.how.into(), exit_status: Some(self.status) }
    }

    fn at_limit(status: u8, limit: Observation, what: String) -> Self {
        let how = match limit {
            Observation::TokenOver => How::TokenOver,
            Observation::DiskLimit => How::DiskLimit,
            _ => How::TimeLimit,
        };
        Ended {
            status,
            how,
            why: None,
            reached: vec![(limit, format!("{what}, so the run was ended"))],
            lost: None,
        }
    }
}
