//! The printer: the only room that writes to stdout and stderr.
//!
//! ```text
//!  print, print_json, …  ──▶ data ─────────────────────────────────────────────▶ stdout
//!  talk, talk_lines      ──▶ talk ──────────── unless --quiet ──┐
//!  warn(Warning)         ──▶ warning.rs: words ─ unless --quiet ─┼──▶ escaped ──▶ stderr
//!  Failure, essential    ──▶ errors, and what nobody may miss ──┘
//!  progress(what)        ──▶ one line that changes, on a terminal ────────────▶ stderr
//! ```
//! Text is escaped on its way out, whatever its source: no caller has to remember. A line of
//! progress is cleared before anything else is written, and while an agent has the screen there is
//! none.
//!
//! A supervisor that has left its caller has nobody on stderr: its talk goes into a file, with a
//! bound (`keep_talk`).
//!
//! A view that has the whole screen (`screen`) draws by itself; talk waits until it has ended.
//!
//! Diagnostics (`trace`) are talk that a person asks for.
//!
//! The agent's own output goes another way, unchanged (`supervisor/streams`). Programs in
//! containers write by `inside/output.rs`.
//!
//! The ground floor: every other room may use it, and it uses none of them.

mod data;
mod escape;
mod failure;
mod printer;
mod progress;
pub(crate) mod screen;
mod shell;
pub(crate) mod trace;
mod warning;

pub(crate) use self::data::{print, print_coloured, print_document, print_json};
pub(crate) use self::escape::{line, lines, page};
pub(crate) use self::failure::{COULD_NOT_RUN, Failure};
pub(crate) use self::printer::{
    ask, be_quiet, be_verbose, essential, essential_lines, is_verbose, keep_talk, renew_kept_talk,
    stdout_has_colours, stdout_has_title, talk, talk_lines, usage,
};
pub(crate) use self::progress::{Progress, leave_screen, progress, shows_progress};
pub(crate) use self::shell::in_shell;
pub(crate) use self::warning::{Finding, Warning, warn};
