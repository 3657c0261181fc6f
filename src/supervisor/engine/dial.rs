//! Engines that are not on a socket of this machine: one HTTP client over streams that are opened
//! on demand and kept.
//!
//! ```text
//!  bollard ─▶ request ─▶ client, which keeps idle streams ─┬─▶ TCP, TLS      (tls.rs)
//!                                                          └─▶ ssh's pipes   (ssh.rs)
//! ```

use std::future::Future;
use std::io;
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

/// A stream to an engine.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being opened.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens streams to one engine.
pub trait Dial: Send + Sync + 'static {
    /// One more.
    fn dial(&self) -> Dialling;
}

/// Streams that lie idle longer are closed.
const IDLE: Duration = Duration::from_secs(30);

/// A client of the engine's API over what `dialer` opens.
pub fn client(
    dialer: impl Dial + Clone,
    timeout_seconds: u64,
    version: &ClientVersion,
) -> Result<Docker, ApiError> {
    let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(Connector(dialer));
    let transport = move |request: BollardRequest| {
        let client = client.clone();
        async move {
            let request = addressed(request)?;
            let answer: Response<Incoming> = client.request(request).await?;
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
