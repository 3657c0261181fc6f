//! The agent's image, as the engine describes it.

/// An image that is on the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Name as it was typed.
    pub(crate) name: String,
    /// The engine's id. An agent is made by the id: what was looked at is what runs.
    pub(crate) id: String,
    /// Origin by content: `registry.example/agent@sha256:…`. Absent for an image that no registry
    /// gave.
    pub(crate) digest: Option<String>,
    /// Variables that the image sets.
    pub(crate) env: Vec<String>,
    /// User of the image's programs; empty: root.
    pub(crate) user: String,
    /// Entrypoint.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments of the entrypoint, unless a command is given.
    pub(crate) command: Vec<String>,
    /// Names of the image's labels.
    pub(crate) labels: Vec<String>,
    /// Paths for which the image wants volumes.
    pub(crate) volumes: Vec<String>,
}
