//! Digests as they stand in labels, events and `--expect-digest`.

use sha2::Digest;

/// Returns `sha256:` and 64 hexadecimal digits.
pub fn of(text: &str) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(text.as_bytes())))
}
