//! Duties of the first process of a container: it takes the ends of programs whose
//! parents are gone, hands signals on, and gives the terminal to the agent.
//!
//! ```text
//!  engine ─ signal ─▶ first process ─ the same ─▶ agent, in a group of its own, in the terminal's foreground
//!                        ◀─ SIGCHLD ─ agent ends ─▶ its status, or 128 and its signal
//! ```
//! No engine's init does that: a program of the engine's would begin before this one, at a place
//! that the image or a mount can lead elsewhere.

use std::ffi::c_int;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, exit};

use super::kernel::{self, SignalSet};

/// Status of a program that a signal has ended, less the signal's number.
const BY_SIGNAL: i32 = 128;

/// Begins a program and ends with its status; returns why it could not begin. `held`: the signals
/// that are held back in the program, since all are in this one.
pub(crate) fn lead(mut command: Command, held: SignalSet) -> io::Error {
    kernel::begin_apart(&mut command, held);
    let child = match command.spawn() {
        Ok(child) => child.id() as c_int,
        Err(error) => return error,
    };
    loop {
        match kernel::next_signal() {
            Ok(kernel::SIGCHLD) => {
                // Signals of the same number that wait are one.
                while let Some((ended, status)) = kernel::ended_child() {
                    if ended == child {
                        exit(code(status));
                    }
                }
            }
            Ok(signal) => kernel::send(child, signal),
            // Another interruption of the wait.
            Err(_) => {}
        }
    }
}

/// Returns what a shell would say of a status.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal)).unwrap_or(BY_SIGNAL)
}
