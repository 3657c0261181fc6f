//! What a secret looks like, and where one is.

mod rules;

pub use rules::{Finding, Rules};
