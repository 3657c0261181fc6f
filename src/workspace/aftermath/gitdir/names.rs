//! Names below a repository's own folder: which are git's, and what git does with them.

use std::path::Path;

/// git's own, of all versions that are in use.
const KNOWN: &[&str] = &[
    "branches",
    "commondir",
    "config",
    "config.worktree",
    "description",
    "gc.log",
    "gc.pid",
    "gitdir",
    "hooks",
    "index",
    "info",
    "locked",
    "logs",
    "lost-found",
    "modules",
    "objects",
    "packed-refs",
    "rebase-apply",
    "rebase-merge",
    "refs",
    "reftable",
    "remotes",
    "rr-cache",
    "sequencer",
    "shallow",
    "worktrees",
];
/// Files in capitals that git writes there, besides those in `HEAD`, `MSG` and `EDITMSG`.
const CAPITALS: &[&str] =
    &["AUTO_MERGE", "MERGE_AUTOSTASH", "MERGE_MODE", "MERGE_RR", "REBASE_MERGE", "NOTES_MERGE_REF"];

/// Files that mark an operation of git as unfinished, each with the command that goes on with it.
pub(crate) const UNFINISHED: [(&str, &str); 7] = [
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase, or am"),
    ("sequencer", "cherry-pick or revert of several commits"),
    ("BISECT_START", "bisect"),
];

/// Tells whether git acts on a file in the middle of an operation, or takes it over into the next
/// commit: a stash that `git commit` applies, a message.
pub(super) fn is_unfinished(name: &Path) -> bool {
    let name = name.to_string_lossy();
    UNFINISHED.iter().any(|(mark, _)| name == *mark)
        || CAPITALS.contains(&&*name)
        || ["MERGE_MSG", "SQUASH_MSG"].contains(&&*name)
        || ["BISECT_", "NOTES_MERGE_"].into_iter().any(|start| name.starts_with(start))
}

/// Tells whether git itself uses a name in a repository's own folder.
pub(crate) fn is_known(name: &Path) -> bool {
    let name = name.to_string_lossy();
    let name = name.strip_suffix(".lock").unwrap_or(&name);
    KNOWN.contains(&name)
        || CAPITALS.contains(&name)
        || ["HEAD", "_MSG", "EDITMSG"].into_iter().any(|end| name.ends_with(end))
        || ["BISECT_", "NOTES_MERGE_", "sharedindex.", "fsmonitor--daemon"].into_iter().any(|start| name.starts_with(start))
        // What an earlier run left.
        || name.contains(".put-aside-")
}

/// Tells whether git makes a file anew from others when it is missing. Such a file is dangerous:
/// git trusts what it says about commits, trees and the places of objects.
pub(crate) fn is_cache(path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("objects") else { return false };
    let name = below.file_name().unwrap_or_default().to_string_lossy();
    match below.parent().and_then(Path::to_str) {
        Some("info") => name == "commit-graph",
        Some("info/commit-graphs") => true,
        Some("pack") => name.starts_with("multi-pack-index") || name.ends_with(".bitmap"),
        Some("pack/multi-pack-index.d") => true,
        _ => false,
    }
}
