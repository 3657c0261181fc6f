//! Requests to the engine as plain data: nothing in here acts.

pub(crate) mod agent;
pub(crate) mod binds;
pub(crate) mod containers;
pub(crate) mod environment;
pub(crate) mod etc;
pub(crate) mod home;
pub(crate) mod image;
pub(crate) mod image_platform;
pub(crate) mod image_volumes;
pub(crate) mod init;
pub(crate) mod limits;
pub(crate) mod part;
pub(crate) mod places;
pub(crate) mod request;
pub(crate) mod seccomp;
pub(crate) mod service;
pub(crate) mod setup;
pub(crate) mod surface;
pub(crate) mod workflow;
