//! Programs that run in a run's containers: the fence, the guard, and single looks.

pub(crate) mod exec_stream;
pub(crate) mod fence;
pub(crate) mod guard;
pub(crate) mod output;
pub(crate) mod probe;
