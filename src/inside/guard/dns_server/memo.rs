//! Answers that were given a moment ago, by the bytes of their questions.
//!
//! ```text
//!  question ──all but its id──▶ kept? rules the same? not older than a moment? counted? ──▶ its answer, with this id
//!                                 └─ no to any ──▶ the long way
//! ```
//! Nothing is understood here: a question with other bytes (another case, a cookie) goes the long
//! way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::inside::guard::events::{Events, Sameness};

/// Answers that are kept at once; beyond, all are forgotten.
const KEPT: usize = 1024;
/// Longest question that is worth keeping.
const LONGEST: usize = 300;
/// Time that an answer is kept. Changes that nobody announces, such as a rule's last day, show
/// after this time.
const WHILE: Duration = Duration::from_secs(5);
/// Length of a message's id.
const ID: usize = 2;

/// An answer that holds as long as the rules do, and under what its repeats are counted, if they
/// are.
pub(crate) struct Lasting(pub(crate) Option<Sameness>);

/// Answer to one question.
struct StoredAnswer {
    /// Bytes of the answer without its id.
    answer: Box<[u8]>,
    lasting: Lasting,
    since: Instant,
}

/// The answers.
#[derive(Default)]
pub(crate) struct Memo {
    generation: u64,
    kept: HashMap<Box<[u8]>, StoredAnswer>,
}

impl Memo {
    /// Forgets everything when the rules have changed.
    pub(crate) fn renew(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.kept.clear();
        }
    }

    /// Puts the answer to a question behind what is in `out`, and counts it. `false` when there is
    /// none to give.
    pub(crate) fn answer(&self, question: &[u8], now: Instant, events: &Events, out: &mut Vec<u8>) -> bool {
        let Some((id, rest)) = question.split_at_checked(ID) else { return false };
        let Some(kept) = self.kept.get(rest) else { return false };
        let fresh = now.saturating_duration_since(kept.since) < WHILE;
        if !fresh || kept.lasting.0.as_ref().is_some_and(|same| !events.repeat(same, now)) {
            return false;
        }
        out.extend_from_slice(id);
        out.extend_from_slice(&kept.answer);
        true
    }

    /// Keeps the answer to a question.
    pub(crate) fn keep(&mut self, question: &[u8], answer: &[u8], lasting: Lasting, now: Instant) {
        let (Some(rest), Some(answer)) = (question.get(ID..), answer.get(ID..)) else { return };
        if rest.len() > LONGEST {
            return;
        }
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(rest.into(), StoredAnswer { answer: answer.into(), lasting, since: now });
    }
}
