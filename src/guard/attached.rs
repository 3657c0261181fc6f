//! Whether a supervisor is attached: it holds the guard's stdin open, by the engine, from before the guard's start until its own end.
//!
//! ```text
//!  supervisor ──attach──▶ engine ──pipe──▶ stdin   open: attached, whatever else the supervisor does or not   └─ ends: gone
//! ```
//! A supervisor that is stopped is attached all the same; one whose process or machine has gone is not, once the engine has noticed.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

const UNKNOWN: u8 = 0;
const ATTACHED: u8 = 1;
const GONE: u8 = 2;

/// What the guard knows of its supervisor.
#[derive(Debug, Clone, Default)]
pub struct Attached(Arc<AtomicU8>);

impl Attached {
    /// Whether one is attached; none where the guard cannot tell.
    pub fn now(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            word => Some(word == ATTACHED),
        }
    }

    /// Watches a pipe to its end. What is no pipe says nothing.
    pub fn watch(&self, stdin: impl AsFd) {
        let Ok(pipe) = stdin.as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd) else { return };
        self.0.store(ATTACHED, Ordering::Relaxed);
        tokio::spawn(to_the_end(pipe, self.clone()));
    }
}

/// Reads, and ignores, what comes.
async fn to_the_end(mut pipe: Receiver, attached: Attached) {
    let mut ignored = [0; 256];
    while pipe.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    attached.0.store(GONE, Ordering::Relaxed);
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
        attached.watch(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(attached.now(), None, "no pipe says nothing");
        let (reader, mut writer) = std::io::pipe().unwrap();
        attached.watch(&reader);
        writer.write_all(b"ignored").unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(attached.now(), Some(true));
        drop(writer);
        for _ in 0..500 {
            if attached.now() == Some(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the end was not noticed");
    }
}
