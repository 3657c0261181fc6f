//! Records that this machine keeps of its runs.

pub(crate) mod events;
pub(crate) mod runs;
