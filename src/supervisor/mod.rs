//! The life of a workflow, seen from the machine of the person who starts it.
//!
//! ```text
//!  run/: check everything ─▶ create (network, volume, fence, guard, agent) ─▶ start fence + guard ─▶ ready?
//!            nothing exists yet      undone in reverse on any error                                      │
//!          ◀─ remove, report ◀─ wait: agent ends | guard or fence dies | time | signal ◀─ start agent ◀──┘
//! ```
//!
//! `containers` and `networks` say as plain data what the engine is asked for; `engine` finds and
//! speaks to it; `image` finds the agent's image there or has it fetched; `control` changes a workflow that runs; `inventory` finds workflows again by their names and labels, `runs` keeps the records of those that this machine made; `removal` waits for what is still being made before it
//! removes a run; `state` keeps the
//! events; `means` and `ca` gather what guard and agent need of this machine (authorities, the proxy's credentials), `files` takes
//! it to them; `podman` knows where Podman differs; `binds` says how it gets this machine's files, `surface` and `seccomp` what it has
//! of the kernel, `limits`, `kept`, `growth` and `watch` what it may use up, `usage` what
//! it uses; `aftermath` puts back what a run may not leave behind.

pub mod aftermath;
pub mod binds;
pub mod ca;
pub mod containers;
pub mod control;
pub mod counting;
pub mod data;
pub mod engine;
pub mod etc;
pub mod event_store;
pub mod files;
pub mod growth;
pub mod handing;
pub mod helper_image;
pub mod helper_lines;
pub mod image;
pub mod init;
pub mod interrupt;
pub mod inventory;
pub mod kept;
pub mod limits;
pub mod means;
pub mod networks;
pub mod nonce;
pub mod podman;
pub mod removal;
pub mod run;
pub mod runs;
pub mod seccomp;
pub mod signals;
pub mod streams;
pub mod summary;
pub mod surface;
pub mod truststore;
pub mod usage;
pub mod watch;
pub mod workflow;

pub use crate::host::state;
