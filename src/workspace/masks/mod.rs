//! Secrets and risky files of a project, seen before the agent sees them (R7).
//!
//! ```text
//!  project directory ─▶ walk: every file, by name (names.txt) and by content (secrets) ─▶ covers
//!     covers ─▶ tracked: what git has for each ─▶ decide: the file itself, the index's version, or a stand-in ─▶ Plan
//!     Plan ─▶ report (what a person reads)
//!     Plan ─▶ serve: an own copy of each such file in the run's private folder ─▶ read-only mounts over the originals
//!             shared: and wherever else the agent would find the same files, by device and inode
//!  mounts ─▶ mounted: the same look; secret_folders: mounts that are for secrets as a whole
//! ```
//! The project's files are never changed. Nothing of the project is mounted but the project: what
//! is laid over it are copies, so that nobody can exchange a source between the check and the
//! start.

mod came_off;
mod copies;
mod decide;
mod git;
mod git_settings;
mod look;
mod mounted;
mod names;
mod report;
mod repository;
mod routes;
mod scrub;
mod secret_folders;
mod serve;
mod shared;
mod snapshot;
mod tracked;
mod unmask;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;

pub(crate) use came_off::Covered;
pub(crate) use git_settings::for_git;
pub(crate) use mounted::{GivenMounts, plan_mounts};
pub(crate) use repository::plan_repository;
pub(crate) use scrub::{MASK, replace};
pub(crate) use serve::{Given, Laying, Served, close, let_go, serve, sweep};
pub(crate) use snapshot::Mark;
pub(crate) use tracked::Decided;
pub(crate) use unmask::showing_nothing_in;
pub(crate) use walk::{Wishes, plan};

use super::repository::PROJECT;

/// Covers for a project, decided before the run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The project, or another directory that the agent is given, resolved.
    pub(crate) project: PathBuf,
    /// Path in the container, where the directory is the project or a mount.
    pub(crate) place: Option<String>,
    /// Mark of the directory that was looked through.
    root: Option<Mark>,
    /// Covers of the project's files, sorted by path.
    pub(crate) covers: Vec<Cover>,
    /// The files in folders that are covered, as they were looked at.
    files: HashMap<PathBuf, Mark>,
    /// Counts of what was looked at.
    pub(crate) seen: ScanCounts,
    /// Decisions by git's versions of files.
    pub(crate) decided: Decided,
}

impl Plan {
    /// Tells whether the plan is about the project.
    pub(crate) fn is_project(&self) -> bool {
        self.place.as_deref() == Some(PROJECT)
    }

    /// Tells whether the plan is about a mount besides the project.
    pub(crate) fn is_mount(&self) -> bool {
        self.place.is_some() && !self.is_project()
    }
}

/// Cover of one path.
#[derive(Debug, Clone)]
pub(crate) struct Cover {
    /// The path below the project.
    pub(crate) path: PathBuf,
    /// Mark of the covered file.
    pub(crate) mark: Mark,
    /// Replacement that the agent finds at the path.
    pub(crate) with: With,
    /// Reasons for the cover.
    pub(crate) why: Vec<Why>,
}

/// Replacement of a covered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum With {
    /// An empty file.
    Nothing,
    /// The file without its secrets.
    Masked(Vec<u8>),
    /// A version that git has, so that git sees no change.
    Committed {
        /// Text of the replacement.
        text: Vec<u8>,
        /// Tells whether it can be executed.
        executable: bool,
    },
    /// The file or folder as it is, but unchangeable.
    Itself,
    /// Another text, unchangeable: what is there hides nothing, but names paths of this machine.
    Instead(Vec<u8>),
}

impl With {
    /// Ranks the replacement: the one that hides most comes first.
    fn rank(&self) -> u8 {
        match self {
            With::Nothing => 0,
            With::Masked(_) | With::Committed { .. } => 1,
            With::Itself | With::Instead(_) => 2,
        }
    }
}

/// Reason for a cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The file's name, by a pattern of the list.
    Name(&'static str),
    /// A pattern of a policy's `workspace.mask`.
    Policy(String),
    /// The file is part of a repository.
    Git,
    /// git keeps it for another working tree than the one that is given.
    Record,
    /// A secret in it.
    Content {
        /// The rule's name.
        rule: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// The file is configuration that cannot be read for certain.
    Unclear,
    /// ringfence may not read it.
    Unreadable,
    /// The file is another name of one that is hidden.
    SameFile(PathBuf),
}

/// Counts of what was looked at and what was not.
#[derive(Debug, Default)]
pub(crate) struct ScanCounts {
    /// Files.
    pub(crate) files: u64,
    /// Files whose content was looked at.
    pub(crate) by_content: u64,
    /// Number of files beyond the bytes of a mount that are read, known by name only.
    pub(crate) beyond_budget: u64,
    /// Files that are too large for that.
    pub(crate) too_large: Vec<PathBuf>,
    /// Folders that say of themselves that they are caches: what is no text was not read there.
    pub(crate) caches: Vec<PathBuf>,
    /// Paths that the policy or the command line spares.
    pub(crate) unmasked: Vec<PathBuf>,
    /// Secrets in git's own files that cannot be hidden without breaking git.
    pub(crate) in_git: Vec<(PathBuf, &'static str)>,
}
