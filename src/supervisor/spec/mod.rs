//! What the engine is asked for, as plain data: nothing in here acts.

pub mod containers;
pub mod etc;
pub mod init;
pub mod limits;
pub mod seccomp;
pub mod surface;
pub mod workflow;
