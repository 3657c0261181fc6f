//! Interim responses (1xx): the server's to say, and passed on as they come.
//!
//! ```text
//!  server ──1xx──▶ hyper's callback ──▶ Interims ──between two responses──▶ agent
//!  hyper's own `100 Continue`, written as soon as it reads a body ──▶ left out
//! ```
//! hyper has no way to send an interim response. So they are written where hyper writes, at the one
//! place where that is between two messages: its buffer is empty, and the next response has not
//! begun. Requests wait for that place before they go to the server.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::forward_headers;

/// Response that hyper itself sends when the body of an expecting request is read.
const OWN_WORD: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The most that waits for an agent that does not read. What is over it is left out.
const WAITING: usize = 64 * 1024;

/// The interim responses of one connection that wait to be written.
#[derive(Clone, Default)]
pub(crate) struct Interims(Arc<Mutex<State>>);

struct State {
    waiting: Vec<u8>,
    /// Bytes of them that were written.
    written: usize,
    /// hyper's buffer is empty, and the next response has not begun.
    between: bool,
    /// The task of the connection.
    connection: Option<Waker>,
    /// The request that waits for the place between two responses.
    request: Option<Waker>,
}

impl Default for State {
    fn default() -> State {
        State { waiting: Vec::new(), written: 0, between: true, connection: None, request: None }
    }
}

impl Interims {
    /// Waits until everything before the response to come was written.
    pub(crate) async fn place(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.between {
                return Poll::Ready(());
            }
            state.request = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Passes the interim responses to a request on.
    pub(crate) fn relay<B>(&self, request: &mut Request<B>) {
        let interims = self.clone();
        hyper::ext::on_informational(request, move |response| {
            interims.push(response.status(), response.headers());
        });
    }

    fn push(&self, status: StatusCode, headers: &HeaderMap) {
        let mut headers = headers.clone();
        forward_headers(&mut headers, None);
        // Neither has a meaning without a body.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        let reason = status.canonical_reason().unwrap_or("Interim");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in &headers {
            head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        let mut state = self.state();
        if state.waiting.len() + head.len() <= WAITING {
            state.waiting.extend_from_slice(&head);
        }
        if let Some(connection) = state.connection.take() {
            connection.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's side of a connection, with interim responses between the others.
pub(crate) struct WithInterims<T> {
    inner: T,
    interims: Interims,
}

impl<T> WithInterims<T> {
    /// Writes these interim responses besides.
    pub(crate) fn new(inner: T, interims: Interims) -> WithInterims<T> {
        WithInterims { inner, interims }
    }

    /// Returns the connection itself.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncWrite + Unpin> WithInterims<T> {
    /// Writes what waits.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.interims.state();
        let state = &mut *state;
        while state.written < state.waiting.len() {
            let write = Pin::new(&mut self.inner).poll_write(context, &state.waiting[state.written..]);
            match ready!(write)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => state.written += length,
            }
        }
        (state.waiting, state.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WithInterims<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WithInterims<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.interims.state().between {
            ready!(self.poll_waiting(context))?;
            // No final response begins so: what hyper writes here first is its own word.
            if bytes.starts_with(OWN_WORD) {
                return Poll::Ready(Ok(OWN_WORD.len()));
            }
            self.interims.state().between = false;
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    /// Flushes: hyper asks for it when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let request = {
            let mut state = self.interims.state();
            state.between = true;
            state.connection = Some(context.waker().clone());
            state.request.take()
        };
        if let Some(request) = request {
            request.wake();
        }
        ready!(self.poll_waiting(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The body of a request, which ends where the server no longer wants it.
pub(crate) struct WantedBody {
    body: Option<Incoming>,
    wish: Wish,
}

/// Record whether a server still wants the body of a request that expects an answer before it sends
/// one. A server that answers without having asked for the body may take the bytes that follow for
/// another request.
#[derive(Clone, Default)]
pub(crate) struct Wish(Arc<Mutex<Wishes>>);

#[derive(Default)]
struct Wishes {
    ended: bool,
    over: bool,
    sender: Option<Waker>,
}

impl Wish {
    /// Returns the body, as long as the server wants it.
    pub(crate) fn of(&self, body: Incoming) -> WantedBody {
        WantedBody { body: Some(body), wish: self.clone() }
    }

    /// Sends no more of the body. `false` when all of it was sent before.
    pub(crate) fn end(&self) -> bool {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.over = !wishes.ended;
        if let Some(sender) = wishes.sender.take() {
            sender.wake();
        }
        wishes.over
    }
}

impl Body for WantedBody {
    type Data = hyper::body::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, hyper::Error>>> {
        let this = self.get_mut();
        let mut wishes = this.wish.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (false, Some(body)) = (wishes.over, &mut this.body) else {
            // The message stays unfinished, and so its connection of no further use.
            this.body = None;
            return Poll::Pending;
        };
        wishes.sender = Some(context.waker().clone());
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        wishes.ended = frame.is_none() || body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
