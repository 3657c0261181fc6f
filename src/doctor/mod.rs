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

pub(crate) mod cves;
pub(crate) mod facts;
pub(crate) mod gather;
pub(crate) mod judge;
pub(crate) mod known_holes;
pub(crate) mod report;
pub(crate) mod require;
pub(crate) mod row;
pub(crate) mod version;
