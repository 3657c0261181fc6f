//! Secrets: rules that recognize them, and the files in which they are handed over.

mod handed;
mod rules;
mod sent;
mod written;

pub use handed::Handed;
pub use rules::{Finding, Rules};
pub use sent::{Sent, check, is_secret_variable};
pub use written::without_secrets;
