//! A fence for containers that come and go: made and proven as a run's, and kept until it is let
//! go.
//!
//! ```text
//!  make ─▶ Checked ─▶ Prepared ─▶ Created ─▶ Proven ─▶ kept: host's addresses, resolvers, time, guard, fence
//!  adopt (a killed supervisor's) ───────────────────────┘        │ one of these ends: lost, every member is killed
//!                                                                └ let go: log closed, everything removed
//! ```
//! The phases are those of [`run`](super::run), without an agent. A member is started only while
//! [`SharedFence::check`] finds nothing.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bollard::query_parameters::KillContainerOptions;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::checked::Checked;
use super::container_end::exit_of;
use super::created::{Created, KnownHost};
use super::guard_link::GuardLink;
use super::host::{self, Recipe};
use super::prepared::{Prepared, RunPlan};
use super::removal::{self, ENGINE_LIMIT, GuardAtRemoval, Removal};
use super::request::RunRequest;
use super::resolvers;
use super::system_calls::filter_for_agent;
use super::waiting::TimeOver;
use crate::host::nameservers::nameservers;
use crate::supervisor::engine::Engine;
use crate::supervisor::inventory::Extent;
use crate::supervisor::records::history::{HistoryWriter, RunEnding};
use crate::supervisor::records::runs::Held;
use crate::supervisor::spec::image::Images;
use crate::supervisor::spec::workflow::{Helpers, Role, Workflow};
use crate::supervisor::{helper_image, inventory};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::wire::event::{AgentEnded, How};

/// Nothing of a fence stays; its guard may still work.
const WHOLE: Removal = Removal { guard: GuardAtRemoval::Unknown, extent: Extent::Whole };

/// The time between two looks for members of a lost fence that run.
const AGAIN: Duration = Duration::from_secs(5);
/// States, in the engine's words, of a container that runs no program.
const ENDED: [&str; 3] = ["created", "exited", "dead"];

/// A fence that stands, or that is lost.
pub(crate) struct SharedFence {
    /// Names and labels.
    pub(crate) workflow: Workflow,
    /// The engine's ids of fence and guard.
    pub(crate) helpers: Helpers,
    /// The filter of system calls for the containers in it, as the engine takes it.
    pub(crate) filter: String,
    lost: watch::Receiver<Option<String>>,
    let_go: Rc<Notify>,
}

/// A fence that an earlier supervisor made, as it is found.
pub(crate) struct Adoption<'a> {
    /// All that is there of it.
    pub(crate) found: &'a inventory::WorkflowSummary,
    /// Fence and guard, by the record if they are gone.
    pub(crate) helpers: Helpers,
    /// The reason why it does not stand, if it does not.
    pub(crate) doubt: Option<String>,
    /// The end of its time.
    pub(crate) ends: SystemTime,
}

/// Facts of a fence that stands.
struct Standing {
    workflow: Workflow,
    helpers: Helpers,
    filter: String,
}

/// The other end of a [`SharedFence`].
struct Keeper {
    engine: Engine,
    lose: watch::Sender<Option<String>>,
    let_go: Rc<Notify>,
}

impl SharedFence {
    /// Makes a fence and proves it. Call it within a set of local tasks.
    ///
    /// # Errors
    /// When it cannot be made or proven; nothing of it is left then.
    pub(crate) async fn make(engine: &Engine, request: RunRequest) -> Result<SharedFence, Failure> {
        let (tell, made) = oneshot::channel();
        let (keeper, handle) = Keeper::new(engine.apart());
        tokio::task::spawn_local(keeper.make_and_keep(request, tell));
        let ended = || Failure::new(COULD_NOT_RUN, "the making of a fence was ended");
        Ok(handle.of(made.await.map_err(|_| ended())??))
    }

    /// Keeps a fence whose supervisor was killed; one that does not stand is lost from the first
    /// moment.
    ///
    /// # Errors
    /// When another supervisor has it.
    pub(crate) async fn adopt(engine: &Engine, adoption: Adoption<'_>) -> Result<SharedFence, Failure> {
        let Adoption { found, helpers, doubt, ends } = adoption;
        let engine = engine.apart();
        // The history is for people, and may be forgotten by now.
        let (record, history) = (Held::again(found.id)?, HistoryWriter::again(found.id).ok());
        let workflow = Workflow {
            id: found.id,
            name: found.name.clone(),
            digest: found.digest.clone(),
            created_at: found.created_at,
        };
        let filter = match doubt {
            None => filter_for_agent(&engine, &workflow).await?,
            // Nothing is made in it any more.
            Some(_) => String::new(),
        };
        let (keeper, handle) = Keeper::new(engine);
        keeper.lose.send_replace(doubt.clone());
        tokio::task::spawn_local(keeper.keep_adopted(workflow.clone(), (doubt, ends), record, history));
        Ok(handle.of(Standing { workflow, helpers, filter }))
    }

    /// Says why no member may be started, if none may.
    pub(crate) fn check(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    /// Returns its id.
    pub(crate) fn id(&self) -> WorkflowId {
        self.workflow.id
    }

    /// Removes it; returns when nothing is left.
    pub(crate) async fn remove(&self) {
        self.let_go.notify_one();
        let mut lost = self.lost.clone();
        // The keeper's end of it is dropped when everything is removed.
        while lost.changed().await.is_ok() {}
    }
}

/// The parts of a [`SharedFence`] that are there before it stands.
struct Handle {
    lost: watch::Receiver<Option<String>>,
    let_go: Rc<Notify>,
}

impl Handle {
    fn of(self, standing: Standing) -> SharedFence {
        let Handle { lost, let_go } = self;
        let Standing { workflow, helpers, filter } = standing;
        SharedFence { workflow, helpers, filter, lost, let_go }
    }
}

impl Keeper {
    fn new(engine: Engine) -> (Keeper, Handle) {
        let (lose, lost) = watch::channel(None);
        let let_go = Rc::new(Notify::new());
        let handle = Handle { lost, let_go: Rc::clone(&let_go) };
        (Keeper { engine, lose, let_go }, handle)
    }

    /// Makes a fence, tells how that went, and keeps it.
    async fn make_and_keep(self, request: RunRequest, tell: oneshot::Sender<Result<Standing, Failure>>) {
        let images = Images::default();
        let checked = match Checked::check(&self.engine, &images.agent, &request).await {
            Ok(checked) => checked,
            Err(failure) => return drop(tell.send(Err(failure))),
        };
        let prepared = match checked.prepare(&self.engine, &images, request) {
            Ok(prepared) => prepared,
            Err(failure) => return drop(tell.send(Err(failure))),
        };
        let Prepared { plan, gathered, events, mut record, mut history, .. } = prepared;
        let begun = async {
            let proven = Created::create(&plan, gathered, events).await?.prove(&mut record).await?;
            let filter = filter_for_agent(&self.engine, &plan.workflow).await?;
            let found = inventory::of_run(&self.engine, &plan.workflow).await?;
            let missing = || Failure::new(COULD_NOT_RUN, "the engine does not list what it made");
            let helpers = found.helpers().ok_or_else(missing)?;
            Ok((proven, Standing { workflow: plan.workflow.clone(), helpers, filter }))
        };
        match begun.await {
            Ok((proven, standing)) => {
                // Nobody may wait for it any more.
                let wanted = tell.send(Ok(standing)).is_ok();
                let (host, guard) = proven.into_followed();
                self.keep(&plan, host, guard, wanted).await;
                history.over(RunEnding::now(None, Some(How::Stopped)));
            }
            Err(failure) => {
                removal::of_run(&self.engine, &plan.workflow, WHOLE)
                    .await
                    .unwrap_or_else(|failure| failure.tell());
                history.over(RunEnding::now(None, None));
                drop(tell.send(Err(failure)));
            }
        }
    }

    /// Keeps a fence until it is let go, then removes it.
    async fn keep(&self, plan: &RunPlan, host: KnownHost, mut guard: GuardLink, wanted: bool) {
        if wanted {
            let left = plan.request.deadline(&plan.agent.limits);
            let over = async {
                TimeOver::after(left.left).come().await;
                left.why
            };
            self.follow(&plan.workflow, host, over).await;
        }
        guard.write_end_down(plan, AgentEnded { how: How::Stopped.into(), exit_status: None }).await;
        kill(&self.engine, &plan.workflow.object(Role::Guard), "TERM").await;
        guard.summary().await;
        removal::of_run(&self.engine, &plan.workflow, WHOLE).await.unwrap_or_else(|failure| failure.tell());
    }

    /// Keeps one that an earlier supervisor made, until its time is over. `doubt`: why it does not
    /// stand.
    async fn keep_adopted(
        self,
        workflow: Workflow,
        (doubt, ends): (Option<String>, SystemTime),
        record: Held,
        history: Option<HistoryWriter>,
    ) {
        match doubt {
            None => match known_host(&self.engine, &workflow).await {
                Ok(host) => self.follow(&workflow, host, over_at(ends)).await,
                Err(failure) => self.lose(&workflow, failure.message).await,
            },
            Some(why) => self.lose(&workflow, why).await,
        }
        let ended = async {
            let found = inventory::of_run(&self.engine, &workflow).await?;
            inventory::end(&self.engine, &found, How::Stopped, Extent::Whole).await
        };
        ended.await.unwrap_or_else(|failure| failure.tell());
        drop((record, history));
    }

    /// Watches over a fence until it is let go. One that is lost meanwhile has no members any more.
    async fn follow(&self, workflow: &Workflow, host: KnownHost, over: impl Future<Output = String>) {
        let KnownHost { watch, recipe, network, resolvers: known, .. } = host;
        let (guard, fence) = (workflow.object(Role::Guard), workflow.object(Role::Fence));
        let why = tokio::select! {
            () = self.let_go.notified() => return,
            status = exit_of(&self.engine, &guard) => format!("the guard ended with status {status}"),
            status = exit_of(&self.engine, &fence) => format!("the fence ended with status {status}"),
            why = over => why,
            never = resolvers::follow(recipe.clone(), network.clone(), known) => match never {},
            why = watch.follow(recipe.clone(), network.clone()) => why,
        };
        self.lose(workflow, why).await;
    }

    /// Kills the members of a fence that is lost, again and again until it is let go: one may have
    /// been started while it was lost, and the engine may not answer for a time.
    async fn lose(&self, workflow: &Workflow, why: String) {
        crate::term::essential(format_args!("{}: {why}, so its containers were ended", workflow.id));
        self.lose.send_replace(Some(why));
        let killing = async {
            let mut told = false;
            loop {
                if let Err(failure) = self.kill_members(workflow).await
                    && !std::mem::replace(&mut told, true)
                {
                    failure.tell();
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = self.let_go.notified() => {}
            () = killing => {}
        }
    }

    /// Kills the members of a fence that run.
    async fn kill_members(&self, workflow: &Workflow) -> Result<(), Failure> {
        if !self.engine.answers().await {
            self.engine.back_within(ENGINE_LIMIT).await;
        }
        for part in inventory::of_run(&self.engine, workflow).await?.members() {
            if !ENDED.contains(&part.state.as_str()) {
                kill(&self.engine, &part.handle, "KILL").await;
            }
        }
        Ok(())
    }
}

/// Waits until the time of a fence is over; why it is.
async fn over_at(ends: SystemTime) -> String {
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
    TimeOver::after(left).come().await;
    "its time is over (--time, or container.time of a policy)".to_owned()
}

/// Asks for the addresses of the engine's machine anew, and tells the guard, which may have missed
/// a change.
async fn known_host(engine: &Engine, workflow: &Workflow) -> Result<KnownHost, Failure> {
    let image = helper_image::ensure(engine).await?;
    let recipe = Recipe { engine: engine.clone(), workflow: workflow.clone(), image, here: None };
    let resolvers = nameservers();
    let host::BegunWatch { watch, network, table } = host::again(&recipe).await?;
    let told = host::tell(&recipe, &network).await;
    told.map_err(|why| {
        Failure::new(COULD_NOT_RUN, format!("the guard cannot be told of the machine's addresses: {why}"))
    })?;
    Ok(KnownHost { watch, recipe, network, resolvers, table })
}

/// Sends a container a signal. It may have ended by itself.
async fn kill(engine: &Engine, container: &str, signal: &str) {
    let options = KillContainerOptions { signal: signal.to_owned() };
    let limit: Duration = ENGINE_LIMIT;
    let _ = timeout(limit, engine.api.kill_container(container, Some(options))).await;
}
