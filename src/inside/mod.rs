//! What runs in a run's other containers, beside the fence and the guard.

pub mod disk_use;
pub mod host_network;
