//! Diagnostics of fence and guard: the facts of each, and its words.

/// Outcome of a question to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With addresses.
    Addresses,
    /// The name has none.
    NoAddress,
    /// There is no such name.
    NoName,
    /// It said nothing in time.
    Silent,
    /// It could not be spoken to.
    NoConnection,
    /// It said that it cannot.
    Refused,
    /// Something else.
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Addresses => "addresses",
            Outcome::NoAddress => "no-address",
            Outcome::NoName => "no-name",
            Outcome::Silent => "silent",
            Outcome::NoConnection => "no-connection",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

/// One thing that fence or guard did. Only numbers and words of this program are in one: what an
/// agent or a policy names is nobody's to read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Diagnostic {
    /// A step of the fence.
    Fence {
        /// Its name.
        step: &'static str,
        /// Milliseconds since its beginning.
        ms: u64,
        /// Locks that the kernel lacks.
        missing: usize,
    },
    /// An upstream was asked.
    Upstream {
        /// Its place in its group, from 1.
        upstream: usize,
        /// Its answer.
        outcome: Outcome,
    },
    /// No upstream of a group knows a name.
    Unresolved {
        /// Number of upstreams that were asked.
        asked: usize,
    },
    /// A live change was made or refused.
    Change {
        /// Its kind.
        change: &'static str,
        /// True when it was made.
        made: bool,
    },
    /// The guard serves.
    Serving,
}

/// Records a diagnostic.
pub(crate) fn diagnose(diagnostic: Diagnostic) {
    match diagnostic {
        Diagnostic::Fence { step, ms, missing } => {
            tracing::info!(target: "fence", ms, missing, "{step}");
        }
        Diagnostic::Upstream {
            upstream,
            outcome: outcome @ (Outcome::Addresses | Outcome::NoAddress | Outcome::NoName),
        } => {
            tracing::debug!(target: "guard", upstream, outcome = outcome.word(), "an upstream answered");
        }
        Diagnostic::Upstream { upstream, outcome } => {
            tracing::warn!(target: "guard", upstream, outcome = outcome.word(), "an upstream did not answer");
        }
        Diagnostic::Unresolved { asked } => {
            tracing::warn!(target: "guard", asked, "no upstream knows a name");
        }
        Diagnostic::Change { change, made } => {
            tracing::info!(target: "guard", change, made, "a change was asked for");
        }
        Diagnostic::Serving => tracing::info!(target: "guard", "the guard serves"),
    }
}
