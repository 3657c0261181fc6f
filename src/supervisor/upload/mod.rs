//! Files that containers of a run get through the engine's API: authorities, secrets, what the
//! guard and the helper of an ssh agent need.

pub(crate) mod authorities;
pub(crate) mod files;
pub(crate) mod guard_inputs;
pub(crate) mod secrets;
pub(crate) mod ssh_folder;
pub(crate) mod truststore;
