//! Connections and requests, and what they cost the proxy between.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::NAME;
use super::world::BYTES;
use crate::load::processor_time;

/// Clients at once.
const CLIENTS: usize = 8;
/// Connections of one measurement: fewer than a guard dials at once, before its rate counts.
const CONNECTIONS: usize = 1900;
/// Requests of one measurement on kept connections.
const REQUESTS: usize = 40_000;
/// MiB of a stream.
const STREAM: u16 = 512;
/// Request on a connection whose bytes nobody reads between the ends.
pub(super) const MESSAGE: [u8; 100] = [b'M'; 100];
/// Answer to it.
pub(crate) const ANSWER: [u8; 100] = [b'A'; 100];
/// Answer to a request over HTTP.
pub(crate) const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n01234567890123456789";
/// Longest time that a step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    NewTls,
    NewHttp,
    KeptTls,
    KeptHttp,
    TlsDown,
    TlsUp,
    TcpDown,
    TcpUp,
}

impl Work {
    /// Connections and requests.
    pub(crate) const REQUESTS: [Work; 4] = [Work::NewTls, Work::NewHttp, Work::KeptTls, Work::KeptHttp];
    /// Streams.
    pub(crate) const STREAMS: [Work; 4] = [Work::TlsDown, Work::TlsUp, Work::TcpDown, Work::TcpUp];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Work::NewTls => "new TLS connections",
            Work::NewHttp => "new HTTP connections",
            Work::KeptTls => "TLS requests on kept connections",
            Work::KeptHttp => "HTTP requests on kept connections",
            Work::TlsDown => "one stream down, tls",
            Work::TlsUp => "one stream up, tls",
            Work::TcpDown => "one stream down, tcp",
            Work::TcpUp => "one stream up, tcp",
        }
    }

    fn port(self) -> u16 {
        match self {
            Work::NewHttp | Work::KeptHttp => 80,
            Work::TcpDown | Work::TcpUp => BYTES,
            _ => 443,
        }
    }

    fn is_stream(self) -> bool {
        Work::STREAMS.contains(&self)
    }

    /// Connections, and exchanges on each beyond the first.
    fn shape(self) -> (usize, usize) {
        match self {
            Work::NewTls | Work::NewHttp => (CONNECTIONS, 0),
            Work::KeptTls | Work::KeptHttp => (CLIENTS, REQUESTS / CLIENTS),
            _ => (1, 1),
        }
    }
}

/// Figures of one measurement: exchanges, or MiB, a second.
pub(crate) struct Figures {
    /// By the clock.
    pub(crate) by_clock: f64,
    /// Of the proxy's processor time: what one core gives that nobody else uses.
    pub(crate) by_core: Option<f64>,
}

/// The ClientHello for the name.
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| hello(NAME));

/// Makes a ClientHello for a name; none for a name that is none.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).ok();
    let mut bytes = Vec::new();
    if let (Ok(config), Some(name)) = (config, name)
        && let Ok(mut client) = rustls::ClientConnection::new(std::sync::Arc::new(config), name)
    {
        client.write_tls(&mut bytes).ok();
    }
    bytes
}

pub(crate) fn hello_length() -> usize {
    HELLO.len()
}

/// Does the work at an address; `proxy` is the process between.
pub(crate) fn run(work: Work, at: Ipv4Addr, proxy: Option<u32>) -> Result<Figures> {
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
        _ if work.is_stream() => f64::from(STREAM),
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
        let mut stream = TcpStream::connect((at, work.port())).await?;
        stream.set_nodelay(true)?;
        let mut answer = [0; 4096];
        match work.port() {
            80 => exchange_http(&mut stream, request.as_bytes(), &mut answer).await?,
            443 => greet(&mut stream).await?,
            _ => {}
        }
        if work.is_stream() {
            carry_stream(&mut stream, matches!(work, Work::TlsUp | Work::TcpUp)).await?;
            continue;
        }
        for _ in 0..more {
            if work.port() == 80 {
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

/// Sends a ClientHello, and reads the first bytes of the server.
async fn greet(stream: &mut TcpStream) -> Result<()> {
    let mut answer = [0; ANSWER.len()];
    stream.write_all(&HELLO).await?;
    stream.read_exact(&mut answer).await.context("no answer to the hello")?;
    ensure!(answer == ANSWER, "another answer: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Makes a TLS connection, and holds it open.
pub(crate) async fn open(at: Ipv4Addr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((at, 443)).await?;
    greet(&mut stream).await?;
    Ok(stream)
}

/// Makes TLS connections one after the other; the time of each to the server's first byte, in
/// microseconds.
pub(crate) fn first_bytes(at: Ipv4Addr, connections: usize) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bounded(client(Work::NewTls, at, 1, 0)))?;
    let mut times = Vec::with_capacity(connections);
    for _ in 0..connections {
        let began = Instant::now();
        runtime.block_on(async {
            let mut stream = TcpStream::connect((at, 443)).await?;
            greet(&mut stream).await?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            stream.set_zero_linger()?;
            anyhow::Ok(())
        })?;
    }
    Ok(times)
}

/// Asks for a stream and reads it, or sends one until the server has it all.
async fn carry_stream(stream: &mut TcpStream, up: bool) -> Result<()> {
    let mut message = MESSAGE;
    message[0] = if up { b'U' } else { b'S' };
    message[1..3].copy_from_slice(&STREAM.to_be_bytes());
    stream.write_all(&message).await?;
    let (mut left, mut buffer) = (usize::from(STREAM) << 20, vec![0; 1 << 18]);
    while left > 0 {
        let moved = if up {
            stream.write_all(&buffer).await?;
            buffer.len()
        } else {
            stream.read(&mut buffer).await?
        };
        ensure!(moved > 0, "the stream ends early");
        left = left.saturating_sub(moved);
    }
    if up {
        stream.read_exact(&mut buffer[..ANSWER.len()]).await.context("the server did not take all")?;
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
