//! Programs of ours that look at something from within a container, say what they see, and end.

pub(crate) mod disk_use;
pub(crate) mod doctor;
pub(crate) mod host_network;
