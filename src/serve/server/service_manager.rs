//! The service manager that began this program, if one did: the socket that it hands over, and what
//! it is told.

use std::env;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::term::{COULD_NOT_RUN, Failure};

/// Takes the socket that was handed over.
///
/// # Errors
/// When there are several, or it is no stream socket of this machine.
pub(crate) fn handed() -> Result<Option<UnixListener>, Failure> {
    let said = |name: &str| env::var(name).unwrap_or_default();
    let (count, process) = (said("LISTEN_FDS"), said("LISTEN_PID"));
    // Descriptors of another program's: these words were left in the environment.
    if process != std::process::id().to_string() || count == "0" {
        return Ok(None);
    }
    if count != "1" {
        let what = format!("the service manager hands over {} sockets", crate::term::line(&count));
        return Err(Failure::new(COULD_NOT_RUN, what).hint("name one in the unit: ListenStream=PATH"));
    }
    ListenFd::from_env().take_unix_listener(0).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "the service manager hands over no unix stream socket")
            .caused_by(&error)
            .hint("name a path in the unit: ListenStream=%t/ringfence/docker.sock")
    })
}

/// Tells what is done before clients are served.
pub(crate) fn status(words: &str) {
    tell(&[NotifyState::Status(&crate::term::line(words))]);
}

/// Tells that clients are served.
pub(crate) fn ready(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&crate::term::line(words))]);
}

/// Tells that nobody is served any more.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("coming to an end")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        crate::term::talk(format_args!("cannot tell the service manager how it stands: {error}"));
    }
}
