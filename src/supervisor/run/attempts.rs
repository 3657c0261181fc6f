//! Attempts of an agent: several refusals of one name in a short time are one.
//!
//! ```text
//!  A and AAAA questions, a resolver's repeats, a connection behind a question ─▶ one attempt
//!  a name that is tried again later, an address at each time ─────────────────▶ one more
//! ```

use std::time::Duration;

use crate::wire::event::{Access, Time};

/// Refusals of a name within this time after the first are one attempt: a resolver asks again after
/// five seconds, and a program tries the next resolver.
const ONE_ATTEMPT: Duration = Duration::from_secs(5);

/// Attempts at one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Number of the attempts.
    pub(crate) count: u64,
    /// Time of the first refusal.
    pub(crate) first: Time,
    /// Time of the first refusal of the latest attempt.
    since: Time,
}

impl Attempts {
    /// Begins with a refusal.
    pub(crate) fn begin(access: &Access, time: Time) -> Attempts {
        Attempts { count: times(access), first: time, since: time }
    }

    /// Adds a refusal of the same target.
    pub(crate) fn add(&mut self, access: &Access, time: Time) {
        if access.host.is_none() {
            self.count = self.count.saturating_add(times(access));
        } else if !self.goes_on(time) {
            self.count = self.count.saturating_add(1);
            self.since = time;
        }
    }

    /// Tells whether a refusal at this time belongs to the latest attempt.
    pub(crate) fn goes_on(&self, time: Time) -> bool {
        time.after(self.since) < ONE_ATTEMPT
    }
}

/// Returns the attempts that one line stands for. Addresses are refused at each attempt, and a
/// program does not ask for them twice; of a name one line may stand for the questions of one
/// attempt.
fn times(access: &Access) -> u64 {
    match access.host {
        Some(_) => 1,
        None => access.left_out.unwrap_or(0).saturating_add(1),
    }
}
