//! Signatures of a run, counted, so that they end and can be told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Signatures of one run.
const MOST: usize = 1000;
/// Different logins that are told; an agent may choose a user's name for each signature.
const TOLD: usize = 12;

/// Signatures: for which key, user and server, and how many.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures(Arc<Mutex<BTreeMap<String, usize>>>);

impl Signatures {
    /// Counts one. Returns whether there may be one more.
    pub(super) fn count(&self, what: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= MOST {
            return false;
        }
        *all.entry(what.to_owned()).or_default() += 1;
        true
    }

    /// Says what was signed; a line for each of the first logins.
    pub(super) fn in_words(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(what, count): (&String, &usize)| {
            format!("your ssh agent signed {count} × {}", crate::term::line(what))
        };
        let mut lines: Vec<String> = all.iter().take(TOLD).map(line).collect();
        let more: usize = all.values().skip(TOLD).sum();
        if more > 0 {
            lines.push(format!("your ssh agent signed {more} × other logins: see the events `ssh-signed`"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_end_and_are_told_in_a_few_lines() {
        let signatures = Signatures::default();
        for number in 0..MOST {
            assert!(signatures.count(&format!("a login as user{number:04}@git.test\u{1b}[2J")));
        }
        assert!(!signatures.count("a login as git@git.test"));
        let lines = signatures.in_words();
        assert_eq!(lines.len(), TOLD + 1);
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
        assert!(lines[TOLD].contains("988 × other logins"), "{lines:?}");
    }
}
