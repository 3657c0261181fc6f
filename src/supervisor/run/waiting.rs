//! Waiting for whatever comes next while an agent runs.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use netpolicy::service::ServiceName;
use tokio::time::{Instant, sleep, sleep_until};

use super::begun::{self, Beginning};
use super::container_end::exit_of;
use super::created::KnownHost;
use super::prepared::RunPlan;
use super::resolvers;
use super::services;
use super::stopping::Stopping;
use crate::supervisor::engine::Engine;
use crate::supervisor::forward::{Lost, until_lost};
use crate::supervisor::signals::Signals;
use crate::supervisor::spec::service::ServiceSpec;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::watch::Watch;
use crate::supervisor::watch::disk_use::Recipe;
use crate::term::Failure;

/// Before a token ends, a person is told: what is left, but no more than this.
const WARNING: Duration = Duration::from_secs(120);

/// Event while an agent runs.
pub(super) enum Happened {
    /// The agent ended with a status; below 0, where the engine cannot tell.
    AgentEnded(i64),
    /// The agent's command runs: what is checked before it is behind it.
    Begun,
    /// The guard or the fence did.
    HelperEnded(Role, i64),
    /// A service did, with a status.
    ServiceEnded(ServiceName, i64),
    /// The time of the run is over.
    TimeOver,
    /// The agent's token is about to end, in words.
    TokenEnds(String),
    /// Ports lead to the agent's no more, and why.
    ForwardLost(Failure),
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
    begun: LocalBoxFuture<'r, ()>,
    guard: LocalBoxFuture<'r, i64>,
    fence: LocalBoxFuture<'r, i64>,
    /// Services that have not ended.
    services: FuturesUnordered<LocalBoxFuture<'r, (ServiceName, i64)>>,
    disk: LocalBoxFuture<'r, String>,
    host: LocalBoxFuture<'r, String>,
    resolvers: LocalBoxFuture<'r, Infallible>,
    uncovered: LocalBoxFuture<'r, String>,
    forward: LocalBoxFuture<'r, Failure>,
    /// End of the agent's token, until that was told.
    token_ends: Option<SystemTime>,
    time_over: TimeOver,
}

impl<'r> Waiting<'r> {
    /// Begins to wait. `left`: the time that the run has.
    pub(super) fn begin(
        plan: &'r RunPlan,
        watch: &'r Watch,
        counting: &'r [Recipe],
        host: KnownHost,
        left: Duration,
        forward: Option<Lost>,
    ) -> Waiting<'r> {
        let KnownHost { watch: follower, recipe, network, resolvers, .. } = host;
        Waiting {
            plan,
            agent: exit(&plan.engine, plan.workflow.object(Role::Agent)),
            begun: begun(plan).boxed_local(),
            guard: exit(&plan.engine, plan.workflow.object(Role::Guard)),
            fence: exit(&plan.engine, plan.workflow.object(Role::Fence)),
            services: plan.services.iter().map(|service| service_exit(plan, service)).collect(),
            disk: watch.until_over(&plan.engine, &plan.workflow, counting).boxed_local(),
            resolvers: resolvers::follow(recipe.clone(), network.clone(), resolvers).boxed_local(),
            host: follower.follow(recipe, network).boxed_local(),
            uncovered: plan.covers.covered.until_off().boxed_local(),
            forward: until_lost(forward).boxed_local(),
            token_ends: plan.request.token_ends,
            time_over: TimeOver::after(left),
        }
    }

    /// Waits until the run's time is over.
    pub(super) fn time_over(&self) -> impl Future<Output = ()> + use<> {
        self.time_over.come()
    }

    /// Waits for what happens next.
    pub(super) async fn next(&mut self, stopping: &Stopping, signals: &mut Signals) -> Happened {
        tokio::select! {
            // The agent's own end comes first: at the end of a run all may end at once.
            biased;
            status = &mut self.agent => Happened::AgentEnded(status),
            () = &mut self.begun => {
                self.begun = std::future::pending().boxed_local();
                Happened::Begun
            }
            status = &mut self.guard => Happened::HelperEnded(Role::Guard, status),
            status = &mut self.fence => Happened::HelperEnded(Role::Fence, status),
            () = self.time_over.come() => Happened::TimeOver,
            Some((name, status)) = self.services.next(), if !self.services.is_empty() => {
                Happened::ServiceEnded(name, status)
            }
            said = token_warning(self.token_ends) => {
                self.token_ends = None;
                Happened::TokenEnds(said)
            }
            said = &mut self.uncovered => {
                self.uncovered = self.plan.covers.covered.until_off().boxed_local();
                Happened::Uncovered(said)
            }
            why = &mut self.forward => {
                self.forward = std::future::pending().boxed_local();
                Happened::ForwardLost(why)
            }
            () = at(stopping.doubt_at) => Happened::Doubt,
            never = &mut self.resolvers => match never {},
            why = &mut self.host => Happened::HostUnknown(why),
            () = at(stopping.kill_at) => Happened::StillRuns,
            what = &mut self.disk => Happened::DiskFull(what),
            number = signals.next() => Happened::Signal(number),
        }
    }
}

/// End of the run's time, by the clock on the wall and by the time that the machine was awake,
/// whichever comes first: a machine that was suspended comes back when the time is long over, and
/// the guard knows it by that clock; a clock that is set back gives no more time.
#[derive(Clone, Copy)]
pub(super) struct TimeOver {
    awake: Instant,
    wall: SystemTime,
}

impl TimeOver {
    /// Time between two looks at the clock on the wall.
    const LOOK: Duration = Duration::from_secs(1);

    pub(super) fn after(left: Duration) -> TimeOver {
        TimeOver { awake: Instant::now() + left, wall: SystemTime::now() + left }
    }

    /// Waits until the time is over.
    pub(super) fn come(self) -> impl Future<Output = ()> + use<> {
        self.come_by(SystemTime::now)
    }

    /// Waits until the time is over by this clock.
    async fn come_by(self, clock: impl Fn() -> SystemTime) {
        while Instant::now() < self.awake && clock() < self.wall {
            sleep_until(self.awake.min(Instant::now() + Self::LOOK)).await;
        }
    }
}

/// Waits until the agent's container may be entered. One that did not begin never may.
async fn begun(plan: &RunPlan) {
    if !begun::is_unchecked(plan) && begun::until_begun(plan).await == Beginning::NotStarted {
        std::future::pending::<()>().await;
    }
}

/// Waits for the end of a container.
fn exit(engine: &Engine, container: String) -> LocalBoxFuture<'_, i64> {
    async move { exit_of(engine, &container).await }.boxed_local()
}

/// Waits for the end of a service. An engine that cannot tell says nothing: it does not answer for
/// the agent either.
fn service_exit<'r>(plan: &'r RunPlan, service: &'r ServiceSpec) -> LocalBoxFuture<'r, (ServiceName, i64)> {
    let container = services::container(plan, service);
    async move {
        match exit_of(&plan.engine, &container).await {
            ..0 => std::future::pending().await,
            status => (service.name.clone(), status),
        }
    }
    .boxed_local()
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_that_passed_while_the_machine_slept_is_over() {
        let hour = Duration::from_secs(3600);
        let (over, now) = (TimeOver::after(hour), Cell::new(SystemTime::now()));
        let waited = Instant::now();
        // Awake: the clock goes as time does.
        tokio::select! {
            () = over.come_by(|| now.get()) => panic!("the time is not over"),
            () = sleep(hour / 2) => {}
        }
        // The machine sleeps for an hour: the clock alone goes on.
        now.set(now.get() + hour + hour / 2);
        over.come_by(|| now.get()).await;
        assert!(waited.elapsed() < hour / 2 + TimeOver::LOOK * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_gives_no_more_time() {
        let hour = Duration::from_secs(3600);
        let (over, began) = (TimeOver::after(hour), Instant::now());
        over.come_by(|| SystemTime::UNIX_EPOCH).await;
        assert!((hour..hour + TimeOver::LOOK).contains(&began.elapsed()));
    }
}
