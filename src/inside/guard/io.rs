//! Small pieces of input and output on connections that several parts hold.
//!
//! ```text
//!  bytes already read ──▶ Replay ──▶ hyper        and what hyper writes is counted on its way to the agent
//!  the connection ──────────┘
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::http::Begun;
use super::splice::Counts;

/// Time that a refused agent has to read the refusal.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes that a refused agent may still send before it is reset.
const FAREWELL_BYTES: usize = 64 * 1024;

/// Writes all bytes to a connection that others hold too.
pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what there is; nothing at the end.
pub(super) async fn read_some(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// Says that nothing more comes and gives the other side a moment to read and go: a close with
/// unread bytes would be a reset that overtakes what was said.
pub(crate) async fn drain(stream: &TcpStream) {
    if rustix::net::shutdown(stream, rustix::net::Shutdown::Write).is_err() {
        return;
    }
    let _ = tokio::time::timeout(FAREWELL, async {
        let mut left = FAREWELL_BYTES;
        let mut buffer = [0; 4096];
        while left > 0 {
            match read_some(stream, &mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
    })
    .await;
}

/// A connection whose first bytes were already read, counted as it is used.
pub(crate) struct Replay {
    start: Vec<u8>,
    given: usize,
    stream: Arc<TcpStream>,
    counts: Arc<Counts>,
    begun: Option<Begun>,
}

impl Replay {
    /// Wraps the connection as if `start` had not been read.
    pub(crate) fn new(start: Vec<u8>, stream: Arc<TcpStream>, counts: Arc<Counts>) -> Replay {
        Replay { start, given: 0, stream, counts, begun: None }
    }

    /// Notes when bytes come.
    pub(super) fn noting(self, begun: Begun) -> Replay {
        Replay { begun: Some(begun), ..self }
    }

    /// Returns the bytes that were read in advance and not asked for since.
    pub(super) fn into_unread(mut self) -> Vec<u8> {
        self.start.split_off(self.given)
    }

    /// Counts bytes of the agent that were handed on.
    fn came(&self, length: usize) {
        self.counts.out.fetch_add(length as u64, Ordering::Relaxed);
        if let Some(begun) = self.begun.as_ref().filter(|_| length > 0) {
            begun.note();
        }
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < self.start.len() {
            let length = buffer.remaining().min(self.start.len() - self.given);
            buffer.put_slice(&self.start[self.given..self.given + length]);
            self.given += length;
            if self.given == self.start.len() {
                (self.start, self.given) = (Vec::new(), 0);
            }
            self.came(length);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    self.came(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Replay {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write(bytes) {
                Ok(length) => {
                    self.counts.back.fetch_add(length as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Write).map_err(Into::into))
    }
}
