//! Secrets: rules that recognize them, and the files in which they are handed over.

mod handed;
mod rules;
mod sent;
mod written;

pub(crate) use handed::Handed;
pub(crate) use rules::{Finding, Rules};
pub(crate) use sent::{Sent, check, is_secret_variable};
pub(crate) use written::without_secrets;
