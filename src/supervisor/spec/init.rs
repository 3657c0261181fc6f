//! The first program in an agent's container, which begins the agent when every cover is in its
//! place (`src/inside/init`).

use super::agent::AgentSpec;
use super::image::Image;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::init::{InitKeys, InitPlace};

/// The first program of one agent's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstProgram {
    /// Its place there.
    pub(crate) place: InitPlace,
    /// Words by which the fence and it know each other.
    pub(crate) keys: InitKeys,
}

impl FirstProgram {
    /// Draws the words for the program at a place.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(super) fn at(place: &InitPlace) -> Result<FirstProgram, Failure> {
        let keys = InitKeys::random().map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot draw the words of the agent's first program")
                .caused_by(&error)
        })?;
        Ok(FirstProgram { place: place.clone(), keys })
    }
}

/// Returns the first program's arguments: the words by which the fence and it know each other, and
/// those that start the agent.
pub(crate) fn arguments(agent: &AgentSpec, keys: &InitKeys) -> Vec<String> {
    [keys.ask.clone(), keys.go.clone()].into_iter().chain(words(agent)).collect()
}

/// Returns the words that start the agent behind the first program.
fn words(agent: &AgentSpec) -> Vec<String> {
    argv(agent.entrypoint.as_deref(), &agent.command, &agent.image)
}

/// Returns the words that start an agent: those that the engine would put together itself. An
/// entrypoint of one empty word is none.
pub(super) fn argv(entrypoint: Option<&str>, command: &[String], image: &Image) -> Vec<String> {
    let own = entrypoint.map(|program| vec![program.to_owned()]);
    let command = match (&own, command.is_empty()) {
        (None, true) => &image.command,
        _ => command,
    };
    let entrypoint = own.unwrap_or_else(|| image.entrypoint.clone());
    let is_none = entrypoint == [""];
    entrypoint.into_iter().filter(|_| !is_none).chain(command.iter().cloned()).collect()
}
