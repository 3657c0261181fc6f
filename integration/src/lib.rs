//! The world that ringfence is tested in, and what tests and the demo share.
//!
//! [`testbed`] makes a fake internet, an intranet and a metadata service in network namespaces,
//! canaries that hear whatever escapes, images with real clients, and an engine. [`ringfence`]
//! starts the executable in it; [`probe`] is the attacker that runs inside an agent.

pub mod cargo;
pub mod command;
pub mod git;
pub mod performance;
pub mod probe;
pub mod ringfence;
pub mod testbed;
