//! Types that cross a process boundary: they can hold nothing but the values that the other side
//! may send.
//!
//! The ground floor, above `term`: every other room may use it.

pub(crate) mod carrier;
pub(crate) mod chain;
pub(crate) mod conditions;
pub(crate) mod control;
pub(crate) mod diagnostics;
pub(crate) mod disk_use;
pub(crate) mod event;
pub(crate) mod forward;
pub(crate) mod handover;
pub(crate) mod host_loopback;
pub(crate) mod host_network;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod live_rules;
pub(crate) mod notice;
pub(crate) mod planned;
pub(crate) mod probe;
pub(crate) mod ssh_agent;
pub(crate) mod upkeep;

pub(crate) use identity::{
    EngineId, HomeName, ImageDigest, ImageName, LineHash, PolicyDigest, Role, UnixTime, WorkflowId,
    WorkflowName,
};
