//! Digests as they stand in labels, events and `--expect-digest`.

use std::fmt::Write;

use sha2::Digest;

/// `sha256:` and 64 hexadecimal digits.
pub fn of(text: &str) -> String {
    let mut digest = String::from("sha256:");
    for byte in sha2::Sha256::digest(text.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}
