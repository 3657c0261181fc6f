//! Diagnostics as lines: `debug engine: container create status=201 12.3 ms`.

use std::fmt::{self, Write as _};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The layer.
pub(super) struct Lines {
    write: fn(&str),
}

/// A span that goes on.
struct Begun {
    at: Instant,
    words: Words,
}

/// The words of an event or a span: its message or name, and its fields behind it.
#[derive(Default)]
struct Words {
    what: String,
    fields: String,
}

impl Lines {
    pub(super) fn new(write: fn(&str)) -> Lines {
        Lines { write }
    }

    fn line(&self, level: Level, target: &str, words: &Words) {
        let level = level.as_str().to_ascii_lowercase();
        (self.write)(&format!("{level} {target}: {}{}", words.what, words.fields));
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" | "name" => write!(self.what, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut words = Words::default();
        attributes.record(&mut words);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Begun { at: Instant::now(), words });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(begun) = span.extensions_mut().get_mut::<Begun>()
        {
            values.record(&mut begun.words);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        self.line(*event.metadata().level(), event.metadata().target(), &words);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(Begun { at, mut words }) = span.extensions_mut().remove::<Begun>() else { return };
        let _ = write!(words.fields, " {:.1} ms", at.elapsed().as_secs_f64() * 1e3);
        self.line(*span.metadata().level(), span.metadata().target(), &words);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::{Diagnostic, Filter, Outcome, call, diagnose, step};
    use super::*;

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn spans_and_events_are_lines_and_other_crates_say_nothing() {
        let lines = Lines::new(|line| SAID.lock().unwrap().push(line.to_owned()));
        let filter = Filter::parse("debug").unwrap();
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter.targets()));
        tracing::subscriber::with_default(subscriber, || {
            let step = step("checked");
            call("container create").answered(201);
            diagnose(Diagnostic::Upstream { upstream: 2, outcome: Outcome::Silent });
            drop(step);
            tracing::error!("a secret of another crate");
            tracing::error!(target: "hyper", "a path of another crate");
        });
        let said = std::mem::take(&mut *SAID.lock().unwrap());
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("debug engine: container create status=201 "), "{said:?}");
        assert_eq!(said[1], "warn guard: an upstream did not answer upstream=2 outcome=silent");
        assert!(said[2].starts_with("info run: checked ") && said[2].ends_with(" ms"), "{said:?}");
    }
}
