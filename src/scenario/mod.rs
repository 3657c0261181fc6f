//! Agents under denial: what an agent does when the network is slow, broken or denied.
//!
//! ```text
//!  SCENARIO.yml ──read──▶ Scenario ─ for each case ─▶ run_case: a copy of the project, an ordinary `ringfence run`
//!                                                         │  conditions at their times, by the ways of `ringfence net`
//!                                                         ▼
//!                    results (table, JSON, JUnit) ◀── judge(Expectations, CaseOutcome) ── log, output, files
//! ```
//! A case is enforced by nothing of this room: the run does that, as for a person. What an agent
//! says, tries and leaves behind is its own word. It is bounded here, and escaped on its way out.

mod attempts;
mod capture;
mod conduct;
mod copy;
mod files;
pub(crate) mod golden;
mod judge;
pub(crate) mod junit;
mod log;
mod met;
mod outcome;
mod pattern;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod results;
pub(crate) mod run_case;
pub(crate) mod schema;
pub(crate) mod starter;
mod target;

#[cfg(test)]
mod tests;
