//! A repository's own folder that is mounted by itself: what is covered there besides hooks and
//! secrets.
//!
//! ```text
//!  HEAD, index, ORIG_HEAD, rebase-merge … ── the main working tree's ─┐
//!  worktrees/OTHER ───────────────────────── other linked ones' ──────┴─▶ as they are, unchangeable
//!  modules, worktrees/OTHER/modules ──────── their submodules' ─────────▶ empty, unchangeable
//!  worktrees/NAME/gitdir, .git ───────────── paths of this machine ─────▶ paths inside
//! ```

use std::path::{Path, PathBuf};

use globset::escape;

use super::unmask::of_git;
use super::walk::plan_own;
use super::{Cover, Mark, Plan, Why, Wishes, With};
use crate::term::Failure;
use crate::workspace::held;
use crate::workspace::worktree::Pointer;

/// Files in a repository's own folder that are no working tree's: git replaces them for all.
const COMMON: &[&str] = &["config", "packed-refs", "shallow", "description"];
/// Names that it holds for the main working tree besides files: what git is in the middle of there,
/// what is left out, and its submodules.
const OF_MAIN: &[&str] = &["rebase-merge", "rebase-apply", "sequencer", "info/sparse-checkout", SUBMODULES];
/// The folder with repositories of a working tree's submodules.
const SUBMODULES: &str = "modules";

/// Looks through a repository's own folder. `record` is what it keeps for the linked working tree
/// that is given, if that is one.
pub(crate) fn plan_repository(git: &Path, record: &Path, wishes: &Wishes) -> Result<Plan, Failure> {
    plan_own(git, &wishes.below_git(), record)
}

/// Tells whether something in a repository's own folder is the main working tree's.
pub(super) fn is_of_main(path: &Path, is_folder: bool) -> bool {
    let name = path.to_string_lossy();
    let is_common = COMMON.contains(&&*name) || name.starts_with("gc.") || name.ends_with(".lock");
    OF_MAIN.contains(&&*name) || (!is_folder && path.components().count() == 1 && !is_common)
}

/// Returns the folder with submodules' repositories in the files that git keeps for another working
/// tree. The folder is empty to the agent: nothing in it is needed inside, and it may be as large
/// as the submodules.
pub(super) fn submodules_in(cover: &Cover) -> Option<PathBuf> {
    if !cover.mark.is_folder() || cover.with != With::Itself {
        return None;
    }
    let is_record = cover.path.parent().is_some_and(|folder| folder.ends_with("worktrees"));
    match cover.why.as_slice() {
        [Why::Record] if cover.path == Path::new(SUBMODULES) => Some(cover.path.clone()),
        [Why::Record | Why::Git] if is_record => Some(cover.path.join(SUBMODULES)),
        _ => None,
    }
}

impl Plan {
    /// Adds covers where there are none.
    fn add(&mut self, covers: impl Iterator<Item = Cover>) {
        self.covers.extend(covers);
        self.covers.sort_by(|a, b| (&a.path, a.with.rank()).cmp(&(&b.path, b.with.rank())));
        self.covers.dedup_by(|b, a| a.path == b.path);
    }

    /// Makes the agent find paths inside the container in these files, where they lie here.
    pub(crate) fn point(&mut self, pointers: &[Pointer]) {
        let project = self.project.clone();
        let mine = pointers.iter().filter_map(|pointer| {
            let path = pointer.path.strip_prefix(&project).ok()?.to_owned();
            let mark = Mark::of(&rustix::fs::fstat(held::open(&pointer.path).ok()?).ok()?);
            let with = With::Instead(pointer.text.clone().into_bytes());
            Some(Cover { path, mark, with, why: vec![Why::Git] })
        });
        self.add(mine);
    }
}

impl Wishes {
    /// Rewrites the wishes for a repository's own folder: wishes about `.git` in a project hold for
    /// it.
    pub(super) fn below_git(&self) -> Wishes {
        let below = |texts: &[String]| {
            let below = texts.iter().filter_map(|text| {
                let inner = text.trim_matches('/');
                match of_git(text) {
                    // A slash in it keeps it from being taken for a name at any depth.
                    Some(rest) => Some(format!("{{{rest},./{rest}}}")),
                    None => (!inner.contains('/')).then(|| text.clone()),
                }
            });
            below.collect()
        };
        Wishes { mask: below(&self.mask), unmask: below(&self.unmask), ..self.clone() }
    }

    /// Rewrites the wishes for the working tree around a part: a path counts from the part, and
    /// nothing is shown outside of it.
    pub(crate) fn of_part(&self, part: &Path) -> Wishes {
        let part = escape(&part.to_string_lossy());
        let below = |text: &String| {
            let inner = text.trim_matches('/');
            match inner.contains('/') {
                // The repository is that of the whole.
                true if of_git(text).is_some() => text.clone(),
                true => format!("{part}/{inner}"),
                false => format!("{part}/**/{inner}"),
            }
        };
        let everywhere = self.mask.iter().filter(|text| !text.trim_matches('/').contains('/')).cloned();
        Wishes {
            mask: everywhere.chain(self.mask.iter().map(below)).collect(),
            unmask: self.unmask.iter().map(below).collect(),
            stand_ins: self.stand_ins,
        }
    }
}
