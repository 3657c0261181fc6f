//! What of this machine's files the agent may see.
//!
//! ```text
//!  project ──masks::plan──▶ what is hidden, what cannot be changed ──masks::serve──▶ files of this run ──mounts──▶ agent
//!                │                                                                          │
//!             secrets (how they look)                                       masks::close, when the run is over
//! ```

pub mod masks;
pub mod secrets;
pub mod token;
