//! What runs in a run's other containers, beside the fence and the guard.

pub mod fence;
pub mod guard;
pub mod probe;
