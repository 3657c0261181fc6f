//! Signatures of ssh servers, by which a server proves that a session is its own.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::wire::Fields;

/// Tells whether `signature` is one over `message` by the server whose key is `key`, both as ssh
/// writes them. An algorithm that is not known proves nothing.
pub(super) fn is_signed(key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    verified(key, signature, message).is_some()
}

fn verified(key: &[u8], signature: &[u8], message: &[u8]) -> Option<()> {
    let (mut key, mut signature) = (Fields::of(key), Fields::of(signature));
    let kind = key.text()?;
    let algorithm = signature.text()?;
    let signed = signature.string()?;
    signature.end()?;
    match (kind, algorithm) {
        ("ssh-ed25519", "ssh-ed25519") => {
            let point = key.string()?;
            key.end()?;
            UnparsedPublicKey::new(&ED25519, point).verify(message, signed).ok()
        }
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
            let fixed = fixed(signed, 32)?;
            let point = point(key, "nistp256")?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &fixed).ok()
        }
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
            let fixed = fixed(signed, 48)?;
            let point = point(key, "nistp384")?;
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, &fixed).ok()
        }
        ("ssh-rsa", "rsa-sha2-256" | "rsa-sha2-512") => {
            let (e, n) = (key.positive()?, key.positive()?);
            key.end()?;
            let with = match algorithm {
                "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                _ => &RSA_PKCS1_2048_8192_SHA512,
            };
            RsaPublicKeyComponents { n, e }.verify(with, message, signed).ok()
        }
        _ => None,
    }
}

/// Reads the point of a key on a curve.
fn point<'b>(mut key: Fields<'b>, curve: &str) -> Option<&'b [u8]> {
    if key.text()? != curve {
        return None;
    }
    let point = key.string()?;
    key.end()?;
    Some(point)
}

/// Writes the two numbers of a signature with so many bytes each.
fn fixed(signed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut fields = Fields::of(signed);
    let numbers = [fields.positive()?, fields.positive()?];
    fields.end()?;
    let mut fixed = Vec::with_capacity(2 * length);
    for number in numbers {
        fixed.resize(fixed.len() + length.checked_sub(number.len())?, 0);
        fixed.extend_from_slice(number);
    }
    Some(fixed)
}

#[cfg(test)]
pub(super) mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

    use super::super::wire::string;
    use super::*;

    /// An ssh server's key, with its public half as ssh writes it.
    pub(in crate::supervisor::ssh_agent) struct ServerKey {
        pair: Ed25519KeyPair,
        pub(in crate::supervisor::ssh_agent) public: Vec<u8>,
    }

    impl ServerKey {
        pub(in crate::supervisor::ssh_agent) fn new(seed: u8) -> ServerKey {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let public = [string(b"ssh-ed25519"), string(pair.public_key().as_ref())].concat();
            ServerKey { pair, public }
        }

        pub(in crate::supervisor::ssh_agent) fn sign(&self, message: &[u8]) -> Vec<u8> {
            [string(b"ssh-ed25519"), string(self.pair.sign(message).as_ref())].concat()
        }
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let (one, other) = (ServerKey::new(1), ServerKey::new(2));
        let signature = one.sign(b"session");
        assert!(is_signed(&one.public, &signature, b"session"));
        assert!(!is_signed(&one.public, &signature, b"another session"));
        assert!(!is_signed(&other.public, &signature, b"session"));
        for length in 0..signature.len() {
            assert!(!is_signed(&one.public, &signature[..length], b"session"));
        }
        assert!(!is_signed(&[&one.public[..], b"x"].concat(), &signature, b"session"));
    }

    #[test]
    fn a_signature_on_a_curve_is_read_as_ssh_writes_it() {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let kind = b"ecdsa-sha2-nistp256";
        let public = [string(kind), string(b"nistp256"), string(pair.public_key().as_ref())].concat();
        let number = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            string(&[&[0][..], &bytes[zeros..]].concat())
        };
        for message in [&b"one"[..], b"two", b"three"] {
            let signed = pair.sign(&random, message).unwrap();
            let (r, s) = signed.as_ref().split_at(32);
            let signature = [string(kind), string(&[number(r), number(s)].concat())].concat();
            assert!(is_signed(&public, &signature, message));
            assert!(!is_signed(&public, &signature, b"four"));
        }
    }
}
