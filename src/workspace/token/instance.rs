//! Asking a GitLab instance, as its tokens' owner.
//!
//! ```text
//!  name ─▶ this machine's resolver ─▶ TCP ─┐
//!       └▶ the policy's proxy: CONNECT ────┴─▶ TLS (this machine's authorities, --ca) ─▶ one request, one answer
//! ```

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use netpolicy::settings::Proxy;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time limit of one question.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer.
const LONGEST: usize = 1 << 20;

/// Reason for which an instance could not be asked. Never has the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// No server answers there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The server's certificate is not one that it should have.
    #[error("TLS with {0}: {1}")]
    Tls(String, String),
    /// The server's answer is none of GitLab's.
    #[error("its answer cannot be read: {0}")]
    Answer(String),
    /// The server does not answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// Address of an instance, and the way to it.
pub(crate) struct Instance {
    /// Name of the host.
    pub(crate) host: String,
    /// Port of the host.
    pub(crate) port: u16,
    /// The path below which its API lies, without a slash at its end.
    pub(crate) path: String,
    /// The policy's proxy, and `user:password` for it.
    pub(crate) proxy: Option<(Proxy, Option<String>)>,
    /// Authorities that may have issued the instance's certificate.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
}

impl Instance {
    /// Returns the instance's name, with its port unless that is the usual one.
    pub(crate) fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Sends one request with a header that carries the token; returns status and body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        header: (&str, &str),
    ) -> Result<(StatusCode, Bytes), AskError> {
        tokio::time::timeout(PATIENCE, self.converse(method, path, header))
            .await
            .map_err(|_| AskError::Silent)?
    }

    async fn converse(
        &self,
        method: Method,
        path: &str,
        (name, value): (&str, &str),
    ) -> Result<(StatusCode, Bytes), AskError> {
        let unreadable = |error: &dyn std::fmt::Display| AskError::Answer(error.to_string());
        let mut secret = hyper::header::HeaderValue::from_str(value)
            .map_err(|_| AskError::Answer("the token has letters that no header may carry".to_owned()))?;
        secret.set_sensitive(true);
        let host = self.authority();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header("host", host)
            .header("accept", "application/json")
            .header("user-agent", concat!("ringfence/", env!("CARGO_PKG_VERSION")))
            .header(name, secret)
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreadable(&error))?;
        let stream = self.tls().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreadable(&error))?;
        let driving = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| unreadable(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        driving.abort();
        Ok((status, body.map_err(|error| unreadable(&error))?.to_bytes()))
    }

    async fn tls(&self) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, AskError> {
        let failed = |error: &dyn std::fmt::Display| AskError::Tls(self.host.clone(), error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| failed(&error))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(&error))?;
        let stream = self.tcp().await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed(&error))
    }

    async fn tcp(&self) -> Result<Box<dyn Stream>, AskError> {
        let Some((proxy, credentials)) = &self.proxy else {
            return Ok(Box::new(connect(&self.host, self.port).await?));
        };
        let server = proxy.server.to_string();
        let failed = |error: &dyn std::fmt::Display| AskError::Unreachable(server.clone(), error.to_string());
        let stream = connect(server.trim_matches(['[', ']']), proxy.port).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        tokio::spawn(connection.with_upgrades());
        let target = format!("{}:{}", self.host, self.port);
        let mut request = Request::builder().method(Method::CONNECT).uri(&target).header("host", &target);
        if let Some(credentials) = credentials {
            request =
                request.header("proxy-authorization", format!("Basic {}", STANDARD.encode(credentials)));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if !answer.status().is_success() {
            return Err(failed(&format!("the proxy answered {}", answer.status())));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| failed(&error))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(host: &str, port: u16) -> Result<TcpStream, AskError> {
    TcpStream::connect((host, port))
        .await
        .map_err(|error| AskError::Unreachable(format!("{host}:{port}"), error.to_string()))
}
