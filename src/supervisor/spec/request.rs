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
pub struct AgentRequest {
    /// Command; empty: the image's.
    pub command: Vec<String>,
    /// Program in the place of the image's entrypoint.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Files and directories of this machine; the project, if there is one, is mounted at
    /// [`WORKSPACE`].
    pub binds: Vec<Bind>,
    /// Working directory; none: the project's, else the image's.
    pub workdir: Option<String>,
    /// Files that the agent finds in memory.
    pub handed: Vec<Handed>,
    /// Certificate authorities besides the image's own.
    pub ca: Option<Ca>,
    /// User; none: the project's owner, else the image's.
    pub user: Option<String>,
    /// The project's owner, as `UID:GID`; none: root, or no project.
    pub owner: Option<String>,
    /// OCI runtime; none: the engine's own.
    pub runtime: Option<String>,
    /// Tells whether stdin stays open.
    pub interactive: bool,
    /// Tells whether the agent has a terminal.
    pub tty: bool,
    /// Limits as they were asked for.
    pub limits: Asked,
    /// Capabilities, and places in memory.
    pub surface: Surface,
}

impl AgentRequest {
    /// Returns the directory that is mounted as the project.
    pub fn project(&self) -> Option<&Bind> {
        self.binds.iter().find(|bind| bind.target == WORKSPACE)
    }
}
