//! Aftermath of a run: git's configuration is put back where git would run code by it, and new or
//! changed files that run code are reported.
//!
//! ```text
//!  before the agent: find ─▶ pin (repositories' configurations, where they are) ─▶ journal, on disk and locked
//!  after its end:    journal ─▶ judge (keys) ─▶ put back;  find ─▶ new or changed files that run code ─▶ told, events
//! ```
//! While its supervisor lives, the journal is locked. After a kill, the command that removes the
//! workflow finds the journal unlocked, and puts back.

#[cfg(test)]
mod apart_tests;
pub(crate) mod config;
mod find;
pub(crate) mod gitdir;
mod journal;
mod judge;
mod keys;
mod kinds;
mod lfs;
mod lifecycle;
pub(crate) mod list;
pub(crate) mod listing;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod listings_tests;
mod names;
mod pin;
pub(crate) mod place;
pub(crate) mod record;
mod remembered;
mod report;
mod risks;
pub(crate) mod run_record;
mod settle;
mod signs;
mod through;
mod whereabouts;

pub(crate) use journal::{Abandoned, Aftermath, is_settled, settle_abandoned, sweep};
pub(crate) use report::{HeldStandIn, SettleReport};

use std::os::fd::AsFd;
use std::path::Path;

use super::mounts::Bind;

/// Finds the repositories below an open directory.
#[cfg(test)]
pub(super) fn find_for_tests(root: &std::os::fd::OwnedFd) -> Vec<gitdir::Facts> {
    let found = find::find(root.as_fd(), find::Look::default()).expect("it can be looked through");
    gitdir::facts(root.as_fd(), &found, &[]).expect("its repositories can be read")
}

/// Returns the last value of a key in the text of a configuration, by its name in lower case.
pub(super) fn config_value(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    config::parse(text)?.into_iter().rev().find(|entry| entry.name == key)?.value
}

/// Tells whether the configuration at `path` in a mount has a key, by its name in lower case.
pub(super) fn has_key(bind: &Bind, path: &str, key: &str) -> bool {
    let config = bind.reopen().and_then(|root| place::look(root.as_fd(), Path::new(path)));
    match config {
        Ok(record::Was::File(file)) => config::parse(&file.text.0)
            .is_some_and(|entries| entries.iter().any(|entry| entry.name == key.as_bytes())),
        _ => false,
    }
}
