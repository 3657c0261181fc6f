//! The helper in the network of the engine's machine: it says which addresses are the machine's
//! own, and again when they change.
//!
//! ```text
//!  once ─────────────────────────────────────▶ {"table": …}
//!  kernel ──a notice──▶ read all ─▶ changed? ──▶ {"network": …}      supervisor gone (end of stdin) ─▶ end
//!  every BEAT ───────────────────────────────▶ "unchanged"
//! ```
//! It listens on nothing, has no capability, no volume and no root, and it obeys nobody. Its
//! silence tells that it is gone, so it speaks when nothing has changed, too.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::host::network_changes::BURST;
use crate::host::{connection_table, network};
use crate::inside::output;
use crate::term::Failure;
use crate::wire::host_network::Line;

/// The time between two lines.
const BEAT: u16 = 5000;
/// Everything is read again after this time, notice or not.
const ANEW: Duration = Duration::from_secs(60);

/// Says what the machine's network is, until nobody listens.
pub(crate) fn watch() -> Result<(), Failure> {
    let failed = |doing: &'static str| {
        move |error: std::io::Error| Failure::new(1, format!("host: {doing}")).caused_by(&error)
    };
    let say = |line: &Line| {
        let text = line.text().map_err(std::io::Error::other).map_err(failed("cannot write a line"))?;
        output::to_supervisor(&text).map_err(failed("nobody listens"))
    };
    if let Some(table) = connection_table::read() {
        say(&Line::Table(table))?;
    }
    // Before the first look, so that no change falls between.
    let notices = network::notices().map_err(failed("cannot hear of changes of the network"))?;
    let stdin = std::io::stdin();
    let (mut said, mut due, mut read_at) = (None, true, Instant::now());
    loop {
        let mut line = Line::Unchanged;
        if due || read_at.elapsed() >= ANEW {
            let now = network::read().map_err(failed("cannot list addresses and routes"))?;
            now.check().map_err(|error| Failure::new(1, "host: too much to say").caused_by(&error))?;
            read_at = Instant::now();
            if said.as_ref() != Some(&now) {
                said = Some(now.clone());
                line = Line::Network(now);
            }
        }
        say(&line)?;
        let mut waited =
            [PollFd::new(notices.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::from(BEAT)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(failed("cannot wait")(error.into())),
        }
        let happened = |index: usize| waited[index].any().unwrap_or(true);
        // Nobody ever writes: what can be read is the end.
        if happened(1) {
            return Ok(());
        }
        due = happened(0);
        if due {
            std::thread::sleep(BURST);
            notices.drain();
        }
    }
}
