//! The web servers on the shared address: HTTPS with the testbed's own CA, and plain HTTP.
//!
//! Each request is kept with the SNI and the Host that it came with; [`super::gitlab`] answers it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::dns::{CORPORATE, FAKE, SHARED};
use super::gitlab::GitLab;
use super::netns::Netns;

/// The names in the servers' certificate.
const NAMES: [&str; 11] = [
    "gitlab.test",
    "a.test",
    "b.test",
    "plain.test",
    "model.test",
    "one.wild.test",
    "two.wild.test",
    "private.test",
    "fake.test",
    "wiki.corp.test",
    super::proxy::INNER,
];
/// The name in the certificate that the corporate authority signed.
pub const CORPORATE_NAME: &str = "corporate.test";
/// HTTPS on a port that is not its own.
pub const TLS_ELSEWHERE: u16 = 8443;
/// HTTP on a port that is not its own.
pub const PLAIN_ELSEWHERE: u16 = 8080;
/// The longest body taken.
const BODY_LIMIT: usize = 64 << 20;

/// The authority that signs the testbed's certificates, kept between runs beside the images that trust it.
pub struct Authority {
    /// Its certificate, for clients.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads it from `directory`, or makes it there.
    ///
    /// # Errors
    /// When files or keys are no good.
    pub fn load(directory: &Path) -> Result<Self> {
        Self::named(directory, "ca", "ringfence testbed")
    }

    /// The same for an authority that no image trusts.
    ///
    /// # Errors
    /// When files or keys are no good.
    pub fn load_corporate(directory: &Path) -> Result<Self> {
        Self::named(directory, "corporate-ca", "ringfence testbed, corporate")
    }

    fn named(directory: &Path, file: &str, name: &str) -> Result<Self> {
        let (certificate, key) =
            (directory.join(format!("{file}.pem")), directory.join(format!("{file}.key")));
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        if !certificate.exists() || !key.exists() {
            let pair = KeyPair::generate()?;
            std::fs::write(&key, pair.serialize_pem())?;
            std::fs::write(&certificate, params.self_signed(&pair)?.pem())?;
        }
        let pem = std::fs::read_to_string(&certificate)?;
        let pair = KeyPair::from_pem(&std::fs::read_to_string(&key)?)?;
        Ok(Self { pem, issuer: Issuer::new(params, pair) })
    }

    /// A server with a certificate for these names.
    pub(super) fn server_config(&self, names: &[&str]) -> Result<ServerConfig> {
        let pair = KeyPair::generate()?;
        let common = names.first().copied().unwrap_or_default();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common);
        let certificate = params.signed_by(&pair, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(config)
    }
}

/// One request that arrived.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The name in the ClientHello; none over plain HTTP.
    pub sni: Option<String>,
    /// The Host header.
    pub host: String,
    /// GET, POST, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What stands behind the question mark.
    pub query: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// 200, …
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The running servers.
#[derive(Debug, Clone, Default)]
pub struct Web {
    log: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// Starts both on the shared address.
    ///
    /// # Errors
    /// When a port cannot be bound or the certificate not be made.
    pub fn start(
        internet: &Netns,
        intranet: &Netns,
        (authority, corporate): (&Authority, &Authority),
        gitlab: GitLab,
    ) -> Result<Self> {
        let web = Self::default();
        let config = Arc::new(authority.server_config(&NAMES)?);
        let corporate = Arc::new(corporate.server_config(&[CORPORATE_NAME])?);
        let gitlab = Arc::new(gitlab);
        let bind =
            |address, port| TcpListener::bind((address, port)).with_context(|| format!("{address}:{port}"));
        let (tls, plain, other, fake) = internet.inside(|| {
            Ok((bind(SHARED, 443)?, bind(SHARED, 80)?, bind(CORPORATE, 443)?, bind(FAKE, 443)?))
        })?;
        let (tls_elsewhere, plain_elsewhere) =
            internet.inside(|| Ok((bind(SHARED, TLS_ELSEWHERE)?, bind(SHARED, PLAIN_ELSEWHERE)?)))?;
        // A server of the intranet that a policy may open with `private`.
        let inner = intranet.inside(|| bind("10.99.0.5", 443))?;
        for (listener, config) in [
            (tls, Some(config.clone())),
            (fake, Some(config.clone())),
            (tls_elsewhere, Some(config.clone())),
            (inner, Some(config)),
            (other, Some(corporate)),
            (plain, None),
            (plain_elsewhere, None),
        ] {
            let (web, gitlab) = (web.clone(), gitlab.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (web, gitlab, config) = (web.clone(), gitlab.clone(), config.clone());
                    thread::spawn(move || web.converse(stream, config, &gitlab));
                }
            });
        }
        Ok(web)
    }

    /// The requests so far.
    #[must_use]
    pub fn log(&self) -> Vec<Request> {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    fn converse(
        &self,
        mut stream: TcpStream,
        config: Option<Arc<ServerConfig>>,
        gitlab: &GitLab,
    ) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let Some(config) = config else { return self.serve(stream, None, gitlab) };
        let mut connection = ServerConnection::new(config)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let sni = connection.server_name().map(str::to_owned);
        self.serve(StreamOwned::new(connection, stream), sni, gitlab)
    }

    fn serve(&self, stream: impl Read + Write, sni: Option<String>, gitlab: &GitLab) -> Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(mut request) = read_request(&mut stream)? {
            request.sni.clone_from(&sni);
            if let Ok(mut log) = self.log.lock() {
                log.push(Request { body: Vec::new(), ..request.clone() });
            }
            let response = gitlab.answer(&request);
            let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            respond(stream.get_mut(), &request, &response)?;
            if close {
                break;
            }
        }
        Ok(())
    }
}

/// Writes an answer.
pub(super) fn respond(output: &mut impl Write, request: &Request, response: &Response) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    output.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        output.write_all(&response.body)?;
    }
    Ok(output.flush()?)
}

/// Reads a request; none at the connection's end.
pub(super) fn read_request<S: Read + Write>(stream: &mut BufReader<S>) -> Result<Option<Request>> {
    let first = read_line(stream)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().context("no target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request =
        Request { method, path: path.to_owned(), query: query.to_owned(), ..Request::default() };
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.host = request.header("host").unwrap_or_default().to_owned();
    if request.header("expect").is_some() {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.get_mut().flush()?;
    }
    if request.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let line = read_line(stream)?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            read_body(stream, size, &mut request.body)?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse()?;
        read_body(stream, length, &mut request.body)?;
    }
    Ok(Some(request))
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.by_ref().take(64 << 10).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn read_body(stream: &mut impl Read, length: usize, body: &mut Vec<u8>) -> Result<()> {
    if body.len() + length > BODY_LIMIT {
        bail!("body too long");
    }
    let start = body.len();
    body.resize(start + length, 0);
    Ok(stream.read_exact(&mut body[start..])?)
}
