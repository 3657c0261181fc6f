//! Bytes from one connection to the other without a copy through this process.
//!
//! ```text
//!  agent ──splice──▶ pipe ──splice──▶ server        an end becomes shutdown(Write) on the other side,
//!  agent ◀──splice── pipe ◀──splice── server        an error becomes a reset of both
//! ```

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What one splice may take.
const CHUNK: usize = 1 << 20;
/// The pipe of a connection that carries much.
const WIDE: usize = 1 << 20;
/// Bytes after which a connection carries much.
const MUCH: u64 = 1 << 20;

/// Bytes of a connection, counted as they pass.
#[derive(Debug, Default)]
pub struct Counts {
    /// From the agent.
    pub out: AtomicU64,
    /// To the agent.
    pub back: AtomicU64,
}

impl Counts {
    /// Both together: changes while anything moves.
    pub fn sum(&self) -> u64 {
        self.out.load(Ordering::Relaxed).wrapping_add(self.back.load(Ordering::Relaxed))
    }
}

/// Carries both directions until both have ended. On an error both connections are set to be reset.
pub async fn both(agent: &TcpStream, server: &TcpStream, counts: &Counts) -> io::Result<()> {
    let moved = tokio::try_join!(one(agent, server, &counts.out), one(server, agent, &counts.back));
    if moved.is_err() {
        let _ = agent.set_zero_linger();
        let _ = server.set_zero_linger();
    }
    moved.map(|_| ())
}

/// Carries one direction to its end.
async fn one(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let wide = Cell::new(false);
    loop {
        // The pipe is empty here, so only the connection can be what is waited for.
        let taken = from.async_io(Interest::READABLE, || push(from, &entry)).await?;
        if taken == 0 {
            return rustix::net::shutdown(to, Shutdown::Write).or_else(gone_already);
        }
        let mut left = taken;
        while left > 0 {
            left -= to.async_io(Interest::WRITABLE, || pull(&exit, to, left)).await?;
        }
        let before = count.fetch_add(taken as u64, Ordering::Relaxed);
        if before > MUCH && !wide.replace(true) {
            // Over the user's share of pipe memory it stays narrow.
            let _ = fcntl_setpipe_size(&entry, WIDE);
        }
    }
}

/// From the connection into the pipe.
fn push(from: &TcpStream, entry: &OwnedFd) -> io::Result<usize> {
    Ok(splice(from, None, entry, None, CHUNK, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
}

/// From the pipe into the connection.
fn pull(exit: &OwnedFd, to: &TcpStream, left: usize) -> io::Result<usize> {
    match splice(exit, None, to, None, left, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        moved => Ok(moved),
    }
}

/// An end that nobody is there to hear of is no error.
fn gone_already(error: rustix::io::Errno) -> io::Result<()> {
    if error == rustix::io::Errno::NOTCONN { Ok(()) } else { Err(error.into()) }
}

#[cfg(test)]
pub mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    pub async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn half_close_passes_and_the_other_half_goes_on() {
        let (mut agent, near) = pair().await;
        let (far, mut server) = pair().await;
        let task = tokio::spawn(async move {
            let counts = Counts::default();
            both(&near, &far, &counts).await.map(|()| counts)
        });
        agent.write_all(b"question").await.unwrap();
        agent.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        let long = vec![7; 5 << 20];
        let (written, read) = tokio::join!(
            async {
                server.write_all(&long).await.unwrap();
                server.shutdown().await.unwrap();
            },
            async {
                let mut all = Vec::new();
                agent.read_to_end(&mut all).await.unwrap();
                all
            }
        );
        let () = written;
        assert!(read == long);
        let counts = task.await.unwrap().unwrap();
        assert_eq!(counts.out.into_inner(), 8);
        assert_eq!(counts.back.into_inner(), 5 << 20);
    }

    #[tokio::test]
    async fn a_reset_passes() {
        let (mut agent, near) = pair().await;
        let (far, server) = pair().await;
        let task = tokio::spawn(async move { both(&near, &far, &Counts::default()).await });
        server.set_zero_linger().unwrap();
        drop(server);
        let error = agent.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(task.await.unwrap().is_err());
    }
}
