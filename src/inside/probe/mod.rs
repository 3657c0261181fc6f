//! Programs of ours that look at something from within a container, say what they see, and end.

pub mod disk_use;
pub mod doctor;
pub mod host_network;
