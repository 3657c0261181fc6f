//! The web servers on the shared address: HTTPS with the testbed's own CA, and plain HTTP.
//!
//! Each request is kept with the SNI and the Host that it came with; [`super::gitlab`] answers it.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::addresses::{CORPORATE, FAKE, PROXY_INNER, SHARED};
use super::gitlab::GitLab;
use super::http::{Request, read_request, respond};
use super::netns::Netns;

pub use super::addresses::CORPORATE_NAME;

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
    PROXY_INNER,
];
/// HTTPS on a port that is not its own.
pub const TLS_ELSEWHERE: u16 = 8443;
/// HTTP on a port that is not its own.
pub const PLAIN_ELSEWHERE: u16 = 8080;
/// The authority that signs the testbed's certificates, kept between runs beside the images that
/// trust it.
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

    /// Reads the authority that no image trusts from `directory`, or makes it there.
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
