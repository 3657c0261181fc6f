//! Decisions about bodies: pure functions of a body and facts, to what ringfence asks the engine
//! for.

mod create;
mod environment;
pub(crate) mod facts;
mod group;
mod image;
mod labels;
mod limits;
pub(crate) mod member;
mod mount_asks;
mod mounts;
mod names;
mod others;
pub(crate) mod places;
mod ports;
mod security;
#[cfg(test)]
mod tests;

pub(crate) use self::create::{create, wanted};
pub(crate) use self::image::LONGEST_LABELS;
pub(crate) use self::names::usable;
pub(crate) use self::others::{
    ConnectSpec, VolumeSpec, connect, disconnect, exec, exec_start, network, pull, update, volume,
    volume_prune,
};
