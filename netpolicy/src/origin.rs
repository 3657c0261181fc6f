//! Origin of a rule: its layer, file and line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One source of policy, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The built-in ranges that are refused whatever the layers say.
    Floor,
    /// `/etc/ringfence/policy.yml`.
    Organisation,
    /// `~/.config/ringfence/policy.yml`.
    User,
    /// `--policy`, `--allow`, `--deny`.
    Run,
    /// `.ringfence.yml` of the project, and `network_policy` of its `.gitlab/duo/agent-config.yml`.
    Project,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Floor => "floor",
            Layer::Organisation => "organisation",
            Layer::User => "user",
            Layer::Run => "run",
            Layer::Project => "project",
        })
    }
}

/// Place where a rule was written, for every verdict, event and explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The layer that the file belongs to.
    pub layer: Layer,
    /// The file as it was named, `preset gitlab@1`, or `--allow`/`--deny`.
    pub file: String,
    /// Line, from 1; 0 for a rule given on the command line.
    pub line: u32,
    /// The rule's canonical text, for example `gitlab.com:443`.
    pub text: String,
}

impl Origin {
    /// Returns the file and line, or the file alone where there is no line.
    pub fn place(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}", self.file),
        }
    }
}
