//! This machine, seen without any policy: its files and folders, opened by descriptor.
//!
//! The ground floor, above `wire` and `term`: every other room may use it.

pub(crate) mod account;
pub(crate) mod at;
pub(crate) mod authorities;
pub(crate) mod cgroups;
pub(crate) mod clock;
pub(crate) mod connection_table;
pub(crate) mod descriptors;
pub(crate) mod devices;
pub(crate) mod identity;
pub(crate) mod kernel;
pub(crate) mod nameservers;
#[cfg(target_os = "linux")]
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod network_changes;
pub(crate) mod open;
pub(crate) mod open_files;
pub(crate) mod owners;
pub(crate) mod path_walk;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod replace;
pub(crate) mod resolve;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod territory;
pub(crate) mod walk;
pub(crate) mod work_queue;
