//! What crosses a process boundary: types that can hold nothing but what the other side may say.
//!
//! The ground floor, above `term`: every other room may use it.

pub mod chain;
pub mod conditions;
pub mod control;
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
