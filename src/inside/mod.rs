//! Programs that run in a run's containers: the fence, the guard, and single looks.

pub mod fence;
pub mod guard;
pub mod output;
pub mod probe;
