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

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;

/// As in `src/wire/handover.rs`.
const SOCKET: &[u8] = b"ringfence-init";
const PATIENCE: Duration = Duration::from_secs(20);
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
    if let Err(error) = await_word(ask.as_bytes(), go.as_bytes()) {
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

/// Shows the fence what is at each place, and waits for its word. `ask` tells the fence that this
/// is the agent's first program, and `go` tells this program that the fence has spoken: services in
/// the same network could reach the socket, or have taken its name.
fn await_word(ask: &[u8], go: &[u8]) -> io::Result<()> {
    let address = SocketAddr::from_abstract_name(SOCKET)?;
    let mut fence = UnixStream::connect_addr(&address)?;
    fence.set_read_timeout(Some(PATIENCE))?;
    fence.set_write_timeout(Some(PATIENCE))?;
    fence.write_all(&[ask, b"\n"].concat())?;
    let mut places = Vec::new();
    let mut buffer = [0; 4096];
    // An empty path ends the list.
    while !places.ends_with(b"\0\0") {
        let length = fence.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        places.extend_from_slice(&buffer[..length]);
    }
    let mut found = String::new();
    for place in places.split(|byte| *byte == 0).filter(|place| !place.is_empty()) {
        match look(Path::new(OsStr::from_bytes(place))) {
            Ok((device, inode)) => found.push_str(&format!("{device} {inode}\n")),
            Err(error) => found.push_str(&format!("{}\n", error.to_string().replace('\n', " "))),
        }
    }
    fence.write_all(found.as_bytes())?;
    let mut word = Vec::new();
    fence.read_to_end(&mut word)?;
    if !go.is_empty() && word == [go, b"\n"].concat() {
        Ok(())
    } else {
        Err(io::Error::other("the fence found a cover out of its place"))
    }
}

/// Returns device and inode of the file at a path that no link leads through.
fn look(place: &Path) -> io::Result<(u64, u64)> {
    if place.canonicalize()? != place {
        return Err(io::Error::other("a link leads there"));
    }
    let found = place.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}
