//! The corporate authorities: read here, merged with the image's own, and mounted read-only into
//! the agent.
//!
//! ```text
//!  --ca FILE | system ──▶ certificates ──┐
//!  the agent's image ──archive API──▶ its own bundle ──┴─▶ one bundle ──archive API──▶ volume ──▶ agent, and variables
//! ```
//! Never a bind mount: the engine may be on another machine. The volume is filled through the
//! fence's container before it runs; the agent has it read-only.

use std::collections::HashSet;
use std::io::Read;

use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt;
use netpolicy::settings::Ca;

use super::files::{self, File, upload};
use super::truststore;
use crate::host::authorities::{Certificates, parse, pem};
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::places::{BUNDLE, TRUSTSTORE};
use crate::supervisor::spec::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::handover::TRUST;

/// Places where images keep their own bundle: as files, since the archive API does not follow
/// links.
const IMAGE_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",   // older RHEL
    "/var/lib/ca-certificates/ca-bundle.pem", // SUSE
    "/etc/ssl/cert.pem",                  // Alpine without the package
];
/// The longest bundle that is read.
const LONGEST: u64 = 16 << 20;

/// The authorities that a run gets: the policy's, or its own where the policy names none. It may
/// repeat the policy's words and not change them, as one layer's to another.
pub(crate) fn of_run(given: Option<Ca>, policy: Option<&Ca>) -> Result<Option<Ca>, Failure> {
    let (Some(own), Some(set)) = (&given, policy) else { return Ok(given.or_else(|| policy.cloned())) };
    if own == set {
        return Ok(given);
    }
    let words = |ca: &Ca| match ca {
        Ca::System => "system".to_owned(),
        Ca::File(file) => file.clone(),
    };
    let message = format!("--ca {}: the policy sets container.ca to {} already", words(own), words(set));
    Err(Failure::new(COULD_NOT_RUN, message)
        .hint("leave --ca out; `ringfence policy show` says whose policy that is"))
}

/// Puts the bundle into the agent's volume: the image's own authorities, then the corporate ones.
/// An image without any gets this machine's, so that the public web stays as trusted as the
/// variables make it look.
pub(crate) async fn install(
    engine: &Engine,
    workflow: &Workflow,
    corporate: &Certificates,
) -> Result<(), Failure> {
    let mut all = of_image(engine, workflow).await?;
    if all.is_empty() {
        all = rustls_native_certs::load_native_certs().certs;
    }
    all.extend(corporate.iter().cloned());
    let all = distinct(all);
    let (bundle, store) = (pem(&all), truststore::jks(&all));
    let file = |name, content| File { name, content, mode: 0o644, owner: 0 };
    let archive = files::archive(&[file(BUNDLE, bundle.as_bytes()), file(TRUSTSTORE, &store)])?;
    upload(engine, &workflow.object(Role::Fence), TRUST, archive).await
}

/// Reads the authorities in the agent's image.
async fn of_image(engine: &Engine, workflow: &Workflow) -> Result<Certificates, Failure> {
    let agent = workflow.object(Role::Agent);
    for path in IMAGE_BUNDLES {
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let mut chunks = engine.api.download_from_container(&agent, Some(options)).boxed();
        let mut archive = Vec::new();
        let mut missing = false;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => archive.extend_from_slice(&chunk),
                Err(error) if engine::is_missing(&error) => {
                    missing = true;
                    break;
                }
                Err(error) => {
                    return Err(engine::refused(format!("cannot read {path} of the image"), &error));
                }
            }
            if archive.len() as u64 > LONGEST {
                return Err(Failure::new(COULD_NOT_RUN, format!("{path} of the image is too long")));
            }
        }
        if missing {
            continue;
        }
        // A link, or a file that is no PEM, has none; the next place may.
        let found = first_file(&archive).and_then(|text| parse(&text).ok()).unwrap_or_default();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Returns the first regular file of an archive.
fn first_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        if entry.header().entry_type().is_file() {
            let mut text = Vec::new();
            entry.by_ref().take(LONGEST).read_to_end(&mut text).ok()?;
            return Some(text);
        }
    }
    None
}

/// Returns each certificate once.
fn distinct(mut certificates: Certificates) -> Certificates {
    let mut seen = HashSet::new();
    certificates.retain(|certificate| seen.insert(certificate.as_ref().to_vec()));
    certificates
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn a_run_may_repeat_what_the_policy_sets_and_not_change_it() {
        let file = |name: &str| Ca::File(name.to_owned());
        assert_eq!(of_run(None, None).unwrap(), None);
        assert_eq!(of_run(None, Some(&Ca::System)).unwrap(), Some(Ca::System));
        assert_eq!(of_run(Some(file("/a")), None).unwrap(), Some(file("/a")));
        assert_eq!(of_run(Some(file("/a")), Some(&file("/a"))).unwrap(), Some(file("/a")));
        let refused = of_run(Some(file("/a")), Some(&Ca::System)).unwrap_err();
        assert_eq!(
            (refused.exit, refused.message.as_str()),
            (125, "--ca /a: the policy sets container.ca to system already")
        );
    }

    #[test]
    fn a_bundle_is_read_back_as_it_was_written_each_certificate_once() {
        let certificates: Certificates =
            [vec![7; 100], vec![9; 48], vec![7; 100]].into_iter().map(CertificateDer::from).collect();
        let text = pem(&distinct(certificates.clone()));
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
        assert_eq!(parse(text.as_bytes()).unwrap(), certificates[..2]);
    }
}
