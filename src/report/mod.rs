//! Account of what runs reached and tried, from their decision logs.
//!
//! ```text
//!  each log ──line by line──▶ RunReport (targets, rules, counts, timeline; bounded) ──┬─ words: text
//!  several runs ──newness──▶ what no run before had                                   ├─ data: JSON
//!  a refusal ──remedy──▶ the line that would permit it                                └─ page: one HTML file
//! ```
//! Everything in a log may be the agent's word. Nothing of it reaches a terminal or a page as it
//! is: control characters are written out first, markup is escaped by `maud`.

pub(crate) mod data;
mod newness;
pub(crate) mod page;
pub(crate) mod remedy;
pub(crate) mod run;
mod targets;
mod timeline;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub(crate) use self::newness::mark_new;
