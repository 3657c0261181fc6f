//! Journals of other runs on this machine, and what they mean for one about the same directory.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::path::Path;

use super::{ENDING, broken, open_journal, unusable};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;
use crate::workspace::aftermath::record::{Bytes, Journal, Pinned, Root, Was};

/// A journal on this machine, and whether its supervisor lives.
pub(super) struct Other {
    pub(super) id: WorkflowId,
    pub(super) lives: bool,
    pub(super) journal: Journal,
}

/// Finds another run whose supervisor lives and that will put back this directory: its journal says
/// how the directory was before the first of both.
pub(super) fn still_at_work(root: &Root, others: &[Other], id: WorkflowId) -> Option<WorkflowId> {
    let mut others = others.iter().filter(|other| other.lives && other.id != id);
    others.find(|other| other.journal.roots.iter().any(|there| same(root, there))).map(|other| other.id)
}

/// Refuses a directory that contains one of another run, or lies in one: settling the one must not
/// undo what settling the other did.
pub(super) fn apart(roots: &[Root], others: &[Other]) -> Result<(), Failure> {
    for (root, other) in roots
        .iter()
        .flat_map(|root| others.iter().flat_map(|other| &other.journal.roots).map(move |other| (root, other)))
    {
        let (here, there) = (root.path.path(), other.path.path());
        let nested = here != there && (here.starts_with(&there) || there.starts_with(&here));
        if nested && !same(root, other) {
            let what = format!(
                "{} and {}, which an agent of another run may write, contain one another",
                here.display(),
                there.display()
            );
            return Err(Failure::new(COULD_NOT_RUN, what).hint(
                "wait for the other run's end, or give both agents the same directory; `ringfence gc` settles what was left behind",
            ));
        }
    }
    Ok(())
}

/// Journals that are there already, the first first, and one that cannot be read.
pub(super) fn others(folder: &Path) -> Result<(Vec<Other>, Option<Failure>), Failure> {
    let (mut others, mut unread) = (Vec::new(), None);
    for entry in fs::read_dir(folder).map_err(|error| unusable(folder, &error))?.flatten() {
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        let (Some(id), true) = (id, path.extension().is_some_and(|end| end == ENDING)) else { continue };
        let read = open_journal(&path).and_then(|file| {
            let Some(file) = file else { return Ok(None) };
            let journal = Journal::read(&file)?;
            let lives = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            Ok(Some(Other { id, lives, journal }))
        });
        match read {
            Ok(other) => others.extend(other),
            Err(error) => unread = Some(broken(&path, &error)),
        }
    }
    others.sort_by_key(|other| other.journal.began);
    Ok((others, unread))
}

/// Reads the other runs' journals, and fails when one cannot be read: it may be about the directory
/// of the run that begins.
pub(super) fn readable(folder: &Path) -> Result<Vec<Other>, Failure> {
    let (others, unread) = others(folder)?;
    match unread {
        Some(failure) => Err(failure),
        None => Ok(others),
    }
}

/// Tells whether two journals are about the same directory.
pub(super) fn same(one: &Root, other: &Root) -> bool {
    one.identity().zip(other.identity()).is_some_and(|(one, other)| one.is(other, false))
}

/// Takes the state before a run from another run on the same directory, if there is one: that run
/// may have changed the directory already, so the state before the first of them counts.
pub(super) fn inherit(root: &mut Root, others: &[Other]) {
    let mut there = others.iter().flat_map(|other| &other.journal.roots);
    let Some(first) = there.find(|other| same(root, other)) else { return };
    let known: BTreeSet<&Bytes> = first.pinned.iter().map(|pinned| &pinned.path).collect();
    let later = root.pinned.iter().filter(|pinned| !known.contains(&pinned.path));
    // Repositories that were made meanwhile were nobody's before.
    let was = |pinned: &Pinned| Pinned { was: Was::Absent, ..pinned.clone() };
    root.pinned = first.pinned.iter().cloned().chain(later.filter(|pinned| pinned.config).map(was)).collect();
    root.risky = first.risky.clone();
    root.signs = first.signs.clone();
    root.folders = first.folders.clone();
    root.git = first.git.clone();
    let known: BTreeSet<&Bytes> = first.trees.iter().map(|tree| &tree.repository).collect();
    let own = root.trees.iter().filter(|tree| !known.contains(&tree.repository));
    root.trees = first.trees.iter().chain(own).cloned().collect();
    // What the agents have made of the configuration by now may name none of these.
    root.hooks =
        first.hooks.iter().chain(&root.hooks).cloned().collect::<BTreeSet<_>>().into_iter().collect();
}
