//! Services beside the agent: created with it, started once the fence is proven, ready before it.
//!
//! ```text
//!  Created ─▶ Proven ─▶ all services started ─▶ each: port open, command good, or running ─▶ Equipped ─▶ agent
//!                                                └─ ended, or not in time ─▶ its last lines, no agent
//!  agent runs: a service that ends is told, and the run goes on
//! ```

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::query_parameters::KillContainerOptions;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use netpolicy::service::Readiness;
use tokio::time::{interval, sleep, timeout};

use super::container_end::{exit_of, last_output};
use super::create::create_service;
use super::early_signal::EarlySignal;
use super::prepared::RunPlan;
use super::proven::Proven;
use super::removal::ENGINE_LIMIT;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::live;
use crate::supervisor::mounts::image_volumes;
use crate::supervisor::spec::containers::GUARD_ID;
use crate::supervisor::spec::service::ServiceSpec;
use crate::supervisor::spec::workflow::Role;
use crate::supervisor::watch::disk_use::Recipe;
use crate::term::{COULD_NOT_RUN, Failure, trace};

/// The time between two tries of a command.
const PAUSE: Duration = Duration::from_millis(250);
/// The time between two looks for a signal.
const LOOK: Duration = Duration::from_millis(100);

/// A run whose services are ready. Nothing but a proven fence makes one.
pub(super) struct Equipped<'a>(Proven<'a>);

impl<'a> Equipped<'a> {
    /// Returns what it was made of.
    pub(super) fn into_proven(self) -> Proven<'a> {
        self.0
    }
}

impl<'a> Proven<'a> {
    /// Starts the services, and waits until each is ready.
    ///
    /// # Errors
    /// When one cannot be started, ends, or is not ready in time; when a signal has come.
    pub(super) async fn start_services(self, early: &EarlySignal) -> Result<Equipped<'a>, Failure> {
        let plan = self.plan;
        if plan.services.is_empty() {
            return Ok(Equipped(self));
        }
        let step = trace::step("services ready");
        early.check()?;
        try_join_all(plan.services.iter().map(|service| start(plan, service))).await?;
        let ready = try_join_all(plan.services.iter().map(|service| await_ready(plan, service)));
        tokio::select! {
            ready = ready => ready.map(drop)?,
            failure = interrupted(early) => return Err(failure),
        }
        // One that was ready first may have ended meanwhile.
        try_join_all(plan.services.iter().map(|service| check_runs(plan, service))).await?;
        drop(step);
        Ok(Equipped(self))
    }
}

/// Returns the engine's name of a service's container.
pub(super) fn container(plan: &RunPlan, service: &ServiceSpec) -> String {
    plan.workflow.object_of(Role::Service, &service.name)
}

/// Makes the volumes that the services' images declare.
pub(super) async fn create_volumes(plan: &RunPlan) -> Result<(), Failure> {
    for service in &plan.services {
        image_volumes::create(&plan.engine, &plan.workflow, &service.container).await?;
    }
    Ok(())
}

/// Creates the services' containers, which are started by nobody yet.
pub(super) async fn create(plan: &RunPlan, filter: &str, fence: &str) -> Result<(), Failure> {
    let RunPlan { engine, workflow, .. } = plan;
    for service in &plan.services {
        create_service(engine, workflow, service, filter, fence).await?;
        let whose = format!("the service `{}`", service.name);
        image_volumes::check(engine, &container(plan, service), &whose).await?;
    }
    Ok(())
}

/// Returns how the files of the services are counted; under another runtime they are not.
pub(super) fn counting(plan: &RunPlan) -> Vec<Recipe> {
    let recipe = |service: &ServiceSpec| Recipe {
        image: plan.helper.clone(),
        service: Some(service.name.clone()),
        first_volume: service.container.first_volume,
        volumes: service.container.data.len(),
        home: None,
        by_helper: plan.agent.runtime.is_none(),
    };
    plan.services.iter().map(recipe).collect()
}

/// Ends the services that still run. What stays is found by the removal, which tells.
pub(super) async fn kill(plan: &RunPlan) {
    let kill = |service| async move {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        let name = container(plan, service);
        let _ = timeout(ENGINE_LIMIT, plan.engine.api.kill_container(&name, Some(options))).await;
    };
    futures_util::future::join_all(plan.services.iter().map(kill)).await;
}

/// Starts a service.
async fn start(plan: &RunPlan, service: &ServiceSpec) -> Result<(), Failure> {
    let started = plan.engine.api.start_container(&container(plan, service), None).await;
    started.map_err(|error| {
        let what = format!("the service `{}` cannot be started, so the agent was not started", service.name);
        engine::refused(what, &error)
    })
}

/// Waits until a service is ready.
async fn await_ready(plan: &RunPlan, service: &ServiceSpec) -> Result<(), Failure> {
    let name = container(plan, service);
    let why = tokio::select! {
        ready = is_ready(plan, service, &name) => return ready,
        status = exit_of(&plan.engine, &name) => ended_words(status),
        () = sleep(service.within) => {
            let sign = match &service.ready {
                Some(Readiness::Tcp(port)) => format!("nothing listened on port {port} of 127.0.0.1"),
                Some(Readiness::Command(words)) => format!("`{}` did not end with status 0", words.join(" ")),
                None => "it did not run".to_owned(),
            };
            format!("{sign} within {} s", service.within.as_secs())
        }
    };
    Err(not_ready(plan, service, why).await)
}

/// Returns how a container ended, in words.
fn ended_words(status: i64) -> String {
    match status {
        ..0 => "the engine does not say how it ended".to_owned(),
        _ => format!("it ended with status {status}"),
    }
}

/// Makes the failure of a service that is not ready, with its last lines.
async fn not_ready(plan: &RunPlan, service: &ServiceSpec, why: String) -> Failure {
    let what = format!("the service `{}` is not ready, so the agent was not started", service.name);
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    failure.causes.push(why);
    let lines = last_output(&plan.engine, &container(plan, service)).await;
    failure.causes.extend(lines.into_iter().map(|line| format!("{}: {line}", service.name)));
    failure.hint("is its image right, and has it the variables that it needs (--service-env)?")
}

/// Refuses a service that runs no more.
async fn check_runs(plan: &RunPlan, service: &ServiceSpec) -> Result<(), Failure> {
    let name = container(plan, service);
    let looked = plan.engine.inspect_container(&name, None).await;
    let looked = looked.map_err(|error| engine::refused(format!("cannot look at {name}"), &error))?;
    let state = looked.state.unwrap_or_default();
    if state.running == Some(true) {
        return Ok(());
    }
    Err(not_ready(plan, service, ended_words(state.exit_code.unwrap_or(-1))).await)
}

/// Waits for a signal while services get ready.
async fn interrupted(early: &EarlySignal) -> Failure {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        if let Err(failure) = early.check() {
            return failure;
        }
    }
}

/// Waits for a service's sign of readiness.
async fn is_ready(plan: &RunPlan, service: &ServiceSpec, name: &str) -> Result<(), Failure> {
    let engine = &plan.engine;
    match &service.ready {
        None => Ok(()),
        Some(Readiness::Tcp(port)) => {
            let (fence, port) = (plan.workflow.object(Role::Fence), port.to_string());
            let words = ["/usr/bin/ringfence", "fence", "reach", &port].map(str::to_owned).to_vec();
            let user = format!("{GUARD_ID}:{GUARD_ID}");
            match exec(engine, &fence, words, Some(user)).await? {
                Some(0) => Ok(()),
                // The task that waits for its end tells of it.
                _ => std::future::pending().await,
            }
        }
        Some(Readiness::Command(words)) => loop {
            // One that cannot be started now may be there later. The task that waits for the
            // container's end tells of that.
            if let Ok(Some(0)) = exec(engine, name, words.clone(), None).await {
                return Ok(());
            }
            sleep(PAUSE).await;
        },
    }
}

/// Runs a program in a container to its end; its status. Its output is read and forgotten.
async fn exec(
    engine: &Engine,
    container: &str,
    words: Vec<String>,
    user: Option<String>,
) -> Result<Option<i64>, Failure> {
    let cannot = |error| engine::refused(format!("cannot run a program in {container}"), &error);
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        user,
        cmd: Some(words),
        ..CreateExecOptions::<String>::default()
    };
    let id = engine.api.create_exec(container, options).await.map_err(cannot)?.id;
    if let StartExecResults::Attached { mut output, .. } =
        engine.api.start_exec(&id, None).await.map_err(cannot)?
    {
        while let Some(Ok::<LogOutput, _>(_)) = output.next().await {}
    }
    live::exec_status(engine, &id, Duration::from_secs(1)).await.map_err(cannot)
}
