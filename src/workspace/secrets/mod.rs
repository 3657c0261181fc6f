//! What a secret looks like, where one is, and how one is handed over.

mod handed;
mod rules;
mod sent;
mod written;

pub use handed::Handed;
pub use rules::{Finding, Rules};
pub use sent::{Sent, check, is_secret_variable};
pub use written::without_secrets;
