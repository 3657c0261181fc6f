//! Durations of the steps of a run.

use std::time::{Duration, Instant};

/// Duration of each step, for `--timings`.
pub(super) struct Clock {
    wanted: bool,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Clock {
    pub(super) fn new(wanted: bool) -> Self {
        Clock { wanted, last: Instant::now(), steps: Vec::new() }
    }

    pub(super) fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push((name, now - self.last));
        self.last = now;
    }

    pub(super) fn print(&self) {
        if self.wanted {
            for (name, time) in &self.steps {
                crate::term::talk(format_args!("{:>8.1} ms  {name}", time.as_secs_f64() * 1e3));
            }
        }
    }
}
