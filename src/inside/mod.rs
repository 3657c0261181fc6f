//! What runs in a run's other containers, beside the fence and the guard.

pub mod fence;
pub mod guard;
mod output;
pub mod probe;
