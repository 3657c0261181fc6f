//! Waiting for whatever comes next while an agent runs.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use super::container_end::exit_of;
use super::created::KnownHost;
use super::prepared::RunPlan;
use super::stopping::Stopping;
use crate::supervisor::engine::Engine;
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::watch::Watch;
use crate::supervisor::watch::disk_use::Recipe;

/// Before a token ends, a person is told: what is left, but no more than this.
const WARNING: Duration = Duration::from_secs(120);

/// Event while an agent runs.
pub(super) enum Happened {
    /// The agent ended with a status; below 0, where the engine cannot tell.
    AgentEnded(i64),
    /// The guard or the fence did.
    HelperEnded(Role, i64),
    /// The time of the run is over.
    TimeOver,
    /// The agent's token is about to end, in words.
    TokenEnds(String),
    /// A cover is off, in words.
    Uncovered(String),
    /// A killed agent has not ended.
    Doubt,
    /// The addresses of the engine's machine are not known any more, and why.
    HostUnknown(String),
    /// The agent was asked to end and goes on.
    StillRuns,
    /// The disk limit is passed, or cannot be watched, in words.
    DiskFull(String),
    /// A signal came.
    Signal(i32),
}

/// Everything that is waited for.
pub(super) struct Waiting<'r> {
    plan: &'r RunPlan,
    agent: LocalBoxFuture<'r, i64>,
    guard: LocalBoxFuture<'r, i64>,
    fence: LocalBoxFuture<'r, i64>,
    disk: LocalBoxFuture<'r, String>,
    host: LocalBoxFuture<'r, String>,
    uncovered: LocalBoxFuture<'r, String>,
    /// End of the agent's token, until that was told.
    token_ends: Option<SystemTime>,
    time_over: Instant,
}

impl<'r> Waiting<'r> {
    /// Begins to wait. `left`: the time that the run has.
    pub(super) fn begin(
        plan: &'r RunPlan,
        watch: &'r Watch,
        counting: Option<&'r Recipe>,
        host: KnownHost,
        left: Duration,
    ) -> Waiting<'r> {
        let KnownHost { watch: follower, recipe, network } = host;
        Waiting {
            plan,
            agent: exit(&plan.engine, plan.workflow.object(Role::Agent)),
            guard: exit(&plan.engine, plan.workflow.object(Role::Guard)),
            fence: exit(&plan.engine, plan.workflow.object(Role::Fence)),
            disk: watch.until_over(&plan.engine, &plan.workflow, counting).boxed_local(),
            host: follower.follow(recipe, network).boxed_local(),
            uncovered: plan.covers.covered.until_off().boxed_local(),
            token_ends: plan.request.token_ends,
            time_over: Instant::now() + left,
        }
    }

    /// Waits until the run's time is over.
    pub(super) fn time_over(&self) -> impl Future<Output = ()> + use<> {
        sleep_until(self.time_over)
    }

    /// Waits for what happens next.
    pub(super) async fn next(&mut self, stopping: &Stopping, signals: &mut Signals) -> Happened {
        tokio::select! {
            // The agent's own end comes first: at the end of a run all may end at once.
            biased;
            status = &mut self.agent => Happened::AgentEnded(status),
            status = &mut self.guard => Happened::HelperEnded(Role::Guard, status),
            status = &mut self.fence => Happened::HelperEnded(Role::Fence, status),
            () = sleep_until(self.time_over) => Happened::TimeOver,
            said = token_warning(self.token_ends) => {
                self.token_ends = None;
                Happened::TokenEnds(said)
            }
            said = &mut self.uncovered => {
                self.uncovered = self.plan.covers.covered.until_off().boxed_local();
                Happened::Uncovered(said)
            }
            () = at(stopping.doubt_at) => Happened::Doubt,
            why = &mut self.host => Happened::HostUnknown(why),
            () = at(stopping.kill_at) => Happened::StillRuns,
            what = &mut self.disk => Happened::DiskFull(what),
            number = signals.next() => Happened::Signal(number),
        }
    }
}

/// Waits for the end of a container.
fn exit(engine: &Engine, container: String) -> LocalBoxFuture<'_, i64> {
    async move { exit_of(engine, &container).await }.boxed_local()
}

/// Waits until a time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until the agent's token is about to end, and says so in words.
async fn token_warning(ends: Option<SystemTime>) -> String {
    let Some(left) = ends.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()) else {
        return std::future::pending().await;
    };
    sleep(left.saturating_sub(WARNING)).await;
    let left = Duration::from_secs(left.min(WARNING).as_secs());
    format!("the agent's GitLab token ends in {}, and the run with it", humantime::format_duration(left))
}
