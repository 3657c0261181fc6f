//! Words of closed lists, which later versions may lengthen.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest word.
const LONGEST: usize = 64;

/// A word that this version does not know: letters, digits, `-`, `_` and `.`, so that it can be
/// shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Word(String);

impl Word {
    /// Reads a word that is none of the known ones.
    pub(super) fn other_than<'de, D: Deserializer<'de>>(
        deserializer: D,
        known: &[&str],
    ) -> Result<Word, D::Error> {
        let word = Word::deserialize(deserializer)?;
        match known.contains(&word.as_ref()) {
            true => Err(serde::de::Error::custom("a known word with fields that do not fit")),
            false => Ok(word),
        }
    }
}

impl AsRef<str> for Word {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = (1..=LONGEST).contains(&text.len()) && text.chars().all(fits);
        good.then_some(Word(text)).ok_or_else(|| serde::de::Error::custom("this is no word"))
    }
}

/// A word of a closed list, or one that a later version added to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(crate) enum Known<T> {
    /// A word of the list.
    This(T),
    /// Another one.
    #[cfg_attr(test, schemars(skip))]
    Other(Word),
}

impl<T> From<T> for Known<T> {
    fn from(this: T) -> Known<T> {
        Known::This(this)
    }
}

impl<T> Known<T> {
    /// Returns the word, where this version knows it.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Known::This(this) => Some(this),
            Known::Other(_) => None,
        }
    }
}

impl<T: Serialize> fmt::Display for Known<T> {
    /// Writes the word as it stands in events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => f.pad(&word),
            _ => Err(fmt::Error),
        }
    }
}
