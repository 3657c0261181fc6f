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

pub(crate) mod aftermath;
mod docker;
#[cfg(test)]
pub(crate) mod git_for_tests;
pub(crate) mod held;
pub(crate) mod identity;
pub(crate) mod machine;
pub(crate) mod masks;
pub(crate) mod mounts;
pub(crate) mod own_files;
pub(crate) mod repository;
pub(crate) mod review;
pub(crate) mod secrets;
pub(crate) mod ssh_remotes;
pub(crate) mod survey;
pub(crate) mod token;
pub(crate) mod versions;
pub(crate) mod worktree;
