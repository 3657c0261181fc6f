//! Network policies of ringfence.
//!
//! ```text
//!  YAML text ──yaml──▶ spanned tree ──load (extends, presets)──▶ Policy ──┬─ decide (floor) ──▶ Verdict (rule, file, line, reason)
//!  (bytes from a caller: this crate does no I/O)    │                     └─ VirtualNames + ruleset ──▶ nft rules as data
//!                                                   └──▶ Diagnostics
//! ```
#![forbid(unsafe_code)]

pub mod decide;
pub mod diagnostic;
pub mod digest;
pub mod edit;
pub mod export;
pub mod floor;
pub mod headroom;
pub mod host;
pub mod host_access;
pub mod import;
mod index;
pub mod load;
pub mod lookalike;
pub mod note;
pub mod origin;
pub mod permitted;
pub mod policy;
pub mod presets;
pub mod print;
mod ranges;
pub mod reach;
mod reason;
pub mod ruleset;
pub mod schema;
pub mod service;
pub mod settings;
pub mod successor;
pub mod suggest;
pub mod target;
pub mod uploads;
pub mod virtual_names;
pub mod yaml;
