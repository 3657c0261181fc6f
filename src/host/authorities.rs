//! Certificate authorities: this machine's own, and those of a file that a person names.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netpolicy::settings::Ca;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::open::{self, Refused};
use crate::term::{COULD_NOT_RUN, Failure};

/// The longest bundle that is read.
const LONGEST: u64 = 16 << 20;

/// Authorities.
pub(crate) type Certificates = Vec<CertificateDer<'static>>;

/// Reads the authorities that were asked for.
pub(crate) fn read(ca: &Ca) -> Result<Certificates, Failure> {
    match ca {
        Ca::System => of_this_machine(),
        Ca::File(file) => of_file(Path::new(file)),
    }
}

/// Reads the authorities that this machine trusts: the corporate one is among them where the
/// company installed it.
pub(crate) fn of_this_machine() -> Result<Certificates, Failure> {
    // The crate below follows them.
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let named = std::env::var_os(variable).filter(|path| !path.is_empty());
        if let Some(Err(refused @ Refused::Link(_))) = named.map(|path| open::resolve(Path::new(&path))) {
            let what = format!("{variable}: the certificate authorities there are not read");
            return Err(refused.explain(Failure::new(COULD_NOT_RUN, what)));
        }
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let mut failure =
            Failure::new(COULD_NOT_RUN, "this machine's store of certificate authorities is empty");
        failure.causes = found.errors.iter().map(ToString::to_string).collect();
        return Err(failure.hint("install the ca-certificates package, or name a file by SSL_CERT_FILE"));
    }
    Ok(found.certs)
}

fn of_file(path: &Path) -> Result<Certificates, Failure> {
    let cannot =
        || Failure::new(COULD_NOT_RUN, format!("--ca {}: no certificates to be had", path.display()));
    let text = open::read(path, LONGEST).map_err(|refused| refused.explain(cannot()))?;
    let certificates = parse(&text).map_err(|error| cannot().caused_by(&error))?;
    if certificates.is_empty() {
        return Err(cannot().hint(
            "the file must hold PEM: -----BEGIN CERTIFICATE-----; from DER: openssl x509 -inform der",
        ));
    }
    Ok(certificates)
}

/// Reads the certificates of a PEM text; a key that lies among them stays where it is.
pub(crate) fn parse(text: &[u8]) -> Result<Certificates, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

/// Certificates as PEM.
pub(crate) fn pem(certificates: &Certificates) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap();
        let failure = of_file(file.path()).unwrap_err();
        assert!(failure.hint.unwrap().contains("BEGIN CERTIFICATE"));
        assert!(of_file(Path::new("/nowhere/ca.pem")).unwrap_err().causes[0].contains("No such file"));
    }
}
