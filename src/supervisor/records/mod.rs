//! Records that this machine keeps of its runs and of homes.

pub(crate) mod changes;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod homes;
pub(crate) mod output;
pub(crate) mod runs;
