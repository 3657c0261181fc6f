//! The signals that a run passes on to its agent.

pub(crate) mod interrupt;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::host::signals::is_ignored;
use crate::term::{COULD_NOT_RUN, Failure};

/// A terminal's end.
pub(crate) const SIGHUP: i32 = 1;
/// Ctrl-C.
pub(crate) const SIGINT: i32 = 2;
/// Ctrl-\.
pub(crate) const SIGQUIT: i32 = 3;
/// A request to end.
pub(crate) const SIGTERM: i32 = 15;

/// The name by which an engine sends a signal on.
pub(crate) fn signal_name(number: i32) -> &'static str {
    match number {
        SIGHUP => "HUP",
        SIGINT => "INT",
        SIGQUIT => "QUIT",
        _ => "TERM",
    }
}

/// Returns the exit status of a program that a signal ended.
pub(crate) fn status_of_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

/// The signals that are passed on to the agent.
pub(crate) struct Signals {
    send: mpsc::UnboundedSender<i32>,
    received: mpsc::UnboundedReceiver<i32>,
    /// Tells whether there was a terminal to be hung up.
    had_terminal: bool,
    /// Tells whether hang-ups are nobody's any more.
    has_left: bool,
}

impl Signals {
    /// Listens from now on. HUP that was ignored from the start stays so: that is what `nohup` is
    /// for. A shell starts background jobs with INT ignored; a person who sends INT to such a run
    /// means the agent, as with docker.
    pub(crate) fn new() -> Result<Self, Failure> {
        let (send, received) = mpsc::unbounded_channel();
        for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            if number == SIGHUP && is_ignored(number) {
                continue;
            }
            let mut stream: Signal = signal(SignalKind::from_raw(number)).map_err(|error| {
                Failure::new(COULD_NOT_RUN, "cannot listen for signals").caused_by(&error)
            })?;
            let send = send.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if send.send(number).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Signals { send, received, had_terminal: has_terminal(), has_left: false })
    }

    /// Listens to no signal.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let (send, received) = mpsc::unbounded_channel();
        Signals { send, received, had_terminal: false, has_left: false }
    }

    /// Tells whether a signal wants the run to end: TERM, and HUP where it says that the terminal
    /// has gone. A HUP from somebody is the agent's.
    pub(super) fn is_an_end(&self, number: i32) -> bool {
        number == SIGTERM || number == SIGHUP && self.had_terminal && !has_terminal()
    }

    /// Leaves the terminal: from now on a hang-up is neither the run's end nor the agent's.
    pub(super) fn leave_terminal(&mut self) {
        (self.had_terminal, self.has_left) = (false, true);
    }

    /// Has a signal noticed again, by the next who waits.
    pub(crate) fn again(&self, number: i32) {
        // The receiver is this very value's.
        let _ = self.send.send(number);
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> i32 {
        loop {
            match self.received.recv().await {
                Some(SIGHUP) if self.has_left => {}
                Some(number) => return number,
                None => std::future::pending().await,
            }
        }
    }
}

/// Tells whether this program has a terminal that it is controlled by.
pub(crate) fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
