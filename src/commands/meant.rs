//! The run that a word means: one that is on the engine, or one that this machine remembers.

use netpolicy::service::ServiceName;

use crate::cli::live::RecordArgs;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::inventory::{self, WorkflowSummary};
use crate::supervisor::records::history::{self, RunHistory};
use crate::supervisor::run::begun::{self, Entrance};
use crate::supervisor::spec::workflow::Helpers;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{Role, WorkflowId};

/// All runs that can be meant. An engine that cannot be reached leaves those that are over.
pub(crate) struct AllRuns {
    engine: Result<Engine, Failure>,
    live: Vec<WorkflowSummary>,
    past: Vec<RunHistory>,
}

/// A run that is meant.
#[derive(Clone, Copy)]
pub(crate) struct MeantRun<'a> {
    /// The run.
    pub(crate) id: WorkflowId,
    /// Its parts on the engine.
    pub(crate) live: Option<(&'a Engine, &'a WorkflowSummary)>,
    /// Its history on this machine.
    pub(crate) history: Option<&'a RunHistory>,
}

/// An agent that runs, with its covers in place, behind a guard that runs.
pub(crate) struct WorkingAgent<'a> {
    /// The engine.
    pub(crate) engine: &'a Engine,
    /// The agent's container.
    pub(crate) container: &'a str,
    /// The helpers of the workflow.
    pub(crate) helpers: Helpers,
}

impl AllRuns {
    /// Lists the runs on the engine, and those of this machine.
    pub(crate) async fn gather(engine_host: Option<&str>) -> Result<AllRuns, Failure> {
        let engine = engine::connect(engine_host).await;
        let live = match &engine {
            Ok(engine) => inventory::workflows(engine).await?,
            Err(_) => Vec::new(),
        };
        Ok(AllRuns { engine, live, past: history::all()? })
    }

    /// Returns the run that is meant by an id, the beginning of one, or a name. One on the engine
    /// comes first; of those that are over, the latest counts.
    ///
    /// # Errors
    /// When none is meant, or several.
    pub(crate) fn meant(&self, word: &str) -> Result<MeantRun<'_>, Failure> {
        let found = inventory::find(&self.live, word)?;
        let history = match found {
            Some(found) => self.past.iter().find(|run| run.begun.id == found.id),
            None => history::find(&self.past, word)?,
        };
        let id = found.map(|found| found.id).or(history.map(|run| run.begun.id));
        let live = self.engine.as_ref().ok().zip(found);
        id.map(|id| MeantRun { id, live, history }).ok_or_else(|| self.none(word))
    }

    fn none(&self, word: &str) -> Failure {
        let what = format!("no run `{word}` is on this engine or remembered on this machine");
        let failure = Failure::new(COULD_NOT_RUN, what);
        match &self.engine {
            Ok(_) => failure.hint("`ringfence ps --all` lists them"),
            Err(why) => {
                let causes = std::iter::once(why.message.clone()).chain(why.causes.clone()).collect();
                Failure { causes, hint: why.hint.clone(), ..failure }
            }
        }
    }
}

impl<'a> MeantRun<'a> {
    /// Returns the agent, for somebody who wants to enter its container.
    ///
    /// # Errors
    /// When it does not run, or not yet; when this machine has no record of the run.
    pub(crate) async fn working_agent(&self, record: RecordArgs) -> Result<WorkingAgent<'a>, Failure> {
        let id = self.id;
        let ended = || {
            Failure::new(COULD_NOT_RUN, format!("the agent of {id} does not run"))
                .hint(format!("`ringfence logs {id}` shows what it printed"))
        };
        let (engine, found) = self.live.ok_or_else(ended)?;
        super::refuse_group(found)?;
        if !found.is_recorded() && !record.without_record {
            let what = format!("this machine has no record of workflow {id}, so nothing was done");
            return Err(Failure::new(COULD_NOT_RUN, what).hint(
                "use the machine that started it; if it is yours and was started elsewhere, look at it with `ringfence ps` and add --without-record",
            ));
        }
        let starting = || {
            Failure::new(COULD_NOT_RUN, format!("{id} is still starting"))
                .hint("wait until its agent runs: `ringfence ps --all` says so")
        };
        let unlisted = || {
            let what = format!(
                "nobody can tell whether the covers of {id} are in their places: the engine does not list its processes"
            );
            Failure::new(COULD_NOT_RUN, what).hint(
                "its agent works all the same; `docker top` on that engine shows why they are not listed",
            )
        };
        let is_known = self.history.is_some();
        let works = self.history.is_some_and(|run| run.works.is_some());
        let container = found.container(Role::Agent).filter(|_| found.agent == "running");
        let helpers = found.helpers().filter(|_| found.guard == "running");
        match (container, helpers) {
            (Some(container), Some(helpers)) => {
                let shown = match works {
                    true => Entrance::Open,
                    false => begun::entrance(engine, container).await,
                };
                match shown {
                    Entrance::Unlisted => Err(unlisted()),
                    // The supervisor of a run that is known says when.
                    Entrance::Open if works || !is_known => Ok(WorkingAgent { engine, container, helpers }),
                    Entrance::Open | Entrance::Starting => Err(starting()),
                }
            }
            _ if is_known && !works => Err(starting()),
            _ => Err(ended()),
        }
    }

    /// Tells whether its supervisor, on this machine, works for it.
    pub(crate) fn is_followed(&self) -> bool {
        self.history.is_some() && history::is_held(self.id)
    }

    /// Returns the engine, and the agent's container on it.
    pub(crate) fn agent(&self) -> Option<(&Engine, &str)> {
        self.live.and_then(|(engine, found)| Some((engine, found.container(Role::Agent)?)))
    }

    /// Returns the engine, and a service's container on it.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<(&Engine, &str)> {
        self.live.and_then(|(engine, found)| Some((engine, found.service_container(name)?)))
    }

    /// Waits until the supervisor, on this machine, has ended, however that ends; its history then.
    pub(crate) async fn until_over(&self) -> Result<Option<RunHistory>, Failure> {
        let id = self.id;
        let free = tokio::task::spawn_blocking(move || history::block_until_free(id)).await;
        free.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot wait for the supervisor of {id}")).caused_by(&error)
        })?;
        Ok(RunHistory::of(id))
    }
}
