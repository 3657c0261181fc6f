//! An engine on a port with TLS: its certificate must be right, and it may ask for ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{HostPort, TlsFiles};
use super::dial::{Dial, Dialling, Stream};
use crate::host::authorities;
use crate::host::open;

/// A machine that does not answer must not take the system's two minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The largest file of certificates that is read.
const LARGEST: u64 = 16 << 20;

/// Opens encrypted connections to one engine.
#[derive(Clone)]
pub(crate) struct Tls {
    at: HostPort,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Tls {
    /// Reads the certificates.
    pub(crate) fn new(at: HostPort, files: &TlsFiles) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let authorities = match &files.ca {
            Some(path) => certificates(path)?,
            None => authorities::of_this_machine().map_err(|failure| failure.message)?,
        };
        roots.add_parsable_certificates(authorities);
        if roots.is_empty() {
            return Err("no authority's certificate can be read, so nobody can be trusted".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let configuration = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let shown = key.display().to_string();
                let text = open::read(key, LARGEST).map_err(|refused| format!("{shown}: {refused}"))?;
                let key =
                    PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("{shown}: {error}"))?;
                builder.with_client_auth_cert(certificates(cert)?, key).map_err(|error| error.to_string())?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), None) => return Err(format!("{} has no key.pem beside it", cert.display())),
            (None, Some(key)) => return Err(format!("{} has no cert.pem beside it", key.display())),
        };
        let name = ServerName::try_from(at.host.clone()).map_err(|error| error.to_string())?;
        Ok(Tls { at, name, connector: TlsConnector::from(Arc::new(configuration)) })
    }
}

impl Dial for Tls {
    fn dial(&self) -> Dialling {
        let Tls { at, name, connector } = self.clone();
        Box::pin(async move {
            let connecting = async {
                let plain = TcpStream::connect((at.host.as_str(), at.port)).await?;
                plain.set_nodelay(true)?;
                connector.connect(name, plain).await
            };
            match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
                Ok(stream) => Ok(Box::new(stream?) as Box<dyn Stream>),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let text = open::read(path, LARGEST).map_err(|refused| format!("{shown}: {refused}"))?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{shown}: {error}"))?;
    if all.is_empty() { Err(format!("{shown}: there is no certificate in it")) } else { Ok(all) }
}
