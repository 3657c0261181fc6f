//! This machine, seen without any policy: its files and folders, opened by descriptor.
//!
//! The ground floor, above `wire` and `term`: every other room may use it.

pub mod account;
pub mod at;
pub mod authorities;
pub mod cgroups;
pub mod clock;
pub mod devices;
pub mod identity;
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod netlink;
pub mod network;
pub mod open;
pub mod open_files;
pub mod owners;
pub mod path_walk;
pub mod programs;
pub mod proxy;
pub mod resolve;
pub mod signals;
pub mod state;
pub mod territory;
pub mod walk;
