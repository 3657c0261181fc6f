//! What reaches the person's terminal.
//!
//! The ground floor: every other room may use it, and it uses none of them.
