//! Files that containers of a run get through the engine's API: authorities, secrets, what the
//! guard needs.

pub mod authorities;
pub mod files;
pub mod guard_inputs;
pub mod secrets;
pub mod truststore;
