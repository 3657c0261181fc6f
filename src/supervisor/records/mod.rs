//! Records that this machine keeps of its runs.

pub mod events;
pub mod runs;
