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
pub mod engine;
pub mod helper_image;
pub mod image;
pub mod inventory;
pub mod live;
pub mod mounts;
pub mod networks;
pub mod podman;
pub mod records;
pub mod run;
pub mod signals;
pub mod spec;
pub mod upload;
pub mod watch;
