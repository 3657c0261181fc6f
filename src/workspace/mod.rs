//! The project as the agent gets it: which files of this machine it sees, which are covered, and
//! what is put back after the run.
//!
//! ```text
//!  --project, --mount ─▶ mounts (may it be given? what exactly is it?) ─▶ Bind ─▶ engine, fence
//!                          │            └─ machine: homes, engines, sockets, ringfence's own files
//!                          └─▶ survey (links out, doors) ─▶ the person
//!
//!  project ──masks::plan──▶ what is hidden, what cannot be changed ──masks::serve──▶ files of this run ──mounts──▶ agent
//!                │                                                                          │
//!             secrets (how they look)                                       masks::close, when the run is over
//!
//!  what the agent may write ──aftermath::begin──▶ journal ──settle, when the agent has ended──▶ put back, told
//!                                             └─▶ record of the run ──review──▶ what it changed
//! ```

pub mod aftermath;
mod docker;
#[cfg(test)]
pub mod git_for_tests;
mod held;
pub mod identity;
pub mod machine;
pub mod masks;
pub mod mounts;
pub mod own_files;
pub mod repository;
pub mod review;
pub mod secrets;
pub mod survey;
pub mod token;
pub mod versions;
pub mod worktree;
