//! Types that cross a process boundary: they can hold nothing but the values that the other side
//! may send.
//!
//! The ground floor, above `term`: every other room may use it.

pub mod chain;
pub mod conditions;
pub mod control;
pub mod diagnostics;
pub mod disk_use;
pub mod event;
pub mod handover;
pub mod host_network;
pub mod identity;
pub mod init;
pub mod probe;

pub use identity::{
    EngineId, ImageDigest, ImageName, LineHash, PolicyDigest, Role, UnixTime, WorkflowId, WorkflowName,
};
