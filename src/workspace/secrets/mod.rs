//! What a secret looks like, where one is, and how one is handed over.

mod handed;
mod rules;
mod sent;

pub use handed::Handed;
pub use rules::{Finding, Rules};
pub use sent::{Sent, check};
