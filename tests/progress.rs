//! Progress as a person sees it: on a terminal, after a second, and nowhere else. An engine that
//! says nothing is waited for.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The line, and how it goes.
const LINE: &str = "ringfence: waiting for the engine";
const ERASE: &str = "\u{1b}[2K";

/// An engine that takes a connection, says nothing for so long, and goes.
fn slow_engine(at: &Path, silent: Duration) {
    let listener = UnixListener::bind(at).expect("a socket");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::sleep(silent);
            drop(stream);
        }
    });
}

struct Seen {
    status: Option<i32>,
    stderr: String,
}

/// Runs `ringfence ps` on an engine that is silent for so long; stderr is a terminal or a pipe.
fn ps(silent: Duration, terminal: bool, words: &[&str], variables: &[(&str, &str)]) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    slow_engine(&socket, silent);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(words).arg("ps").env_clear().env("HOME", folder.path()).env("TERM", "xterm");
    command.env("DOCKER_HOST", format!("unix://{}", socket.display())).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if !terminal {
        let output = command.stderr(Stdio::piped()).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Seen { status: output.status.code(), stderr };
    }
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut child = command.stderr(pty.slave).spawn().expect("the program starts");
    // The command keeps the other end open.
    drop(command);
    let (mut master, mut screen, mut part) = (File::from(pty.master), Vec::new(), [0; 4096]);
    // A terminal whose last user has gone is an error, not an end.
    while let Ok(length @ 1..) = master.read(&mut part) {
        screen.extend_from_slice(part.get(..length).unwrap_or_default());
    }
    let status = child.wait().expect("it ends").code();
    Seen { status, stderr: String::from_utf8_lossy(&screen).into_owned() }
}

const LONG: Duration = Duration::from_millis(2500);

#[test]
fn a_terminal_shows_what_is_waited_for_and_clears_it_before_it_says_more() {
    let seen = ps(LONG, true, &[], &[]);
    assert_eq!(seen.status, Some(125), "{:?}", seen.stderr);
    let (before, after) = seen.stderr.rsplit_once(LINE).unwrap_or_else(|| panic!("{:?}", seen.stderr));
    assert!(!before.contains("because:"), "{before:?}");
    let (rest, failure) = after.rsplit_once(ERASE).unwrap_or_else(|| panic!("not cleared: {after:?}"));
    assert!(!rest.contains("because:") && failure.contains("because:"), "{after:?}");
}

#[test]
fn what_is_over_within_a_second_is_not_worth_a_word() {
    let seen = ps(Duration::from_millis(100), true, &[], &[]);
    assert!(!seen.stderr.contains(LINE) && !seen.stderr.contains('\u{1b}'), "{:?}", seen.stderr);
    assert!(seen.stderr.contains("because:"), "{:?}", seen.stderr);
}

#[test]
fn nothing_of_it_is_in_a_pipe_or_with_quiet_or_on_a_dumb_terminal() {
    for (terminal, words, variables) in [
        (false, &[][..], &[][..]),
        (true, &["--quiet"], &[]),
        (true, &["-q"], &[]),
        (true, &[], &[("TERM", "dumb")]),
    ] {
        let seen = ps(LONG, terminal, words, variables);
        assert!(
            !seen.stderr.contains(LINE) && !seen.stderr.contains('\u{1b}'),
            "{words:?} {:?}",
            seen.stderr
        );
        // Errors stay.
        assert!(seen.status == Some(125) && seen.stderr.contains("because:"), "{words:?} {:?}", seen.stderr);
    }
}
