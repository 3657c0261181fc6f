//! Formats of an export, and its result.

use serde::Serialize;

use crate::note::Note;

/// A format that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `network_policy` for GitLab's `.gitlab/duo/agent-config.yml`.
    Gitlab,
    /// A CiliumNetworkPolicy.
    Cilium,
    /// A Kubernetes NetworkPolicy, which knows no names.
    Kubernetes,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 3] = [Format::Gitlab, Format::Cilium, Format::Kubernetes];

    /// Returns the word that `--to` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Gitlab => "gitlab",
            Format::Cilium => "cilium",
            Format::Kubernetes => "kubernetes",
        }
    }
}

/// A policy in another format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file.
    pub text: String,
    /// Differences from the policy.
    pub notes: Vec<Note>,
}

/// Reason for which a policy cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The format has an upper limit.
    #[error("{count} entries; the format takes {most}")]
    TooMany {
        /// Number of entries that the export would have.
        count: usize,
        /// Number of entries that the format permits.
        most: usize,
    },
}
