//! One budget for a whole look at a project's repositories: all of them together, loose objects,
//! packs and indexes.
//!
//! A project may hold thousands of repositories, each within its own bounds. What is beyond the
//! budget is a doubt, so a stand-in covers the file, and the person is told why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::store::Budget;

/// Bounds of one look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Objects that may be read.
    pub(crate) objects: u64,
    /// Bytes that may be unpacked.
    pub(crate) bytes: u64,
    /// Bytes of indexes, trees and attributes that may be kept.
    pub(crate) kept: u64,
    /// Time limit.
    pub(crate) time: Duration,
}

/// Enough for the largest repositories that are known, and an end for those that were made to have
/// none.
pub(crate) const BOUNDS: Bounds =
    Bounds { objects: 1_000_000, bytes: 64 << 30, kept: 1 << 30, time: Duration::from_secs(120) };

/// The rest of a budget.
#[derive(Debug)]
pub(crate) struct Look {
    rest: Mutex<Rest>,
    ends: Instant,
}

/// The parts of the rest that are counted.
#[derive(Debug)]
pub(crate) struct Rest {
    objects: u64,
    /// Bytes that may still be unpacked.
    pub(crate) bytes: Budget,
    kept: u64,
}

impl Look {
    /// Begins a look.
    pub(crate) fn begin(bounds: Bounds) -> Look {
        let Bounds { objects, bytes, kept, time } = bounds;
        let rest = Mutex::new(Rest { objects, bytes: Budget(bytes), kept });
        Look { rest, ends: Instant::now() + time }
    }

    /// Takes one object, and holds the rest until it is read: one object at a time, so that memory
    /// is bounded too. None when nothing more is read.
    pub(crate) fn object(&self) -> Option<MutexGuard<'_, Rest>> {
        let mut rest = self.rest();
        if rest.bytes.0 == 0 || Instant::now() >= self.ends {
            return None;
        }
        rest.objects = rest.objects.checked_sub(1)?;
        Some(rest)
    }

    /// Tells whether so many more bytes may be kept, and counts them.
    pub(crate) fn keeps(&self, bytes: usize) -> bool {
        let mut rest = self.rest();
        let left = rest.kept.checked_sub(bytes as u64);
        rest.kept = left.unwrap_or(rest.kept);
        left.is_some()
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
