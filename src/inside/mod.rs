//! What runs in a run's other containers, beside the fence and the guard.

pub mod host_network;
