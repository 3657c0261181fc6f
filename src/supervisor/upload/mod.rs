//! Files that containers of a run get through the engine's API: authorities, secrets, what the
//! guard needs.

pub(crate) mod authorities;
pub(crate) mod files;
pub(crate) mod guard_inputs;
pub(crate) mod secrets;
pub(crate) mod truststore;
