//! The part of a carrier that moves its frames. Nothing moves while nobody polls it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use yamux::{Connection, ConnectionError, Mode};

use super::{CONVERSATIONS, Conversation, FRAME, agreed};

/// End of a carrier that nobody wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarrierError {
    /// The stream broke, or what came was no frame.
    #[error("the stream is broken")]
    Broken(#[from] ConnectionError),
    /// The other side opened a conversation, which is not its part.
    #[error("the other side opened a conversation, which it must not")]
    Unasked,
}

/// A conversation that is asked for.
type Request = oneshot::Sender<Conversation>;

/// Opens conversations, as long as the carrier's [`Driver`] is polled.
#[derive(Debug, Clone)]
pub(crate) struct Opener(mpsc::Sender<Request>);

impl Opener {
    /// Opens a conversation.
    ///
    /// # Errors
    /// When the carrier has ended.
    pub(crate) async fn open(&self) -> io::Result<Conversation> {
        let over = || io::Error::from(io::ErrorKind::NotConnected);
        let (send, opened) = oneshot::channel();
        self.0.send(send).await.map_err(|_| over())?;
        opened.await.map_err(|_| over())
    }
}

/// Conversations that the other side opened.
#[derive(Debug)]
pub(crate) struct Accepted(mpsc::Receiver<Conversation>);

impl Accepted {
    /// Returns the next one; none when the carrier has ended.
    pub(crate) async fn next(&mut self) -> Option<Conversation> {
        self.0.recv().await
    }
}

/// The part of this side.
enum Part {
    Opens { requests: mpsc::Receiver<Request>, waiting: Option<Request> },
    Accepts(mpsc::Sender<Conversation>),
}

/// Moves the frames of one carrier: a future that is done when the carrier has ended.
pub(crate) struct Driver<T> {
    connection: Connection<Compat<BufWriter<T>>>,
    part: Part,
}

/// Makes the side of a carrier that opens conversations.
pub(crate) fn opening<T: AsyncRead + AsyncWrite + Unpin>(stream: T) -> (Opener, Driver<T>) {
    let (send, requests) = mpsc::channel(CONVERSATIONS);
    (Opener(send), Driver::new(stream, Mode::Client, Part::Opens { requests, waiting: None }))
}

/// Makes the side of a carrier that accepts conversations.
pub(crate) fn accepting<T: AsyncRead + AsyncWrite + Unpin>(stream: T) -> (Accepted, Driver<T>) {
    let (send, accepted) = mpsc::channel(CONVERSATIONS);
    (Accepted(accepted), Driver::new(stream, Mode::Server, Part::Accepts(send)))
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    fn new(stream: T, mode: Mode, part: Part) -> Driver<T> {
        // A frame's head and body go out in one write.
        let stream = BufWriter::with_capacity(FRAME + 64, stream).compat();
        Driver { connection: Connection::new(stream, agreed(), mode), part }
    }

    /// Opens conversations that are asked for. Ready when nobody can ask any more and the carrier
    /// is closed.
    fn poll_requests(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        let Part::Opens { requests, waiting } = &mut self.part else { return Poll::Pending };
        loop {
            if waiting.is_none() {
                match requests.poll_recv(context) {
                    Poll::Ready(Some(request)) => *waiting = Some(request),
                    Poll::Ready(None) => {
                        return self.connection.poll_close(context).map_err(CarrierError::from);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.connection.poll_new_outbound(context) {
                Poll::Ready(Ok(stream)) => {
                    // The asker may have gone: the conversation ends with its value.
                    let opened = Conversation::new(stream);
                    if let Some(request) = waiting.take() {
                        drop(request.send(opened));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Result<(), CarrierError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(ended) = self.poll_requests(context) {
            return Poll::Ready(ended);
        }
        match self.connection.poll_next_inbound(context) {
            Poll::Ready(Some(Ok(stream))) => match &self.part {
                Part::Opens { .. } => Poll::Ready(Err(CarrierError::Unasked)),
                Part::Accepts(accepted) => {
                    // One too many is reset by the end of its value.
                    let _ = accepted.try_send(Conversation::new(stream));
                    // Conversations that have ended are noticed by their own tasks: let them.
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error.into())),
            Poll::Ready(None) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}
