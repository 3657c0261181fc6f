//! What runs reached and tried, from their decision logs.
//!
//! ```text
//!  a refusal ──remedy──▶ the line that would permit it
//! ```

pub(crate) mod remedy;
