//! Requests to the engine as plain data: nothing in here acts.

pub mod agent;
pub mod binds;
pub mod containers;
mod environment;
pub mod etc;
pub mod image;
pub mod image_volumes;
pub mod init;
pub mod limits;
pub mod part;
pub mod places;
pub mod request;
pub mod seccomp;
pub mod surface;
pub mod workflow;
