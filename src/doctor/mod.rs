//! Risks of running an agent on this machine, each with its verdict and evidence.
//!
//! ```text
//!  machine ─┐
//!  engine ──┤  (its API)                                    cves.json ─┐
//!  inside ──┼─▶ gather ─▶ Facts (plain data) ─▶ judge (pure) ◀─────────┘ ─▶ ten rows ─▶ table, JSON, exit status
//!  fence ───┤  (a fence made and proven, without an agent)       │
//!  others ──┘  (containers of the person's own)                  └─▶ require: a policy's demands, refusals of `run`
//! ```
//!
//! Gathering has effects and no opinion; judging has opinions and no effects. A fact that could not
//! be learned is never taken for a good one: its row is `unknown`, and a demand on it is refused.

pub mod cves;
pub mod facts;
pub mod gather;
pub mod judge;
pub mod report;
pub mod require;
pub mod row;
pub mod version;
