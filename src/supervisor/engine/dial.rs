//! One HTTP client for all engines, over streams that are opened on demand. Each call is a span.
//!
//! ```text
//!  bollard ─▶ request ─▶ client ─┬─▶ a socket or port of this machine, a stream for each call
//!                                ├─▶ TCP, TLS      (tls.rs)   streams that lie idle are kept
//!                                └─▶ ssh's pipes   (ssh.rs)
//! ```

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::http::uri::PathAndQuery;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Response, Uri, body::Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::calls;
use crate::term::trace;

/// A stream to an engine.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being opened.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens streams to one engine.
pub(crate) trait Dial: Send + Sync + 'static {
    /// One more.
    fn dial(&self) -> Dialling;

    /// Tells whether an idle stream is worth keeping: where another one costs time.
    fn keeps_idle(&self) -> bool {
        true
    }
}

/// A socket of this machine.
#[derive(Clone)]
pub(crate) struct Socket(pub(crate) PathBuf);

impl Dial for Socket {
    fn dial(&self) -> Dialling {
        let path = self.0.clone();
        Box::pin(async move { Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>) })
    }

    fn keeps_idle(&self) -> bool {
        false
    }
}

/// A port, in the clear.
#[derive(Clone)]
pub(crate) struct Port(pub(crate) String);

impl Dial for Port {
    fn dial(&self) -> Dialling {
        let at = self.0.clone();
        Box::pin(async move { Ok(Box::new(TcpStream::connect(at).await?) as Box<dyn Stream>) })
    }

    fn keeps_idle(&self) -> bool {
        false
    }
}

/// Streams that lie idle longer are closed.
const IDLE: Duration = Duration::from_secs(30);

/// A client of the engine's API over what `dialer` opens.
pub(crate) fn client(
    dialer: impl Dial + Clone,
    timeout_seconds: u64,
    version: &ClientVersion,
) -> Result<Docker, ApiError> {
    let most_idle = if dialer.keeps_idle() { usize::MAX } else { 0 };
    let mut builder = Client::builder(TokioExecutor::new());
    let client = builder.pool_idle_timeout(IDLE).pool_max_idle_per_host(most_idle).build(Connector(dialer));
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        async move {
            let request = addressed(request)?;
            let call = trace::call(calls::name(request.method(), request.uri().path()));
            let answer: Response<Incoming> = client.request(request).await?;
            call.answered(answer.status().as_u16());
            Ok(answer)
        }
    };
    Docker::connect_with_custom_transport(transport, Some("http://engine"), timeout_seconds, version)
}

/// Addresses a request to the one name that all requests carry, as docker's client does: the dialer
/// knows the engine's address.
fn addressed(request: BollardRequest) -> Result<BollardRequest, ApiError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::builder().scheme("http").authority("engine").path_and_query(path).build()?;
    Ok(BollardRequest::from_parts(parts, body))
}

/// The dialer as the client wants it.
#[derive(Clone)]
struct Connector<D>(D);

impl<D: Dial> tower_service::Service<Uri> for Connector<D> {
    type Response = Carried;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Carried>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialling = self.0.dial();
        Box::pin(async move { Ok(Carried(TokioIo::new(dialling.await?))) })
    }
}

/// A stream as the client wants it.
struct Carried(TokioIo<Box<dyn Stream>>);

impl Connection for Carried {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Carried {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Carried {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
