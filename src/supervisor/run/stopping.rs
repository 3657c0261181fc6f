//! An agent that is asked to end: by which signal, and what follows where it goes on.
//!
//! ```text
//!  TERM, hang-up ─▶ passed on ─10 s─▶ KILL ─┐
//!  Ctrl-C twice ───────────────────▶ KILL ─┴─5 s─▶ is the engine there? ─┬─ no ─▶ the run ends
//!                                                                         └─ yes ─▶ asked again, a few times
//! ```

use std::time::Duration;

use bollard::query_parameters::KillContainerOptions;
use tokio::time::Instant;

use super::agent_end::AgentEnd;
use super::prepared::RunPlan;
use crate::supervisor::engine::Engine;
use crate::supervisor::signals::{SIGINT, Signals, signal_name};
use crate::supervisor::spec::workflow::Role;
use crate::term::Warning;
use crate::wire::event::How;

/// Two Ctrl-C within this time stop at once.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(2);
/// An agent that was asked to end and goes on is killed after this time, as `docker stop` does.
const ASKED_LIMIT: Duration = Duration::from_secs(10);
/// After that an agent has ended within this time, or the engine is asked whether it is there at
/// all.
const KILLED_LIMIT: Duration = Duration::from_secs(5);
/// An engine that is there and does not end a killed agent is given as many times that.
const DOUBTS: u32 = 6;

/// State of an agent that is asked to end.
#[derive(Default)]
pub(super) struct Stopping {
    /// Tells whether the agent is to end, rather than to be told of a signal.
    asked: bool,
    /// The last signal that was passed on.
    sent: Option<i32>,
    last_interrupt: Option<Instant>,
    doubts: u32,
    /// Time at which an agent that goes on is killed.
    pub(super) kill_at: Option<Instant>,
    /// Time at which the engine is asked whether it is there.
    pub(super) doubt_at: Option<Instant>,
    /// Tells whether the engine was found not to answer: nothing can be ended then.
    pub(super) engine_is_silent: bool,
    /// Tells whether nobody knows whether the agent has ended.
    pub(super) has_given_up: bool,
}

impl Stopping {
    /// Passes a signal on.
    pub(super) fn pass_on(&mut self, plan: &RunPlan, number: i32, signals: &Signals) {
        let now = Instant::now();
        let twice = number == SIGINT
            && self.last_interrupt.replace(now).is_some_and(|last| now - last < DOUBLE_INTERRUPT);
        self.sent = Some(number);
        if twice {
            self.asked = true;
            self.doubt_at = Some(now + KILLED_LIMIT);
        }
        if signals.is_an_end(number) && !self.asked {
            self.asked = true;
            self.kill_at = Some(now + ASKED_LIMIT);
        }
        send(plan, if twice { "KILL" } else { signal_name(number) });
    }

    /// Kills an agent that was asked to end and went on.
    pub(super) fn kill(&mut self, plan: &RunPlan) {
        self.kill_at = None;
        crate::term::warn(Warning::AgentKilled { seconds: ASKED_LIMIT.as_secs() });
        send(plan, "KILL");
        self.doubt_at = Some(Instant::now() + KILLED_LIMIT);
    }

    /// Asks whether the engine is there. Returns an end where there is nothing more to wait for.
    pub(super) async fn doubt(&mut self, engine: &Engine) -> Option<AgentEnd> {
        self.doubts += 1;
        self.engine_is_silent = !engine.answers().await;
        if !self.engine_is_silent && self.doubts < DOUBTS {
            self.doubt_at = Some(Instant::now() + KILLED_LIMIT);
            return None;
        }
        self.has_given_up = true;
        let what = if self.engine_is_silent { "does not answer" } else { "does not end the agent" };
        let why = format!("the engine {what}, so nobody knows whether the agent has ended");
        Some(AgentEnd::because(How::EngineLost, why))
    }

    /// Tells what ended an agent that ended with a status.
    pub(super) fn how(&self, status: i32) -> How {
        let stopped = self.asked || self.sent.is_some_and(|number| status == 128 + number);
        if stopped { How::Stopped } else { How::Exited }
    }
}

/// Sends the agent a signal, beside the watching: the next one is not to wait for a silent engine.
/// The agent may have ended just now; its exit is seen in the next round.
fn send(plan: &RunPlan, name: &str) {
    let options = KillContainerOptions { signal: name.to_owned() };
    let (api, agent) = (plan.engine.api.clone(), plan.workflow.object(Role::Agent));
    tokio::spawn(async move { api.kill_container(&agent, Some(options)).await });
}
