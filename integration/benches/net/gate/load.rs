//! Connections and requests, and what they cost the proxy between.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::NAME;
use crate::load::processor_time;

/// Clients at once.
const CLIENTS: usize = 8;
/// Connections of one measurement: fewer than a guard dials at once, before its rate counts.
const CONNECTIONS: usize = 1900;
/// Requests of one measurement on kept connections.
const REQUESTS: usize = 40_000;
/// Bytes of the stream.
pub(super) const STREAM: usize = 1 << 30;
/// Request on a connection whose bytes nobody reads between the ends.
pub(super) const MESSAGE: [u8; 100] = [b'M'; 100];
/// Answer to it.
pub(super) const ANSWER: [u8; 100] = [b'A'; 100];
/// Answer to a request over HTTP.
pub(super) const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n01234567890123456789";
/// Longest time that a step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    NewTls,
    NewHttp,
    KeptTls,
    KeptHttp,
    Stream,
}

impl Work {
    pub(super) const ALL: [Work; 5] =
        [Work::NewTls, Work::NewHttp, Work::KeptTls, Work::KeptHttp, Work::Stream];

    pub(super) fn title(self) -> &'static str {
        match self {
            Work::NewTls => "new TLS connections a second",
            Work::NewHttp => "new HTTP connections a second",
            Work::KeptTls => "TLS requests a second, kept connections",
            Work::KeptHttp => "HTTP requests a second, kept connections",
            Work::Stream => "one stream, MiB a second",
        }
    }

    fn is_http(self) -> bool {
        matches!(self, Work::NewHttp | Work::KeptHttp)
    }

    /// Connections, and exchanges on each beyond the first.
    fn shape(self) -> (usize, usize) {
        match self {
            Work::NewTls | Work::NewHttp => (CONNECTIONS, 0),
            Work::KeptTls | Work::KeptHttp => (CLIENTS, REQUESTS / CLIENTS),
            Work::Stream => (1, 1),
        }
    }
}

/// Figures of one measurement: exchanges, or MiB, a second.
pub(super) struct Figures {
    /// By the clock.
    pub(super) by_clock: f64,
    /// Of the proxy's processor time: what one core gives that nobody else uses.
    pub(super) by_core: Option<f64>,
}

/// A ClientHello for the name.
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let name = rustls::pki_types::ServerName::try_from(NAME).ok();
    let mut bytes = Vec::new();
    if let (Ok(config), Some(name)) = (config, name)
        && let Ok(mut client) = rustls::ClientConnection::new(std::sync::Arc::new(config), name)
    {
        client.write_tls(&mut bytes).ok();
    }
    bytes
});

pub(super) fn hello_length() -> usize {
    HELLO.len()
}

/// Does the work at an address; `proxy` is the process between.
pub(super) fn run(work: Work, at: Ipv4Addr, proxy: Option<u32>) -> Result<Figures> {
    ensure!(!HELLO.is_empty(), "there is a ClientHello");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The first connection of a proxy looks the name up.
    runtime.block_on(bounded(client(Work::NewTls, at, 1, 0)))?;
    let (connections, exchanges) = work.shape();
    let clients = CLIENTS.min(connections);
    let spent = proxy.map(processor_time).transpose()?;
    let began = Instant::now();
    runtime.block_on(async {
        let all = (0..clients).map(|_| bounded(client(work, at, connections / clients, exchanges)));
        all_done(all).await
    })?;
    let took = began.elapsed().as_secs_f64();
    let spent = match (proxy, spent) {
        (Some(pid), Some(before)) => Some((processor_time(pid)? - before).as_secs_f64()),
        _ => None,
    };
    let done = match work {
        Work::Stream => (STREAM >> 20) as f64,
        _ => (connections / clients * clients * exchanges.max(1)) as f64,
    };
    Ok(Figures { by_clock: done / took, by_core: spent.map(|spent| done / spent) })
}

async fn all_done<F>(all: impl Iterator<Item = F>) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut set = tokio::task::JoinSet::new();
    all.for_each(|one| _ = set.spawn(one));
    while let Some(done) = set.join_next().await {
        done??;
    }
    Ok(())
}

async fn bounded(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(PATIENCE, work).await.context("a client stands still")?
}

/// Makes connections one after the other; on each, one exchange and some more.
async fn client(work: Work, at: Ipv4Addr, connections: usize, more: usize) -> Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    for _ in 0..connections {
        let port = if work.is_http() { 80 } else { 443 };
        let mut stream = TcpStream::connect((at, port)).await?;
        stream.set_nodelay(true)?;
        let mut answer = [0; 4096];
        if work.is_http() {
            exchange_http(&mut stream, request.as_bytes(), &mut answer).await?;
        } else {
            stream.write_all(&HELLO).await?;
            stream.read_exact(&mut answer[..ANSWER.len()]).await.context("no answer to the hello")?;
            ensure!(answer[..ANSWER.len()] == ANSWER, "another answer");
        }
        if work == Work::Stream {
            take_stream(&mut stream).await?;
            continue;
        }
        for _ in 0..more {
            if work.is_http() {
                exchange_http(&mut stream, request.as_bytes(), &mut answer).await?;
            } else {
                stream.write_all(&MESSAGE).await?;
                stream.read_exact(&mut answer[..ANSWER.len()]).await?;
            }
        }
        // A reset: thousands of ports that wait would slow down the last measurements.
        stream.set_zero_linger()?;
    }
    Ok(())
}

async fn take_stream(stream: &mut TcpStream) -> Result<()> {
    let mut message = MESSAGE;
    message[0] = b'S';
    stream.write_all(&message).await?;
    let (mut left, mut buffer) = (STREAM, vec![0; 1 << 18]);
    while left > 0 {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "the stream ends early");
        left = left.saturating_sub(read);
    }
    Ok(())
}

/// Sends a request and reads its answer to the end of the body.
async fn exchange_http(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> Result<()> {
    stream.write_all(request).await?;
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).await?;
        ensure!(read > 0, "no whole answer: {}", String::from_utf8_lossy(&buffer[..held]));
        held += read;
        if buffer[..held].ends_with(b"01234567890123456789") {
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..held]));
            return Ok(());
        }
    }
}
