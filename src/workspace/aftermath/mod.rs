//! What a run may not leave behind: git's configuration as git would run code by it, and files that do without anybody having seen them.
//!
//! ```text
//!  before the agent: find ─▶ pin (repositories' configurations, where they are) ─▶ journal, on disk and locked
//!  after its end:    journal ─▶ judge (keys) ─▶ put back;  find ─▶ new or changed files that run code ─▶ told, events
//! ```
//! While its supervisor lives, the journal is locked. After a kill whoever removes the workflow finds it unlocked, and puts back.

mod config;
mod find;
mod journal;
mod judge;
mod keys;
mod pin;
mod place;
mod record;
mod settle;
mod told;

pub use journal::{Aftermath, settle_abandoned, sweep};
pub use told::Told;
