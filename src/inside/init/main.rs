//! The first program in an agent's container: it starts the agent once the fence says that every
//! cover is where it must be.
//!
//! ```text
//!  init ──its word──▶ fence ──paths──▶ init: what is there? ──device, inode──▶ fence: as the supervisor wrote them? ──its word──▶ init begins the agent
//! ```
//! The build compiles it by itself, static and with the standard library alone: nothing of the
//! image runs, or is loaded, before the word is there. Without the word it ends, and no instruction
//! of the agent ran. User, capabilities, filter of system calls, directory, terminal and signals
//! are those that the agent gets. The first process of a container stays beside the agent; any
//! other becomes it.

mod first;
mod kernel;
mod refusal;
mod word;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;

/// As in `src/wire/handover.rs`.
const SOCKET: &[u8] = b"ringfence-init";
/// The fence has said its word within this time, or never will: no word of a later time counts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit status that the supervisor takes for its own failure.
const NOT_STARTED: i32 = 125;

fn main() {
    // A signal that comes before the agent waits for it.
    let held = (std::process::id() == 1).then(kernel::hold_signals);
    let mut words = std::env::args_os().skip(1);
    let first = words.next().unwrap_or_default();
    // Where the container may start again, the words are drawn anew for each start, and lie in a
    // file that is empty once they were used.
    let (ask, go) = match first.as_bytes().starts_with(b"/") {
        true => words_in(Path::new(&first)),
        false => (first, words.next().unwrap_or_default()),
    };
    let Some(program) = words.next() else {
        eprintln!("ringfence: the image names no program and none was given");
        exit(NOT_STARTED);
    };
    if let Err(error) = word::await_word(SOCKET, ask.as_bytes(), go.as_bytes(), PATIENCE) {
        eprintln!(
            "ringfence: the agent was not started: nobody could say that every cover is in its place: {error}"
        );
        exit(NOT_STARTED);
    }
    let uid = own_uid();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(fault) = uid.zip(home).and_then(|(uid, home)| refusal::home_fault(&home, uid)) {
        eprintln!("ringfence: {fault}");
    }
    let mut command = Command::new(&program);
    command.args(words);
    let error = match held {
        Some(Ok(held)) => first::lead(command, held),
        Some(Err(error)) => error,
        None => command.exec(),
    };
    eprintln!("exec {} failed: {error}", program.to_string_lossy());
    if let Some(remedy) = uid.and_then(|uid| refusal::remedy(error.kind(), uid, &places_of(&program))) {
        eprintln!("ringfence: {remedy}");
    }
    exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
}

/// Reads both words from a file, a line each. Without them the fence says nothing.
fn words_in(file: &Path) -> (OsString, OsString) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().map(OsString::from);
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

/// Reads the user that this process, and so the agent, runs as.
fn own_uid() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Lists the places where a program is looked for.
fn places_of(program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(program)];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
}
