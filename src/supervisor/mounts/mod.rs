//! Directories and volumes that an agent is given, and the proof that they are the ones that were
//! checked.

pub mod covers;
pub mod directories;
pub mod image_volumes;
pub mod nonce;
