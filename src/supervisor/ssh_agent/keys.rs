//! Keys of the person's agent that a run may use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::wire::Fields;

/// Answer with a list of keys.
const IDENTITIES: u8 = 12;
/// The most of a comment that is kept.
const LONGEST_COMMENT: usize = 100;

/// Keys, as ssh writes them, with the person's comments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(BTreeMap<Vec<u8>, String>);

impl Keys {
    /// Reads the answer of the person's agent.
    pub(super) fn read(answer: &[u8]) -> Option<Keys> {
        let mut fields = Fields::of(answer);
        (fields.byte()? == IDENTITIES).then_some(())?;
        let mut all = BTreeMap::new();
        for _ in 0..fields.number()? {
            let (key, comment) = (fields.string()?, fields.string()?);
            let comment = String::from_utf8_lossy(comment).chars().take(LONGEST_COMMENT).collect();
            all.insert(key.to_owned(), comment);
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

    /// Returns the comment of a key that the run may use.
    pub(super) fn comment(&self, key: &[u8]) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn of(keys: &[&[u8]]) -> Keys {
        Keys(keys.iter().map(|key| ((*key).to_owned(), "a comment".to_owned())).collect())
    }
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

    #[test]
    fn the_agent_sees_the_wanted_keys_without_comments() {
        let answer = [
            &[IDENTITIES, 0, 0, 0, 2][..],
            &string(b"one"),
            &string(b"me@laptop"),
            &string(b"two"),
            &string(b"/home/me/.ssh/two"),
        ]
        .concat();
        let wanted = |key: &[u8]| WantedKey { file: "key.pub".into(), key: key.to_owned() };
        let keys = Keys::read(&answer).unwrap();
        assert_eq!((keys.len(), keys.comment(b"one")), (2, Some("me@laptop")));
        assert_eq!(Keys::read(&answer).unwrap().only(&[wanted(b"three")]), Err("key.pub".into()));
        let keys = keys.only(&[wanted(b"two")]).unwrap();
        let seen = [&[IDENTITIES, 0, 0, 0, 1][..], &string(b"two"), &string(b"")].concat();
        assert_eq!((keys.answer(), keys.comment(b"one")), (seen, None));
        for length in 0..answer.len() {
            assert_eq!(Keys::read(&answer[..length]), None);
        }
    }
}
