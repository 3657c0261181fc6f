//! What a run may not leave behind: git's configuration as git would run code by it, and files that do without anybody having seen them.
//!
//! ```text
//!  before the agent: find ─▶ pin (repositories' configurations, where they are) ─▶ journal, on disk and locked
//!  after its end:    journal ─▶ judge (keys) ─▶ put back;  find ─▶ new or changed files that run code ─▶ told, events
//! ```
//! While its supervisor lives, the journal is locked. After a kill whoever removes the workflow finds it unlocked, and puts back.

pub mod config;
mod find;
pub mod gitdir;
mod journal;
mod judge;
mod keys;
mod kinds;
mod lifecycle;
pub mod list;
pub mod listing;
mod names;
mod pin;
pub mod place;
pub mod record;
mod remembered;
mod risks;
pub mod run_record;
mod settle;
mod signs;
mod through;
mod told;
mod whereabouts;

pub use journal::{Aftermath, is_settled, settle_abandoned, sweep};
pub use told::Told;

use std::os::fd::AsFd;
use std::path::Path;

use super::mounts::Bind;

/// The repositories below an open directory.
#[cfg(test)]
pub fn find_for_tests(root: &std::os::fd::OwnedFd) -> Vec<gitdir::Facts> {
    let found = find::find(root.as_fd(), find::Look::default()).expect("it can be looked through");
    gitdir::facts(root.as_fd(), &found).expect("its repositories can be read")
}

/// Whether the configuration of a project's own repository has a key, by its name in lower case.
pub fn has_key(project: &Bind, key: &str) -> bool {
    let config = project.reopen().and_then(|root| place::look(root.as_fd(), Path::new(".git/config")));
    match config {
        Ok(record::Was::File(file)) => config::parse(&file.text.0)
            .is_some_and(|entries| entries.iter().any(|entry| entry.name == key.as_bytes())),
        _ => false,
    }
}
