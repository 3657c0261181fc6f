//! Diagnostics: steps, calls of the engine, and what fence and guard do on their way.
//!
//! ```text
//!  step, call, diagnose ──▶ tracing ─┬─▶ lines:   what RINGFENCE_LOG or --verbose asks for ──▶ stderr
//!                                    └─▶ timings: the steps, for --timings ───────────────▶ stderr
//! ```
//! Only this folder names `tracing`. Whatever is recorded comes through the functions here, whose
//! fields are numbers and words of this program: no name, path, address or secret can get into one.
//! Diagnostics are for people. They have no part in the decision log.

mod diagnostic;
mod filter;
mod lines;
mod timings;

use std::sync::OnceLock;
use std::time::Instant;

use tracing::Span;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::diagnostic::{Diagnostic, Outcome, diagnose};
pub(crate) use self::filter::{Filter, VARIABLE};
use self::timings::Timings;

/// The last step of a start.
pub(crate) const LAST_OF_START: &str = "agent started";

/// The filter, once diagnostics have begun.
static FILTER: OnceLock<Filter> = OnceLock::new();
/// The steps, where they are measured.
static TIMINGS: OnceLock<Timings> = OnceLock::new();

/// A step of a start or of its end; it ends when it is dropped.
#[must_use]
pub(crate) struct Step(Span);

/// Begins a step.
pub(crate) fn step(name: &'static str) -> Step {
    Step(tracing::info_span!(target: "run", "step", name))
}

impl Step {
    /// Ends the step, and begins the next one.
    pub(crate) fn then(&mut self, name: &'static str) {
        // The old one ends first.
        self.0 = Span::none();
        *self = step(name);
    }
}

/// A call of the engine; it ends when it is dropped.
#[must_use]
pub(crate) struct Call(Span);

/// Begins a call.
pub(crate) fn call(name: &'static str) -> Call {
    Call(tracing::debug_span!(target: "engine", "call", name, status = tracing::field::Empty))
}

impl Call {
    /// Ends the call with the engine's answer.
    pub(crate) fn answered(self, status: u16) {
        self.0.record("status", status);
    }
}

/// Begins to write diagnostics by `write`, and to measure steps from `timed` on.
pub(crate) fn begin(filter: Option<Filter>, timed: Option<Instant>, write: fn(&str)) {
    if filter.is_none() && timed.is_none() {
        return;
    }
    let lines = filter.map(|filter| lines::Lines::new(write).with_filter(filter.targets()));
    let timings = timed.map(Timings::since);
    let measured = timings.clone().map(|timings| timings.with_filter(Filter::of_steps()));
    // This is called once; a second call would change nothing.
    if tracing_subscriber::registry().with(lines).with(measured).try_init().is_ok() {
        filter.map(|filter| FILTER.set(filter));
        timings.map(|timings| TIMINGS.set(timings));
    }
}

/// Returns what a run's helpers are asked for, as their variable.
pub(crate) fn variable() -> Option<String> {
    FILTER.get().map(|filter| format!("{VARIABLE}={filter}"))
}

/// Writes how long each step took, where that was asked for.
pub(crate) fn print_timings() {
    if let Some(timings) = TIMINGS.get() {
        timings.print();
    }
}
