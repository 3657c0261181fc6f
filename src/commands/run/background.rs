//! `ringfence run -d`: the start in the foreground, and a supervisor that stays.
//!
//! ```text
//!  ringfence run -d ─▶ starts itself again, in the same terminal ─▶ the whole start: questions, warnings, failures
//!        │ waits for one line                                              │ the agent runs
//!        ◀─────────────────────── the id ──────────────────────────────────┤
//!        └─▶ prints it, ends with 0                                        └─▶ a session of its own, no terminal
//! ```
//! A program that is started again, rather than a fork: threads and connections of this one go on
//! in no other. A start that fails never writes the line, and its exit status is this program's.

use std::os::unix::process::{ExitStatusExt, parent_id};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::supervisor::signals::{SIGINT, SIGQUIT, Signals, has_terminal};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// Variable that tells the program started again which process waits for it.
const VARIABLE: &str = "RINGFENCE_DETACHED_BY";
/// The longest line that is read: an id and its end.
const LINE: u64 = 64;

/// Tells whether this program is the supervisor that a waiting `ringfence run -d` has started.
pub(crate) fn is_supervisor() -> bool {
    let by = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<u32>().ok());
    by.is_some_and(|by| by == parent_id())
}

/// Starts the supervisor, waits until its agent runs, and prints the run's id.
///
/// # Errors
/// When this program cannot be started again. What the supervisor fails of it tells itself.
pub(crate) async fn start() -> Result<u8, Failure> {
    // A signal is the start's: it tidies up, and this program ends with its status.
    let mut signals = Signals::new()?;
    let mut child = spawn().map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot start the supervisor that -d leaves behind").caused_by(&error)
    })?;
    if let Some(id) = word_of(&mut child, &mut signals).await {
        return crate::term::print(&format!("{id}\n")).map(|()| 0);
    }
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            number = signals.next() => pass_on(&child, number),
        }
    };
    let status = status.map_err(|error| {
        Failure::new(COULD_NOT_RUN, "the supervisor's end cannot be seen").caused_by(&error)
    })?;
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number));
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(0) | None => Err(Failure::new(COULD_NOT_RUN, "the supervisor ended before its agent ran")),
        Some(code) => Ok(code),
    }
}

/// Starts this program again, with the same words. Its stdout is a pipe to this one.
fn spawn() -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, std::process::id().to_string())
        .stdout(Stdio::piped())
        .spawn()
}

/// Waits for the id; none where the pipe ends without one.
async fn word_of(child: &mut Child, signals: &mut Signals) -> Option<WorkflowId> {
    let mut output = BufReader::new(child.stdout.take()?.take(LINE));
    let mut line = String::new();
    loop {
        // What was read stays in the line when a signal comes first.
        tokio::select! {
            read = output.read_line(&mut line) => {
                read.ok()?;
                return line.strip_suffix('\n')?.parse().ok();
            }
            number = signals.next() => pass_on(child, number),
        }
    }
}

/// Passes a signal on. A terminal has sent its own to both.
fn pass_on(child: &Child, number: i32) {
    if matches!(number, SIGINT | SIGQUIT) && has_terminal() {
        return;
    }
    let child = child.id().and_then(|id| i32::try_from(id).ok());
    if let (Some(child), Ok(signal)) = (child, Signal::try_from(number)) {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(child), signal);
    }
}
