//! The first program in an agent's container (`src/inside/init`), as this build carries it.

use std::fmt;

use serde::{Deserialize, Serialize};

include!(concat!(env!("OUT_DIR"), "/init.rs"));

/// The program, where this build has one.
pub(crate) const PROGRAM: Option<&[u8]> = INIT;
/// Path in the agent's container.
pub(crate) const PLACE: &str = "/run/ringfence/init";
/// Path of the words in a container that may start again.
pub(crate) const WORDS: &str = "/run/ringfence/words";

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
        let word = || {
            let mut bytes = [0u8; 16];
            getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
            std::io::Result::Ok(hex::encode(bytes))
        };
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
