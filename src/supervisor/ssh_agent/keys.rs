//! Keys of the person's agent that a run may use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest;

use super::wire::Fields;

/// Answer with a list of keys.
const IDENTITIES: u8 = 12;
/// Answer with a signature.
const SIGNED: u8 = 14;
/// Kinds of keys that a run may use. Others sign with SHA-1, or nobody knows how.
const KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
];
/// Algorithms of signatures that are passed on: none with SHA-1, whatever was asked for.
const ALGORITHMS: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
];
/// The most of a comment that is kept.
const LONGEST_COMMENT: usize = 100;

/// Keys, as ssh writes them, with the person's comments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(BTreeMap<Vec<u8>, String>);

impl Keys {
    /// Reads the answer of the person's agent: the keys of kinds that a run may use.
    pub(super) fn read(answer: &[u8]) -> Option<Keys> {
        let mut fields = Fields::of(answer);
        (fields.byte()? == IDENTITIES).then_some(())?;
        let mut all = BTreeMap::new();
        for _ in 0..fields.number()? {
            let (key, comment) = (fields.string()?, fields.string()?);
            let comment = String::from_utf8_lossy(comment).chars().take(LONGEST_COMMENT).collect();
            if Fields::of(key).text().is_some_and(|kind| KINDS.contains(&kind)) {
                all.insert(key.to_owned(), comment);
            }
        }
        Some(Keys(all))
    }

    /// Keeps the wanted keys alone.
    ///
    /// # Errors
    /// The first that is not there, by its file.
    pub(super) fn only(mut self, wanted: &[WantedKey]) -> Result<Keys, PathBuf> {
        if let Some(missing) = wanted.iter().find(|wanted| !self.0.contains_key(&wanted.key)) {
            return Err(missing.file.clone());
        }
        self.0.retain(|key, _| wanted.iter().any(|wanted| wanted.key == *key));
        Ok(self)
    }

    /// Writes the answer for an agent in a fence. Comments are the person's own: names of machines
    /// and paths.
    pub(super) fn answer(&self) -> Vec<u8> {
        let mut answer = vec![IDENTITIES];
        let number = |number: usize, answer: &mut Vec<u8>| {
            answer.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        };
        number(self.0.len(), &mut answer);
        for key in self.0.keys() {
            number(key.len(), &mut answer);
            answer.extend(key);
            number(0, &mut answer);
        }
        answer
    }

    /// Tells whether the run may use a key.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// Returns a key as a person knows it: by fingerprint and comment.
    pub(super) fn shown(&self, key: &[u8]) -> String {
        let fingerprint = STANDARD_NO_PAD.encode(digest::digest(&digest::SHA256, key));
        match self.0.get(key).filter(|comment| !comment.is_empty()) {
            Some(comment) => format!("{comment:?} (SHA256:{fingerprint})"),
            None => format!("SHA256:{fingerprint}"),
        }
    }

    /// Returns all keys as a person knows them.
    pub(super) fn all_shown(&self) -> Vec<String> {
        self.0.keys().map(|key| self.shown(key)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn of(keys: &[&[u8]]) -> Keys {
        Keys(keys.iter().map(|key| ((*key).to_owned(), "a comment".to_owned())).collect())
    }
}

/// Tells whether an answer is a signature that may be passed on.
pub(super) fn is_strong_signature(answer: &[u8]) -> bool {
    let mut fields = Fields::of(answer);
    let mut signature = match (fields.byte(), fields.string()) {
        (Some(SIGNED), Some(signature)) => Fields::of(signature),
        _ => return false,
    };
    fields.end().is_some() && signature.text().is_some_and(|algorithm| ALGORITHMS.contains(&algorithm))
}

/// A key that a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedKey {
    /// The file with its public half.
    pub(crate) file: PathBuf,
    /// The key, as ssh writes it.
    pub(crate) key: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::super::wire::string;
    use super::*;

    /// Writes a key of a kind.
    fn key(kind: &str, point: &[u8]) -> Vec<u8> {
        [string(kind.as_bytes()), string(point)].concat()
    }

    #[test]
    fn the_agent_sees_the_wanted_keys_without_comments() {
        let (one, two) = (key("ssh-ed25519", b"one"), key("ssh-rsa", b"two"));
        let answer = [
            &[IDENTITIES, 0, 0, 0, 2][..],
            &string(&one),
            &string(b"me@laptop"),
            &string(&two),
            &string(b"/home/me/.ssh/two"),
        ]
        .concat();
        let wanted = |key: &[u8]| WantedKey { file: "key.pub".into(), key: key.to_owned() };
        let keys = Keys::read(&answer).unwrap();
        assert!(keys.shown(&one).starts_with("\"me@laptop\" (SHA256:"), "{}", keys.shown(&one));
        assert_eq!(keys.all_shown().len(), 2);
        assert_eq!(Keys::read(&answer).unwrap().only(&[wanted(b"three")]), Err("key.pub".into()));
        let keys = keys.only(&[wanted(&two)]).unwrap();
        let seen = [&[IDENTITIES, 0, 0, 0, 1][..], &string(&two), &string(b"")].concat();
        assert_eq!((keys.answer(), keys.contains(&one)), (seen, false));
        for length in 0..answer.len() {
            assert_eq!(Keys::read(&answer[..length]), None);
        }
    }

    #[test]
    fn a_key_that_signs_with_sha_1_is_none_and_neither_is_such_a_signature() {
        let kinds = ["ssh-dss", "ssh-ed25519", "ssh-dss-cert-v01@openssh.com", "x"];
        let listed: Vec<u8> =
            kinds.iter().flat_map(|kind| [string(&key(kind, b"")), string(b"")].concat()).collect();
        let keys = Keys::read(&[&[IDENTITIES, 0, 0, 0, 4][..], &listed].concat()).unwrap();
        assert_eq!(keys.0.into_keys().collect::<Vec<_>>(), [key("ssh-ed25519", b"")]);
        let signed = |kind: u8, algorithm: &str| [vec![kind], string(&key(algorithm, b"x"))].concat();
        for (answer, is_passed) in [
            (signed(SIGNED, "ssh-ed25519"), true),
            (signed(SIGNED, "rsa-sha2-512"), true),
            (signed(SIGNED, "ssh-rsa"), false),
            (signed(SIGNED, "ssh-dss"), false),
            (signed(5, "ssh-ed25519"), false),
            (vec![5], false),
            (vec![], false),
            ([signed(SIGNED, "ssh-ed25519"), vec![0]].concat(), false),
        ] {
            assert_eq!(is_strong_signature(&answer), is_passed, "{answer:?}");
        }
    }
}
