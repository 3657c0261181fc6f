//! One conversation of a carrier: bytes both ways, an end each way, and a reset that is told from
//! an end.
//!
//! ```text
//!  length (2 bytes, big endian) bytes … │ length bytes … │ 0: the end of this direction
//! ```
//! yamux knows an end each way too. It does not tell it from a reset once this side has ended its
//! own direction, and says nothing to the other side when a conversation is dropped then. So the
//! end is a chunk without bytes, and yamux's own ends are resets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::FRAME;

/// Bytes of a chunk's length.
const HEAD: usize = 2;
/// The most bytes of one chunk: with its length it is one frame.
const CHUNK: usize = FRAME - HEAD;

/// State of the direction that comes in.
#[derive(Debug)]
enum Incoming {
    /// Some bytes of a chunk's length.
    Head([u8; HEAD], usize),
    /// So many bytes of a chunk are to come.
    Body(usize),
    /// The other side has ended its direction.
    Ended,
}

/// A conversation. Without an end both ways, dropping it resets it.
#[derive(Debug)]
pub(crate) struct Conversation {
    stream: yamux::Stream,
    incoming: Incoming,
    /// A chunk that is on its way into the stream, and how much of it has gone.
    outgoing: Vec<u8>,
    gone: usize,
    /// This side has ended its direction.
    has_ended: bool,
}

impl Conversation {
    pub(super) fn new(stream: yamux::Stream) -> Conversation {
        let incoming = Incoming::Head([0; HEAD], 0);
        Conversation { stream, incoming, outgoing: Vec::new(), gone: 0, has_ended: false }
    }

    /// Takes a chunk: it goes out as the stream takes it.
    fn stage(&mut self, bytes: &[u8]) {
        self.outgoing.clear();
        self.gone = 0;
        // No more than CHUNK bytes are staged.
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends what was staged.
    fn poll_staged(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.gone..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += sent;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads bytes of the stream, at least one.
    fn poll_some(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stream).poll_read(context, into))? {
            0 => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            read => Poll::Ready(Ok(read)),
        }
    }
}

impl AsyncRead for Conversation {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match this.incoming {
                Incoming::Ended => return Poll::Ready(Ok(())),
                Incoming::Head(mut head, have) => {
                    let read = ready!(this.poll_some(context, &mut head[have..]))?;
                    this.incoming = match have + read {
                        HEAD => match usize::from(u16::from_be_bytes(head)) {
                            0 => Incoming::Ended,
                            length => Incoming::Body(length),
                        },
                        have => Incoming::Head(head, have),
                    };
                }
                Incoming::Body(left) => {
                    let room = buffer.initialize_unfilled();
                    let room_length = room.len().min(left);
                    let read = ready!(this.poll_some(context, &mut room[..room_length]))?;
                    buffer.advance(read);
                    this.incoming = match left - read {
                        0 => Incoming::Head([0; HEAD], 0),
                        left => Incoming::Body(left),
                    };
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Conversation {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_staged(context))?;
        let taken = &bytes[..bytes.len().min(CHUNK)];
        if !taken.is_empty() {
            self.stage(taken);
            // What the stream does not take now goes before the next chunk.
            if let Poll::Ready(Err(error)) = self.poll_staged(context) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_staged(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_staged(context))?;
        if !self.has_ended {
            self.has_ended = true;
            self.stage(&[]);
        }
        ready!(self.poll_staged(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }
}
