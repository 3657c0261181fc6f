//! Presence of a supervisor: it holds the guard's stdin open, by the engine, from before the
//! guard's start until its own end.
//!
//! ```text
//!  supervisor ──attach──▶ engine ──pipe──▶ stdin   open: attached   lines: what it says of the agent's end   └─ ends: gone
//! ```
//! A supervisor that is stopped is attached all the same; one whose process or machine has gone is
//! not, once the engine has noticed.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

use crate::wire::control::FromSupervisor;
use crate::wire::event::AgentEnded;

const UNKNOWN: u8 = 0;
const ATTACHED: u8 = 1;
const GONE: u8 = 2;
/// The longest line that a supervisor says.
const LONGEST: u64 = 4096;

/// Message of a supervisor, or its end.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// The supervisor tells how the agent ended.
    Ended(AgentEnded),
    /// The supervisor is gone.
    Gone,
}

/// The guard's knowledge of its supervisor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attached(Arc<AtomicU8>);

impl Attached {
    /// Tells whether a supervisor is attached. Returns nothing when the guard cannot tell.
    pub(crate) fn now(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            word => Some(word == ATTACHED),
        }
    }

    /// Listens to a pipe to its end. What is no pipe says nothing.
    pub(crate) fn watch(&self, stdin: impl AsFd, hear: impl Fn(Heard) + Send + 'static) {
        let Ok(pipe) = stdin.as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd) else { return };
        self.0.store(ATTACHED, Ordering::Relaxed);
        tokio::spawn(to_the_end(pipe, self.clone(), hear));
    }
}

/// Reads what comes, and ignores what is no line for the guard.
async fn to_the_end(pipe: Receiver, attached: Attached, hear: impl Fn(Heard)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while (&mut pipe).take(LONGEST).read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        if let Ok(FromSupervisor::AgentEnded(ended)) = serde_json::from_slice(&line) {
            hear(Heard::Ended(ended));
        }
        line.clear();
    }
    attached.0.store(GONE, Ordering::Relaxed);
    hear(Heard::Gone);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_the_pipe_is_the_end_of_the_supervisor() {
        let attached = Attached::default();
        assert_eq!(attached.now(), None);
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hear = || {
            let heard = Arc::clone(&heard);
            move |word| heard.lock().unwrap().push(word)
        };
        attached.watch(std::fs::File::open("/dev/null").unwrap(), hear());
        assert_eq!(attached.now(), None, "no pipe says nothing");
        let (reader, mut writer) = std::io::pipe().unwrap();
        attached.watch(&reader, hear());
        let ended = AgentEnded { how: crate::wire::event::How::Exited.into(), exit_status: Some(3) };
        writer.write_all(b"ignored\n{\"agent-ended\":7}\n").unwrap();
        writer.write_all(&FromSupervisor::AgentEnded(ended.clone()).line()).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(attached.now(), Some(true));
        drop(writer);
        for _ in 0..500 {
            if attached.now() == Some(false) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert_eq!(*heard.lock().unwrap(), [Heard::Ended(ended), Heard::Gone]);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the end was not noticed");
    }
}
