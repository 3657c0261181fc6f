//! The life of a workflow, seen from the machine of the person who starts it.
//!
//! ```text
//!  run/: check everything ─▶ create (network, volume, fence, guard, agent) ─▶ start fence + guard ─▶ ready?
//!            nothing exists yet      undone in reverse on any error                                      │
//!          ◀─ remove, report ◀─ wait: agent ends | guard or fence dies | time | signal ◀─ start agent ◀──┘
//! ```
//!
//! `engine` finds the engine and speaks to it. `spec` says as plain data what it is asked for:
//! containers, limits, system calls, names and labels; `networks` makes a run's networks. `image`
//! finds the agent's image or has it fetched, `helper_image` is the one of fence and guard.
//! `mounts` gives the agent this machine's files, `upload` takes authorities, secrets and the
//! guard's inputs into containers. `run` is the story above, `watch` counts what an agent uses,
//! `signals` passes signals on, `streams` carries input, output and terminal, `live` changes a run
//! that goes on, `forward` carries connections to the agent's ports, and
//! `host_loopback` from the agent to permitted ports of this machine's loopback; `ssh_agent` lets
//! the person's ssh agent sign logins. They go by `exec_stream` and `helper_carrier`. `records`
//! keeps what this machine knows of its runs, `inventory` finds them on the engine and removes
//! them, `aftermath` puts back what a run may not leave behind, `admission` starts a container in a
//! fence that stands. In what engines differ, `engine::dialect` alone knows.

pub(crate) mod admission;
pub(crate) mod aftermath;
pub(crate) mod engine;
mod exec_stream;
pub(crate) mod forward;
mod helper_carrier;
pub(crate) mod helper_image;
pub(crate) mod host_loopback;
pub(crate) mod image;
pub(crate) mod inventory;
pub(crate) mod live;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod signals;
pub(crate) mod spec;
pub(crate) mod ssh_agent;
pub(crate) mod streams;
pub(crate) mod upload;
pub(crate) mod watch;
