//! Reasons for which it cannot be said for certain what git has for a path.

use super::ObjectId;

/// A reason for which nothing certain can be said; each is one clause, to be read after "not
/// compared with git: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// The repository's own folder lies outside the project, or is reached by a link.
    #[error("the repository's own folder lies outside the project")]
    Outside,
    /// `core.worktree` names another working tree.
    #[error("the repository's working tree is elsewhere (core.worktree)")]
    ElsewhereWorktree,
    /// The path is to be added, and has no content yet.
    #[error("the file is only to be added (git add --intent-to-add)")]
    IntentToAdd,
    /// A merge is unfinished.
    #[error("the file is part of an unfinished merge")]
    Conflicted,
    /// The index has a link or a submodule there.
    #[error("the index has no ordinary file there")]
    NotAFile,
    /// The object is left with a server.
    #[error("the repository is a partial clone, which lacks the object {0}")]
    PartialClone(ObjectId),
    /// The object is not in the project's own store.
    #[error("the project's own repository lacks the object {0}")]
    Missing(ObjectId),
    /// The object is too large, or too many steps away from what it was made of.
    #[error("the object {0} is larger than is looked at")]
    TooLarge(ObjectId),
    /// The object's content is not what its name says, or cannot be read.
    #[error("the object {0} is damaged")]
    Damaged(ObjectId),
    /// The budget of the whole look is spent.
    #[error("git has more here than is looked at")]
    Spent,
    /// A part of the repository cannot be read for certain.
    #[error("{0} cannot be read for certain")]
    Unreadable(String),
}
