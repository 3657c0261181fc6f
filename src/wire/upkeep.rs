//! Words about a carrier itself, where a helper opens its conversations and a supervisor accepts
//! them.
//!
//! ```text
//!  helper: the first conversation ── READY ──▶ supervisor
//!                                 ◀── a beat, again and again ── silence: the supervisor is gone
//! ```

use std::time::Duration;

/// Says that the helper takes connections.
pub(crate) const READY: u8 = b'+';
/// Says that the supervisor lives on.
pub(crate) const BEAT: u8 = b'.';
/// Time between two beats.
pub(crate) const BEATS: Duration = Duration::from_secs(10);
/// Silence after which a helper takes its supervisor for gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
