//! The first program in an agent's container (`src/inside/init`), as this build carries it.

include!(concat!(env!("OUT_DIR"), "/init.rs"));

/// The program, where this build has one.
pub(crate) const PROGRAM: Option<&[u8]> = INIT;
/// Path in the agent's container.
pub(crate) const PLACE: &str = "/run/ringfence/init";
