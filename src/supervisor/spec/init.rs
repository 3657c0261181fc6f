//! The first program in an agent's container, which begins the agent when every cover is in its
//! place (`src/inside/init`).

use super::agent::AgentSpec;

/// Returns the words that start the agent behind it: those that the engine would put together
/// itself. An entrypoint of one empty word is none.
pub(crate) fn words(agent: &AgentSpec) -> Vec<String> {
    let own = agent.entrypoint.clone().map(|program| vec![program]);
    let command = match (&own, agent.command.is_empty()) {
        (None, true) => agent.image.command.clone(),
        _ => agent.command.clone(),
    };
    let entrypoint = own.unwrap_or_else(|| agent.image.entrypoint.clone());
    let is_none = entrypoint == [""];
    entrypoint.into_iter().filter(|_| !is_none).chain(command).collect()
}
