//! The internet's encrypted resolvers: DNS over TLS and DNS over HTTPS, each with a log of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::dns::{ADDRESS, Dns};
use super::netns::Netns;
use super::web::Authority;

pub use super::addresses::ENCRYPTED_DNS_NAME as NAME;

/// The path of the one over HTTPS.
pub const PATH: &str = "/dns-query";

/// The running servers.
#[derive(Debug, Clone)]
pub struct EncryptedDns {
    /// Port 853.
    pub tls: Dns,
    /// Port 443.
    pub https: Dns,
}

impl EncryptedDns {
    /// Starts both where the plain one is.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(internet: &Netns, authority: &Authority) -> Result<Self> {
        let servers = Self { tls: Dns::default(), https: Dns::default() };
        let bind = |port| TcpListener::bind((ADDRESS, port)).with_context(|| format!("{ADDRESS}:{port}"));
        let (tls, https) = internet.inside(|| Ok((bind(853)?, bind(443)?)))?;
        let config = Arc::new(authority.server_config(&[NAME])?);
        let dns = servers.tls.clone();
        thread::spawn(move || {
            for stream in tls.incoming().flatten() {
                let (dns, config) = (dns.clone(), config.clone());
                thread::spawn(move || over_tls(stream, config, &dns));
            }
        });
        let mut config = authority.server_config(&[NAME])?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let dns = servers.https.clone();
        thread::spawn(move || over_https(https, Arc::new(config), dns));
        Ok(servers)
    }
}

fn over_tls(mut stream: TcpStream, config: Arc<ServerConfig>, dns: &Dns) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut connection = ServerConnection::new(config)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let mut stream = StreamOwned::new(connection, stream);
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question)?;
        let answer = dns.answer(&question).context("no question")?;
        let mut message = u16::try_from(answer.len())?.to_be_bytes().to_vec();
        message.extend_from_slice(&answer);
        stream.write_all(&message)?;
        stream.flush()?;
    }
}

fn over_https(listener: TcpListener, config: Arc<ServerConfig>, dns: Dns) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(converse(stream, acceptor.clone(), dns.clone()));
        }
    })
}

async fn converse(
    stream: tokio::net::TcpStream,
    acceptor: tokio_rustls::TlsAcceptor,
    dns: Dns,
) -> Result<()> {
    let mut connection = h2::server::handshake(acceptor.accept(stream).await?).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(answer(request, respond, dns.clone()));
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    dns: Dns,
) -> Result<()> {
    let right = request.uri().path() == PATH && request.uri().host() == Some(NAME);
    let mut body = request.into_body();
    let mut question = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        question.extend_from_slice(&part);
    }
    let answer = dns.answer(&question).filter(|_| right);
    let status = if answer.is_some() { 200 } else { 400 };
    let answer = answer.unwrap_or_default();
    let response = http::Response::builder()
        .status(status)
        .header("content-type", "application/dns-message")
        .header("content-length", answer.len())
        .body(())?;
    respond.send_response(response, false)?.send_data(answer.into(), true)?;
    Ok(())
}
