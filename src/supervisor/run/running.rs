//! A run whose agent was started: until the agent ends, a helper dies, the time is over, or a signal says so.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use bollard::query_parameters::KillContainerOptions;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::aftermath::{self, Report};
use super::super::engine::Engine;
use super::super::signals::{SIGINT, Signals, signal_name};
use super::super::watch::Watch;
use super::ready::{exit_of, last_words};
use super::{ENGINE_LIMIT, Ended, FENCE_ENDED, RunRequest, TIME_OVER, exit_status, reached};
use crate::supervisor::live;
use crate::supervisor::run::streams;
use crate::supervisor::run::summary::Summary;
use crate::supervisor::spec::limits::Limits;
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::supervisor::watch::disk_use::Recipe;
use crate::term::Failure;
use crate::wire::control::FromSupervisor;
use crate::wire::event::{AgentEnded, How, Observation};
use crate::workspace::aftermath::Aftermath;
use crate::workspace::masks::{Covered, Laying};

/// Words for the last output where it was given up.
const NOT_WHOLE: &str = "the agent's last output was not waited for, and is not whole";
/// Two Ctrl-C within this time stop at once.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(2);
/// An agent that was asked to end and goes on is killed after this time, as `docker stop` does.
const ASKED_LIMIT: Duration = Duration::from_secs(10);
/// After that an agent has ended within this time, or the engine is asked whether it is there at all.
const KILLED_LIMIT: Duration = Duration::from_secs(5);
/// A guard that listens to its stdin writes the agent's end down within this time.
const SAYING: Duration = Duration::from_secs(1);
/// The guard's last lines arrive within this time after its end.
const COLLECTING: Duration = Duration::from_secs(10);
/// An engine that is there and does not end a killed agent is given as many times that.
const DOUBTS: u32 = 6;

/// Before a token ends, a person is told: what is left, but no more than this.
const WARNING: Duration = Duration::from_secs(120);

/// Tells when the agent's token is about to end, and what it told.
async fn warn_of_token(ends: Option<SystemTime>) -> String {
    let Some(left) = ends.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()) else {
        return std::future::pending().await;
    };
    tokio::time::sleep(left.saturating_sub(WARNING)).await;
    let left = Duration::from_secs(left.min(WARNING).as_secs());
    let said =
        format!("the agent's GitLab token ends in {}, and the run with it", humantime::format_duration(left));
    crate::term::talk(format_args!("{said}"));
    said
}

/// When to ask whether the engine is there, if at all.
async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Waits for the agent's last output, which may still be under way when its exit is known; what of it was lost, in words. A slow
/// reader is waited for, as `docker run` does, until a signal comes or the run's time is over.
async fn drain(
    carrying: &mut JoinHandle<Option<String>>,
    signals: &mut Signals,
    time_over: impl Future<Output = ()>,
) -> Option<String> {
    tokio::select! {
        done = carrying => done.ok()?,
        _ = signals.next() => Some(NOT_WHOLE.to_owned()),
        () = time_over => Some(NOT_WHOLE.to_owned()),
    }
}

/// A run whose agent has been started.
pub(super) struct Running {
    pub(super) carrying: JoinHandle<Option<String>>,
    /// Says to who carries the output that the agent has ended.
    pub(super) over: watch::Sender<bool>,
    pub(super) sizing: Option<JoinHandle<()>>,
    pub(super) terminal: Option<streams::RawTerminal>,
    pub(super) collecting: Option<JoinHandle<Summary>>,
    pub(super) summary: Option<Summary>,
    pub(super) watch: Watch,
    /// How the agent's files are counted; under another runtime they are not.
    pub(super) counting: Option<Recipe>,
    /// Follows the addresses of the engine's machine; it returns when nothing does any more.
    pub(super) host: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
    /// Whether the engine was found not to answer: nothing can be ended then.
    pub(super) engine_is_silent: bool,
    /// The guard's stdin: while it is open, the guard knows that a supervisor is attached, wherever that is. Its last line says how
    /// the agent ended.
    pub(super) guard_input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The guard's word that it has written the agent's end down.
    pub(super) end_is_written: oneshot::Receiver<()>,
}

impl Running {
    pub(super) async fn supervise(
        &mut self,
        engine: &Engine,
        workflow: &Workflow,
        request: &RunRequest,
        limits: &Limits,
        laying: &Laying,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let note = |notes: Vec<(Observation, String)>| {
            let (engine, helpers) = (engine.clone(), workflow.helpers());
            // Beside the watching, which goes on.
            tokio::spawn(async move { live::note(&engine, &helpers, notes).await });
        };
        note(laying.told.iter().map(|told| (Observation::SharedFiles, told.clone())).collect());
        let names = [Role::Agent, Role::Guard, Role::Fence].map(|role| workflow.object(role));
        let agent_exit = exit_of(engine, &names[0]);
        let guard_exit = exit_of(engine, &names[1]);
        let fence_exit = exit_of(engine, &names[2]);
        let (time, limit, why) = request.left(limits);
        let time_over = tokio::time::sleep(time);
        let disk_full = self.watch.until_over(engine, workflow, self.counting.as_ref());
        let warning = warn_of_token(request.token_ends);
        let uncovered = laying.covered.until_off();
        let doubt = after(None);
        let asked_long_ago = after(None);
        let host = self.host.take();
        let host_unknown = async {
            match host {
                Some(host) => host.await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(
            host_unknown,
            agent_exit,
            guard_exit,
            fence_exit,
            time_over,
            disk_full,
            warning,
            uncovered,
            doubt,
            asked_long_ago
        );
        let mut asked = false;
        let mut sent = None;
        let send = |name: &str| {
            let options = KillContainerOptions { signal: name.to_owned() };
            let (api, agent) = (engine.api.clone(), names[0].clone());
            // Beside the watching: the next signal is not to wait for a silent engine. The agent may have ended just now; its exit is
            // seen in the next round.
            tokio::spawn(async move { api.kill_container(&agent, Some(options)).await });
        };
        let mut doubts = 0;
        let mut last_interrupt: Option<Instant> = None;
        let helper_died = |who: &str, status: i64| {
            let why = if status < 0 {
                format!("the engine does not answer for the {who} any more, so the run was ended")
            } else {
                format!("the {who} ended with status {status}, so the run was ended")
            };
            Ended::because(if status < 0 { How::EngineLost } else { How::HelperLost }, why)
        };
        loop {
            let ended = tokio::select! {
                // The agent's own end comes first: at the end of a run all may end at once.
                biased;
                status = &mut agent_exit => {
                    if status < 0 {
                        Ended::because(How::EngineLost, "the engine does not answer for the agent any more")
                    } else {
                        self.over.send_replace(true);
                        let lost = drain(&mut self.carrying, signals, time_over.as_mut()).await;
                        let said = async || last_words(engine, &names[0]).await;
                        let status = exit_status::of_agent(engine.dialect.unstartable_command, status, said).await as i32;
                        let stopped = asked || sent.is_some_and(|number| status == 128 + number);
                        let how = if stopped { How::Stopped } else { How::Exited };
                        Ended { how, ..Ended::with(status) }.without(lost)
                    }
                }
                status = &mut guard_exit => helper_died("guard", status),
                status = &mut fence_exit => helper_died("fence", status),
                () = &mut time_over => {
                    Ended::at_limit(TIME_OVER, limit, why.clone())
                }
                said = &mut warning => {
                    warning.set(warn_of_token(None));
                    note(vec![(Observation::TokenEnds, said)]);
                    continue;
                }
                said = &mut uncovered => {
                    uncovered.set(laying.covered.until_off());
                    crate::term::talk(&said);
                    note(vec![(Observation::Uncovered, said)]);
                    continue;
                }
                () = &mut doubt => {
                    doubts += 1;
                    self.engine_is_silent = !engine.answers().await;
                    if !self.engine_is_silent && doubts < DOUBTS {
                        doubt.set(after(Some(KILLED_LIMIT)));
                        continue;
                    }
                    let what = if self.engine_is_silent { "does not answer" } else { "does not end the agent" };
                    // Nor would it say what limits the agent met.
                    let why = format!("the engine {what}, so nobody knows whether the agent has ended");
                    return Ok(Ended::because(How::EngineLost, why));
                }
                why = &mut host_unknown => {
                    Ended::because(How::HostUnknown, format!("{why}, so the run was ended"))
                }
                () = &mut asked_long_ago => {
                    asked_long_ago.set(after(None));
                    crate::term::talk(format_args!(
                        "the agent was asked to end and went on for {} s, so it is ended (KILL)", ASKED_LIMIT.as_secs()
                    ));
                    send("KILL");
                    doubt.set(after(Some(KILLED_LIMIT)));
                    continue;
                }
                what = &mut disk_full => Ended::at_limit(FENCE_ENDED, Observation::DiskLimit, what),
                number = signals.next() => {
                    let now = Instant::now();
                    let twice = number == SIGINT
                        && last_interrupt.replace(now).is_some_and(|last| now - last < DOUBLE_INTERRUPT);
                    let name = if twice { "KILL" } else { signal_name(number) };
                    sent = Some(number);
                    if twice {
                        asked = true;
                        doubt.set(after(Some(KILLED_LIMIT)));
                    }
                    if signals.is_an_end(number) && !asked {
                        asked = true;
                        asked_long_ago.set(after(Some(ASKED_LIMIT)));
                    }
                    send(name);
                    continue;
                }
            };
            return Ok(reached::account(engine, workflow, limits, &self.watch, ended).await);
        }
    }

    /// Has the guard write down how the agent ended, and waits for the line. Where the guard's stdin leads nowhere, by its control
    /// socket. A guard that is gone writes nothing any more.
    async fn write_end_down(&mut self, engine: &Engine, workflow: &Workflow, ended: AgentEnded) {
        let line = FromSupervisor::AgentEnded(ended.clone()).line();
        let said = async {
            self.guard_input.write_all(&line).await?;
            self.guard_input.flush().await
        };
        let said = timeout(SAYING, said).await;
        if matches!(said, Ok(Ok(()))) && timeout(SAYING, &mut self.end_is_written).await.is_ok() {
            return;
        }
        let _ = timeout(COLLECTING, live::ended(engine, &workflow.helpers(), ended)).await;
    }

    /// Ends the agent if it still runs, puts back what it left, then ends the guard, so that its last events are written.
    pub(super) async fn close(
        &mut self,
        engine: &Engine,
        workflow: &Workflow,
        held: &mut Option<Aftermath>,
        covered: Option<&Covered>,
        ended: Option<AgentEnded>,
    ) -> Option<Report> {
        let kill = |role: Role, signal: &str| {
            let options = KillContainerOptions { signal: signal.to_owned() };
            let name = workflow.object(role);
            // Either may have ended by itself; what stays is found by the removal, which tells.
            async move {
                let _ = timeout(ENGINE_LIMIT, engine.api.kill_container(&name, Some(options))).await;
            }
        };
        let mut told = None;
        if !self.engine_is_silent {
            kill(Role::Agent, "KILL").await;
            if let Some(ended) = ended {
                self.write_end_down(engine, workflow, ended).await;
            }
            told = aftermath::settle(engine, workflow, held, covered).await;
            kill(Role::Guard, "TERM").await;
        }
        if let Some(collecting) = self.collecting.take() {
            self.summary = timeout(COLLECTING, collecting).await.ok().and_then(Result::ok);
        }
        self.carrying.abort();
        if let Some(sizing) = self.sizing.take() {
            sizing.abort();
        }
        self.terminal = None;
        told
    }
}
