//! Network policies of ringfence.
//!
//! ```text
//!  YAML text ──parse──▶ Document ──resolve (extends, layers)──▶ Policy ──┬─ decide ──▶ Verdict (rule, file, line, reason)
//!  (bytes from a caller: this crate does no I/O)                          └─ VirtualNames + ruleset ──▶ nft rules as data
//! ```
pub mod policy;
