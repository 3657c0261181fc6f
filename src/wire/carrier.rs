//! Many conversations over one stream of bytes, such as the stdin and stdout of a program in a
//! container.
//!
//! ```text
//!  Opener ──open──▶ Conversation ═╗                        ╔═ Conversation ◀── Accepted
//!                   Conversation ═╬═▶ Driver ═ stream ═ Driver ═╬═ Conversation
//!                                  a window for each conversation: who does not read stops the other alone
//! ```
//! One side opens conversations and the other accepts them, never both: a conversation from the
//! side that only accepts ends the carrier. yamux makes frames and windows of it. What lies in
//! memory is bounded by the windows, whatever the other side sends.

mod conversation;
mod driver;
#[cfg(test)]
mod tests;

pub(crate) use self::conversation::Conversation;
pub(crate) use self::driver::{Accepted, CarrierError, Opener, accepting, opening};

/// Conversations that one side opens at once.
pub(crate) const CONVERSATIONS: usize = 256;
/// Conversations that a carrier bears. More than are opened: the other side may learn a moment
/// later that one has ended, and a carrier with too many ends as a whole.
const MOST: usize = 4 * CONVERSATIONS;
/// Bytes that a conversation may have under way: what yamux gives each of them.
const WINDOW: usize = yamux::DEFAULT_CREDIT as usize;
/// Bytes that the windows of all conversations together may grow by, towards a far engine.
const GROWTH: usize = 16 << 20;
/// The most that goes into one frame.
const FRAME: usize = 32 << 10;

/// Returns what both sides agree on.
fn agreed() -> yamux::Config {
    let mut config = yamux::Config::default();
    // In this order: the window may not be below what the conversations need.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(MOST);
    config.set_max_connection_receive_window(Some(MOST * WINDOW + GROWTH));
    config.set_split_send_size(FRAME);
    config
}
