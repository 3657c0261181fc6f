//! `--timings`: how long each step took, as a view of the steps' spans.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The steps so far, from the first line of the program.
#[derive(Clone)]
pub(crate) struct Timings {
    began: Instant,
    steps: Arc<Mutex<Vec<Step>>>,
}

/// A step that is over.
struct Step {
    name: String,
    at: Instant,
    took: Duration,
}

/// A step that goes on.
struct Begun(String, Instant);

#[derive(Default)]
struct Name(String);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Timings {
    pub(super) fn since(began: Instant) -> Timings {
        Timings { began, steps: Arc::default() }
    }

    /// Writes a line for each step, in the order in which they began.
    pub(crate) fn print(&self) {
        self.rows().iter().for_each(crate::term::essential);
    }

    fn rows(&self) -> Vec<String> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.sort_by_key(|step| step.at);
        let row = |name: &str, took: Duration| format!("{:>8.1} ms  {name}", took.as_secs_f64() * 1e3);
        let since = |at: Instant| at.saturating_duration_since(self.began);
        let mut rows = Vec::new();
        rows.extend(steps.first().map(|first| row("command line", since(first.at))));
        for step in steps.iter() {
            rows.push(row(&step.name, step.took));
            if step.name == super::LAST_OF_START {
                rows.push(row("the whole start", since(step.at) + step.took));
            }
        }
        rows
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Timings {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut name = Name::default();
        attributes.record(&mut name);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Begun(name.0, Instant::now()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(Begun(name, at)) = span.extensions_mut().remove::<Begun>() {
            let step = Step { name, at, took: at.elapsed() };
            self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::{Filter, call, step};
    use super::*;

    #[test]
    fn each_step_is_a_row_in_its_order_and_calls_are_none() {
        let timings = Timings::since(Instant::now());
        let layer = timings.clone().with_filter(Filter::of_steps());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let mut steps = step("networks");
            drop(call("network create"));
            steps.then(super::super::LAST_OF_START);
            steps.then("removed");
        });
        let names: Vec<String> =
            timings.rows().iter().map(|row| row.split_once(" ms  ").unwrap().1.to_owned()).collect();
        assert_eq!(names, ["command line", "networks", "agent started", "the whole start", "removed"]);
    }
}
