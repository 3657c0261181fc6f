//! A signal while a run starts.

use std::cell::Cell;

use super::agent_end::exit_status;
use crate::supervisor::engine::Engine;
use crate::supervisor::signals::Signals;
use crate::term::Failure;

/// The last signal that came while the run started, if any.
#[derive(Default)]
pub(super) struct EarlySignal(Cell<Option<i32>>);

impl EarlySignal {
    /// Refuses to go on once a signal has come.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.0.get() {
            Some(number) => {
                Err(Failure::new(exit_status(128 + number), "interrupted before the agent was started"))
            }
            None => Ok(()),
        }
    }

    /// Lets the start come to its end. A signal waits for that, so that nothing is created behind
    /// the back of the removal; a second one does not where the engine has gone silent.
    pub(super) async fn follow<T>(
        &self,
        signals: &mut Signals,
        engine: &Engine,
        start: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(start);
        let started = loop {
            tokio::select! {
                started = &mut start => break started?,
                number = signals.next() => {
                    if self.0.replace(Some(number)).is_some() && !engine.answers().await {
                        let what = "interrupted twice while the run was starting";
                        return Err(Failure::new(exit_status(128 + number), what)
                            .hint("what the engine makes of it later is removed by `ringfence gc`"));
                    }
                }
            }
        };
        if let Some(number) = self.0.get() {
            signals.again(number);
        }
        Ok(started)
    }
}
