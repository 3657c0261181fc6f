//! The first program in an agent's container (`src/inside/init`), as this build carries it.

use std::fmt;

use serde::{Deserialize, Serialize};

include!(concat!(env!("OUT_DIR"), "/init.rs"));

/// The program, where this build has one.
pub(crate) const PROGRAM: Option<&[u8]> = INIT;
/// Beginning of the program's path in a container.
const BEGINNING: &str = "/.ringfence-";
/// End of the path of its words.
const WORDS: &str = "-words";
/// Digits between them.
const DIGITS: usize = 32;

/// Places of the first program and of its words in one container: directly below `/`, at names that
/// are drawn. No link of an image and no mount that somebody asks for leads from or to what nobody
/// can foresee. That holds for one start: the program that it begins sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InitPlace(String);

impl InitPlace {
    /// Draws one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(crate) fn random() -> std::io::Result<InitPlace> {
        Ok(InitPlace(format!("{BEGINNING}{}", word()?)))
    }

    /// Reads a path of a program; none for one of another program.
    pub(crate) fn read(path: &str) -> Option<InitPlace> {
        (begins(path) && path.len() == BEGINNING.len() + DIGITS).then(|| InitPlace(path.to_owned()))
    }

    /// Returns the program's path.
    pub(crate) fn program(&self) -> &str {
        &self.0
    }

    /// Returns the path of the words of a container that may start again.
    pub(crate) fn words(&self) -> String {
        format!("{}{WORDS}", self.0)
    }
}

/// Tells whether a command line is, by its path, the first program's.
pub(crate) fn begins(command: &str) -> bool {
    let digits = command.strip_prefix(BEGINNING).and_then(|rest| rest.get(..DIGITS));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Takes the places of first programs out of a text: who knows one could mount something there.
pub(crate) fn without_places(text: &str) -> String {
    let mut parts = text.split(BEGINNING);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(BEGINNING.trim_end_matches('-'));
        kept.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()));
    }
    kept
}

fn word() -> std::io::Result<String> {
    let mut bytes = [0u8; DIGITS / 2];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

/// Words by which the fence and the agent's first program know each other. Services in the fence
/// can reach the socket too, and have neither word.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitKeys {
    /// The program's first line.
    pub(crate) ask: String,
    /// The fence's last line: the agent may begin.
    pub(crate) go: String,
}

impl InitKeys {
    /// Draws new words.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(crate) fn random() -> std::io::Result<InitKeys> {
        Ok(InitKeys { ask: word()?, go: word()? })
    }
}

impl fmt::Debug for InitKeys {
    /// Shows neither word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InitKeys")
    }
}

/// Steps of the start of a container in a fence that stands, between the supervisor and
/// `ringfence fence admit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Admitted {
    /// The fence waits for the container's first program.
    Listening,
    /// The first program asks whether it may begin.
    Asked,
    /// The supervisor wants to know what is mounted.
    Look,
    /// Everything is what was expected.
    Found,
    /// The supervisor lets the program begin.
    Go,
    /// The program was told.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_form_and_never_the_same() {
        let place = InitPlace::random().unwrap();
        assert_ne!(place, InitPlace::random().unwrap());
        assert_eq!(InitPlace::read(place.program()), Some(place.clone()));
        assert!(begins(&format!("{} ask go sh", place.program())));
        for other in ["", "/.ringfence-", "/.ringfence-xyz", &place.words(), "/run/ringfence/init", "sh"] {
            assert_eq!(InitPlace::read(other), None, "{other}");
        }
    }
}
