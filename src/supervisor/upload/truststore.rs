//! The agent's authorities as a Java program wants them: a JKS truststore, which every JVM reads.
//!
//! ```text
//!  magic, version, count ─┬─ entry: 2, alias, date, "X.509", DER ─┬─ … ─▶ SHA-1 over password, a phrase, and all of it
//! ```
//! PKCS#12 would be the younger form; a truststore in it needs a whole stack of encryption to say
//! the same public certificates. The digest protects nothing and is not meant to: Java refuses a
//! store without it.

use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

use crate::supervisor::spec::places::TRUSTSTORE_PASSWORD;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// The tag of an entry that holds a trusted certificate.
const TRUSTED: u32 = 2;
/// Sun's salt for the digest.
const PHRASE: &[u8] = b"Mighty Aphrodite";

/// Writes a truststore of these certificates.
pub(crate) fn jks(certificates: &[CertificateDer<'static>]) -> Vec<u8> {
    let mut store = Vec::new();
    let number = |store: &mut Vec<u8>, number: u32| store.extend_from_slice(&number.to_be_bytes());
    let text = |store: &mut Vec<u8>, text: &str| {
        store.extend_from_slice(&(text.len() as u16).to_be_bytes());
        store.extend_from_slice(text.as_bytes());
    };
    number(&mut store, MAGIC);
    number(&mut store, VERSION);
    number(&mut store, certificates.len() as u32);
    for (index, certificate) in certificates.iter().enumerate() {
        number(&mut store, TRUSTED);
        text(&mut store, &format!("authority-{index}"));
        // The date of the entry: always the same, so that the same authorities give the same store.
        store.extend_from_slice(&0u64.to_be_bytes());
        text(&mut store, "X.509");
        number(&mut store, certificate.len() as u32);
        store.extend_from_slice(certificate);
    }
    let mut digest = Sha1::new();
    for unit in TRUSTSTORE_PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(PHRASE);
    digest.update(&store);
    store.extend_from_slice(&digest.finalize());
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_what_keytool_reads() {
        let store = jks(&[CertificateDer::from(vec![0x30, 0x00])]);
        insta::assert_snapshot!(hex::encode(store), @"feedfeed000000020000000100000002000b617574686f726974792d3000000000000000000005582e353039000000023000ee598d5f9c11ea6a6acdccf31c833fefb0d88ddb");
    }
}
