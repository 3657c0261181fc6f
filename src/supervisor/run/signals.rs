//! The signals that a run passes on to its agent.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::error::{COULD_NOT_RUN, Failure};

pub(super) const SIGINT: i32 = 2;

pub(super) fn signal_name(number: i32) -> &'static str {
    match number {
        1 => "HUP",
        SIGINT => "INT",
        3 => "QUIT",
        _ => "TERM",
    }
}

/// The signals that are passed on to the agent.
pub(super) struct Signals {
    send: mpsc::UnboundedSender<i32>,
    received: mpsc::UnboundedReceiver<i32>,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let (send, received) = mpsc::unbounded_channel();
        for number in [1, SIGINT, 3, 15] {
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
        Ok(Signals { send, received })
    }

    /// Has a signal noticed again, by the next who waits.
    pub(super) fn again(&self, number: i32) {
        // The receiver is this very value's.
        let _ = self.send.send(number);
    }

    pub(super) async fn next(&mut self) -> i32 {
        match self.received.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}
