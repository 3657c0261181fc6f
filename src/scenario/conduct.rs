//! The network of a case while it runs: conditions at their times, by the ways of `ringfence net`.
//!
//! ```text
//!  log ─ ready ─▶ the agent's container runs: time 0 ─▶ each step at its time ──live::change──▶ fence, guard
//!   └─ a planned change was made by the guard ──live::follow──▶ the fence's kernel rules, which only a supervisor reaches
//! ```

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::log::{LogFacts, Tail};
use super::plan::{Moment, Step};
use crate::supervisor::engine::Engine;
use crate::supervisor::live::{self, Outcome};
use crate::supervisor::spec::workflow::{Helpers, agent_name};
use crate::wire::WorkflowId;

/// Time between two looks at log and clock.
const LOOK: Duration = Duration::from_millis(50);

/// The steps of one case, and what became of them.
pub(super) struct Conductor<'c> {
    engine: &'c Engine,
    events: &'c Path,
    steps: &'c [Step],
    states: Vec<StepState>,
    facts: LogFacts,
    tail: Tail,
    followed: usize,
    began: Option<Instant>,
}

/// State of a step with a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StepState {
    Awaited,
    Taken,
    Failed(String),
}

impl<'c> Conductor<'c> {
    /// Begins with a run whose log is here, or will be.
    pub(super) fn new(engine: &'c Engine, events: &'c Path, steps: &'c [Step]) -> Conductor<'c> {
        let states = vec![StepState::Awaited; steps.len()];
        Conductor {
            engine,
            events,
            steps,
            states,
            facts: LogFacts::default(),
            tail: Tail::new(),
            followed: 0,
            began: None,
        }
    }

    /// Waits until the agent runs. Conditions that hold from the start are followed meanwhile.
    pub(super) async fn conduct_to_start(&mut self) {
        while self.began.is_none() {
            self.look().await;
            sleep(LOOK).await;
        }
    }

    /// Takes the steps, for as long as it is let.
    pub(super) async fn conduct(&mut self) {
        loop {
            self.look().await;
            sleep(LOOK).await;
        }
    }

    async fn look(&mut self) {
        self.tail.follow(self.events, &mut self.facts);
        let (Some(id), Some(_)) = (self.facts.id, self.facts.ready) else { return };
        if self.began.is_none() && runs(self.engine, id).await {
            self.began = Some(Instant::now());
        }
        self.follow_guard(id).await;
        self.take_due(id).await;
    }

    /// Has the fence follow the guard. A fence that does not loses nothing: the guard holds what
    /// the condition concerns.
    async fn follow_guard(&mut self, id: WorkflowId) {
        let made = self.facts.planned.len();
        if made > self.followed && live::follow(self.engine, &Helpers::of_names(id)).await.is_ok() {
            self.followed = made;
        }
    }

    /// Takes the steps whose time has come, in their order.
    async fn take_due(&mut self, id: WorkflowId) {
        let Some(began) = self.began else { return };
        let mut due: Vec<(Duration, usize)> = Vec::new();
        for (position, step) in self.steps.iter().enumerate() {
            if let Moment::After(time) = step.when
                && self.states[position] == StepState::Awaited
                && began.elapsed() >= time
            {
                due.push((time, position));
            }
        }
        due.sort_unstable();
        for (_, position) in due {
            let change = self.steps[position].change.change();
            let made = live::change(self.engine, &Helpers::of_names(id), change).await;
            self.states[position] = match made {
                Ok(Outcome::Made(_)) => StepState::Taken,
                Ok(Outcome::Refused(why)) => StepState::Failed(why),
                Err(failure) => StepState::Failed(failure.message),
            };
        }
    }

    /// Lists the steps with a time that never came. The end of a condition may be missed: the agent
    /// had ended before it.
    pub(super) fn missed(&self) -> Vec<String> {
        let timed = self.steps.iter().zip(&self.states);
        let timed = timed.filter(|(step, _)| matches!(step.when, Moment::After(_)) && !step.is_restore());
        timed
            .filter_map(|(step, state)| match state {
                StepState::Taken => None,
                StepState::Awaited => Some(step.to_string()),
                StepState::Failed(why) => Some(format!("{step} ({why})")),
            })
            .collect()
    }
}

/// Tells whether the agent's container runs, or has run.
async fn runs(engine: &Engine, id: WorkflowId) -> bool {
    let looked = engine.inspect_container(&agent_name(id), None).await;
    looked.ok().and_then(|about| about.state).and_then(|state| state.running) == Some(true)
}
