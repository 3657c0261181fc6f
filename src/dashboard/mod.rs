//! The view of `ringfence ps --watch`: what is shown and what keys do, without effects.
//!
//! ```text
//!  lists, events, keys, answers ──Message──▶ Dashboard::update ──▶ Dashboard ──draw──▶ cells
//!                                                     └─ Effect: permit, stop, quit ──▶ commands/ps/watch
//! ```
//! Images choose their labels and agents choose the names that they ask for: a text becomes
//! `Shown` before it is kept, and nothing else of it is drawn. All that is kept has a bound.

mod draw;
mod keys;
mod refusals;
mod shown;
mod state;
#[cfg(test)]
mod tests;
mod update;
mod workflow;

pub(crate) use self::draw::draw;
pub(crate) use self::state::Dashboard;
pub(crate) use self::update::{Effect, MOST, Message};
pub(crate) use self::workflow::Listed;
