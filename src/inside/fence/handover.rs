//! Handing the sockets to the guard, and taking them out of service while no guard answers.
//!
//! ```text
//!  connect ─▶ line + sockets (SCM_RIGHTS) ─▶ `ready` ─▶ heartbeat … silence or end ─▶ shut ─▶ connect ─▶ open again ─▶ …
//! ```
//!
//! Open again comes before the line: a guard that says `ready` must be able to accept. Between the
//! two a connection waits in the backlog, as it does when the guard is busy; if no `ready` comes,
//! the sockets are shut again. A guard that fell silent is not asked again: it ends itself when it
//! wakes, and a new one has a new socket.

use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::sockets::FenceSockets;
use super::stop::{Stop, Woken};
use super::{failed, failure};
use crate::inside::output;
use crate::term::Failure;
use crate::wire::handover::Handover;

/// Time between two looks for a guard that is not there yet, and the time limit at the start.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks after a guard was lost: nobody waits for a start then, and a run may last
/// for hours.
const LOOK_LATER: Duration = Duration::from_millis(100);
/// Answer of a guard that serves.
const READY: &[u8] = b"ready\n";

/// Reason for which serving a guard, or the search for one, ended.
enum Ended {
    /// Somebody asked the fence to end.
    Stopped,
    /// The connection ended, or said something else than a guard does; what it was.
    Lost(String),
    /// The guard was silent for this long: it hangs.
    Silent(Duration),
}

/// Hands over again and again until it is told to end. Only the first guard has a time limit. A
/// guard that says nothing for as long as `silence` is given up.
pub(super) fn keep_handing_over(
    held: &FenceSockets,
    own: Ipv4Addr,
    guard: &Path,
    silence: Duration,
    stop: &Stop,
    mut handed_over: impl FnMut(),
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut served_once = false;
    let mut shut = false;
    let mut hung = None;
    loop {
        // The kernel connects to a listener whose program hangs, and the sockets would stand open
        // for nobody.
        let same_that_hung = hung.is_some() && hung == identity(guard);
        let connected =
            if same_that_hung { Err(ErrorKind::TimedOut.into()) } else { UnixStream::connect(guard) };
        let stream = match connected {
            Ok(stream) => stream,
            Err(error) => {
                if !served_once && begin.elapsed() > LOOK_LIMIT {
                    return Err(failed(format!("no guard at {}", guard.display()))(error));
                }
                match stop.wait(None, if served_once { LOOK_LATER } else { LOOK })? {
                    Woken::Stopped => return Ok(()),
                    _ => continue,
                }
            }
        };
        let this_one = identity(guard);
        if shut {
            held.open_again()?;
        }
        let ended = serve(held, own, stream, silence, stop, || {
            served_once = true;
            handed_over();
        })?;
        let why = match ended {
            Ended::Stopped => return Ok(()),
            Ended::Lost(why) => why,
            Ended::Silent(limit) => {
                hung = this_one;
                format!("silent for {} s", limit.as_secs())
            }
        };
        held.shut()?;
        shut = true;
        if !served_once {
            return Err(failure(format!("the guard did not take the sockets: {why}")));
        }
        output::complain(
            "fence",
            format_args!("the guard is lost ({why}): everything is refused until one returns"),
        );
    }
}

/// Returns the identity of the guard's listener: a guard that starts again makes a new one at the
/// same path.
fn identity(guard: &Path) -> Option<(u64, i64, i64)> {
    std::fs::metadata(guard).ok().map(|of| (of.ino(), of.ctime(), of.ctime_nsec()))
}

/// Serves one guard, from the line to its end.
fn serve(
    held: &FenceSockets,
    own: Ipv4Addr,
    mut stream: UnixStream,
    silence: Duration,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<Ended, Failure> {
    if let Err(error) = send(held, own, &stream) {
        return Ok(Ended::Lost(error.to_string()));
    }
    stream.set_nonblocking(true).map_err(failed("cannot wait for the guard"))?;
    let mut said = Vec::new();
    let mut ready = Some(ready);
    loop {
        let limit = if ready.is_some() { LOOK_LIMIT } else { silence };
        match stop.wait(Some(stream.as_fd()), limit)? {
            Woken::Stopped => return Ok(Ended::Stopped),
            Woken::TimedOut => return Ok(Ended::Silent(limit)),
            Woken::Readable => {}
        }
        let mut bytes = [0; 64];
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(Ended::Lost("it closed the connection".to_owned())),
            Ok(length) => said.extend_from_slice(bytes.get(..length).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(error) => return Ok(Ended::Lost(error.to_string())),
        }
        if said.starts_with(READY) {
            if let Some(ready) = ready.take() {
                ready();
            }
            said.truncate(READY.len());
        } else if !READY.starts_with(&said) {
            return Ok(Ended::Lost(format!("it said {:?} instead of ready", String::from_utf8_lossy(&said))));
        }
    }
}

/// Sends the line, with the sockets on its first byte.
fn send(held: &FenceSockets, own: Ipv4Addr, stream: &UnixStream) -> io::Result<()> {
    let handed = held.handed();
    let line = Handover { v: 1, own, sockets: handed.iter().map(|(name, _)| *name).collect() };
    let mut line = serde_json::to_vec(&line)?;
    line.push(b'\n');
    let sockets: Vec<_> = handed.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
    let sent = sendmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &[IoSlice::new(&line)],
        &[ControlMessage::ScmRights(&sockets)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    // A stream takes a line of this size whole; if not, half a line must not be taken for one.
    if sent == line.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}
