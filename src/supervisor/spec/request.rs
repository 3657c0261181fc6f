//! The agent as a person asks for it, before any engine was asked.
//!
//! ```text
//!  command line, layers, policy ──▶ AgentRequest ──┐
//!  engine, image, this machine ───▶ SpecFacts ─────┴─ AgentSpec::new ──▶ AgentSpec ──▶ what the engine is asked for
//! ```
//! Everything that can ask for an agent makes a request, and nothing else: the spec is made of it
//! in one place.

use netpolicy::settings::Ca;

use super::limits::Asked;
use super::places::WORKSPACE;
use super::surface::Surface;
use crate::workspace::mounts::Bind;
use crate::workspace::secrets::Handed;

/// An agent as a person asks for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentRequest {
    /// Command; empty: the image's.
    pub(crate) command: Vec<String>,
    /// Program in the place of the image's entrypoint.
    pub(crate) entrypoint: Option<String>,
    /// `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Files and directories of this machine; the project, if there is one, is mounted at
    /// [`WORKSPACE`].
    pub(crate) binds: Vec<Bind>,
    /// Working directory; none: the project's, else the image's.
    pub(crate) workdir: Option<String>,
    /// Files that the agent finds in memory.
    pub(crate) handed: Vec<Handed>,
    /// Certificate authorities besides the image's own.
    pub(crate) ca: Option<Ca>,
    /// User; none: the project's owner, else the image's.
    pub(crate) user: Option<String>,
    /// The project's owner, as `UID:GID`; none: root, or no project.
    pub(crate) owner: Option<String>,
    /// OCI runtime; none: the engine's own.
    pub(crate) runtime: Option<String>,
    /// Tells whether stdin stays open.
    pub(crate) interactive: bool,
    /// Tells whether the agent has a terminal.
    pub(crate) tty: bool,
    /// Tells whether nobody is attached to it from the start.
    pub(crate) detached: bool,
    /// Tells whether the agent's container stays after its end.
    pub(crate) keep: bool,
    /// Limits as they were asked for.
    pub(crate) limits: Asked,
    /// Capabilities, and places in memory.
    pub(crate) surface: Surface,
}

impl AgentRequest {
    /// Returns the directory that is mounted as the project.
    pub(crate) fn project(&self) -> Option<&Bind> {
        self.binds.iter().find(|bind| bind.target == WORKSPACE)
    }
}
