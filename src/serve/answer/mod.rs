//! Answers for clients, made of the engine's and of ringfence's own facts.

pub(crate) mod asked;
pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod labels;
pub(crate) mod networks;
pub(crate) mod others;
pub(crate) mod shown;
#[cfg(test)]
mod tests;
