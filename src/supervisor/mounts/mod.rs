//! Directories and volumes that an agent is given, and the proof that they are the ones that were
//! checked.

pub(crate) mod covers;
pub(crate) mod directories;
pub(crate) mod image_volumes;
pub(crate) mod nonce;
