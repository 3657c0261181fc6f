//! Directories and volumes that an agent is given, and the proof that they are the ones that were checked.

pub mod binds;
pub mod declared;
pub mod nonce;
