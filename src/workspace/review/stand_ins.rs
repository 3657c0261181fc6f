//! Stand-ins that git has after a run: in a commit that the run made, or in the index.
//!
//! ```text
//!  record of the start (what stood in for which file, references) ─┐
//!  new commits, by what they changed ──────────────────────────────┼─▶ told, with the command that mends it
//!  the index now ──────────────────────────────────────────────────┘
//! ```
//! A file is known by the name of its content: an empty one at its own path alone, since other
//! files are empty too.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::git::Git;
use super::{common_of, open, own_git, refs_of};
use crate::wire::WorkflowId;
use crate::workspace::aftermath::gitdir::{self, Facts, Index, refs::Refs};
use crate::workspace::aftermath::run_record::{self, RunRoot, StandIn};
use crate::workspace::aftermath::{HeldStandIn, SettleReport, place};
use crate::workspace::versions::Versions;

/// New commits of one repository that are looked at, the latest first.
const MOST: usize = 5_000;

/// Tells where the repositories of a run's directories have a stand-in.
pub(crate) fn look(id: WorkflowId, told: &mut SettleReport) {
    match run_record::one(id) {
        Ok(run) => {
            for root in run.iter().flat_map(|run| &run.roots).filter(|root| !root.stand_ins.is_empty()) {
                look_in(root, told, own_git);
            }
        }
        Err(error) => told.unlooked(&error.to_string()),
    }
}

fn look_in(
    root: &RunRoot,
    told: &mut SettleReport,
    own_git: impl Fn(&Path, &OwnedFd, &Facts) -> io::Result<Git>,
) {
    let at = root.path.path();
    let open = match open(root, &at) {
        Ok(open) => open,
        Err(error) => return told.unlooked(&error.to_string()),
    };
    let mut all = AllHeld::default();
    for facts in &root.git {
        let Some(tree) = WorkingTree::of(root, &at, facts) else { continue };
        // Deeper repositories have the files below them for themselves; a path of another one fits
        // no entry here.
        let mine: Vec<Mine> =
            root.stand_ins.iter().filter_map(|one| Mine::of(one, &tree.below, facts)).collect();
        if mine.is_empty() {
            continue;
        }
        let looked = own_git(&at, &open, facts).and_then(|git| {
            let here = place::open_folder(open.as_fd(), &facts.repository.path())?;
            let mut now = gitdir::refs::read(&here)?;
            if let Some(common) = common_of(facts, &root.git) {
                let common = place::open_folder(open.as_fd(), &common.repository.path())?;
                now = now.with_common(&gitdir::refs::read(&common)?);
            }
            let was = refs_of(facts, &root.git);
            let repository = Repository { at: tree.at, was, mine: &mine };
            let (held, more) = repository.held(&git, &now)?;
            let staged = match tree.is_apart {
                true => repository.staged(&git, &now, gitdir::read_index(&here, facts.sha256))?,
                false => Vec::new(),
            };
            Ok((held, staged, more))
        });
        match looked {
            Ok((held, staged, more)) => {
                held.into_iter().chain(staged).for_each(|one| all.add(one));
                all.more |= more;
            }
            Err(error) => told.unlooked(&error.to_string()),
        }
    }
    all.held.iter().for_each(|one| told.stand_in(one));
    if all.more {
        told.unlooked("there are more new commits than are looked at");
    }
    if let Some(versions) = Versions::open(&at).ok().filter(|_| root.trees.is_empty()) {
        staged(root, &at, &versions, told);
    }
}

/// The working tree of a repository: below the directory, or elsewhere.
struct WorkingTree {
    at: PathBuf,
    /// The repository's path below the directory that the paths of stand-ins count from.
    below: PathBuf,
    is_apart: bool,
}

impl WorkingTree {
    fn of(root: &RunRoot, at: &Path, facts: &Facts) -> Option<WorkingTree> {
        match (root.trees.first(), &facts.tree) {
            (Some(first), _) => {
                let tree = root.trees.iter().find(|tree| tree.repository == facts.repository)?.path.path();
                let below = tree.strip_prefix(first.path.path()).ok()?.to_owned();
                Some(WorkingTree { at: tree, below, is_apart: true })
            }
            (None, Some(tree)) => {
                let tree = tree.path();
                Some(WorkingTree { at: below(at, &tree), below: tree, is_apart: false })
            }
            (None, None) => None,
        }
    }
}

/// All that were found: a commit that several working trees of one repository can name is told
/// once, where it is checked out if it is.
#[derive(Default)]
struct AllHeld {
    held: Vec<HeldStandIn>,
    /// Set when there are more new commits than were looked at.
    more: bool,
}

impl AllHeld {
    fn add(&mut self, one: HeldStandIn) {
        let same = |other: &&mut HeldStandIn| {
            other.commit.is_some() && (&other.commit, &other.path) == (&one.commit, &one.path)
        };
        match self.held.iter_mut().find(same) {
            Some(other) if other.is_head || !one.is_head => {}
            Some(other) => *other = one,
            None => self.held.push(one),
        }
    }
}

/// Reports stand-ins that are in the index, and not in HEAD.
fn staged(root: &RunRoot, at: &Path, versions: &Versions, told: &mut SettleReport) {
    for one in &root.stand_ins {
        let path = one.path.path();
        let Ok(version) = versions.of(&path) else { continue };
        let name = |entry: &Option<crate::workspace::versions::Entry>| {
            entry.as_ref().map(|entry| entry.id.to_string()).filter(|name| one.names.contains(name))
        };
        if name(&version.index).is_some() && name(&version.head).is_none() {
            let was_in = version.head.as_ref().map(|_| "HEAD".to_owned());
            told.stand_in(&HeldStandIn { tree: at.to_owned(), path, commit: None, is_head: false, was_in });
        }
    }
}

/// Joins a path to another one; returns the other itself where the path is empty.
fn below(at: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { at.to_owned() } else { at.join(path) }
}

/// A stand-in for a file of one working tree.
struct Mine {
    path: PathBuf,
    name: String,
    empty: bool,
}

impl Mine {
    fn of(one: &StandIn, tree: &Path, facts: &Facts) -> Option<Mine> {
        let path = one.path.path().strip_prefix(tree).ok()?.to_owned();
        let [sha1, sha256] = &one.names;
        let name = if facts.sha256 { sha256 } else { sha1 };
        Some(Mine { path, name: name.clone(), empty: one.empty })
    }

    fn is(&self, path: &Path, name: &str) -> bool {
        // Folders move, and their covers with them.
        self.name == name && (!self.empty || self.path.file_name() == path.file_name())
    }
}

struct Repository<'a> {
    at: PathBuf,
    /// The references before the run.
    was: Refs,
    mine: &'a [Mine],
}

impl Repository<'_> {
    /// Returns what new commits brought, and whether there are more commits than were looked at.
    fn held(&self, git: &Git, now: &Refs) -> io::Result<(Vec<HeldStandIn>, bool)> {
        let (was, is) = (self.was.objects(), now.objects());
        let new: Vec<&String> = is.difference(&was).collect();
        if new.is_empty() {
            return Ok((Vec::new(), false));
        }
        let most = format!("--max-count={}", MOST + 1);
        let mut words = vec!["rev-list", &most, "--ignore-missing"];
        words.extend(new.iter().map(|one| one.as_str()));
        words.push("--not");
        words.extend(was.iter().map(String::as_str));
        let commits = git.ask(&words)?;
        let more = commits.iter().filter(|byte| **byte == b'\n').count() > MOST;
        let words =
            ["diff-tree", "--stdin", "-r", "-m", "--root", "-z", "--raw", "--no-renames", "--no-abbrev"];
        let answer = git.ask_about(&words, &commits)?;
        let (head, start) = (now.head_object(), self.was.head_object());
        let mut held = Vec::new();
        for (commit, path) in self.brought(&answer) {
            let had = match start {
                Some(start) => {
                    let tree =
                        git.ask(&["rev-parse", "--verify", "--quiet", &format!("{start}^{{tree}}")])?;
                    let tree = String::from_utf8_lossy(&tree).trim().to_owned();
                    self.has(git, &tree, &path)?
                }
                None => false,
            };
            held.push(HeldStandIn {
                tree: self.at.clone(),
                path,
                is_head: head == Some(&commit),
                commit: Some(commit),
                was_in: start.filter(|_| had).map(str::to_owned),
            });
        }
        Ok((held, more))
    }

    /// Returns what is in the index of a working tree elsewhere, and not in HEAD.
    fn staged(&self, git: &Git, now: &Refs, index: Option<Index>) -> io::Result<Vec<HeldStandIn>> {
        let mut all = Vec::new();
        for entry in index.into_iter().flat_map(|index| index.entries) {
            let path = Path::new(OsStr::from_bytes(&entry.path));
            let name = hex::encode(&entry.object);
            if !self.mine.iter().any(|mine| mine.is(path, &name)) {
                continue;
            }
            let in_head = match (now.head_object(), path.to_str()) {
                (Some(head), Some(path)) => git.ask(&["ls-tree", "-z", "--full-tree", head, "--", path])?,
                _ => Vec::new(),
            };
            let in_head = String::from_utf8_lossy(&in_head).into_owned();
            // A commit that has it is told by itself.
            if !in_head.contains(&name) {
                let was_in = (!in_head.is_empty()).then(|| "HEAD".to_owned());
                let (tree, path) = (self.at.clone(), path.to_owned());
                all.push(HeldStandIn { tree, path, commit: None, is_head: false, was_in });
            }
        }
        Ok(all)
    }

    fn has(&self, git: &Git, tree: &str, path: &Path) -> io::Result<bool> {
        let listed = git.ask(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", tree])?;
        Ok(listed.split(|byte| *byte == 0).any(|name| name == path.as_os_str().as_bytes()))
    }

    /// Commits and paths in what `diff-tree` says.
    fn brought(&self, answer: &[u8]) -> BTreeSet<(String, PathBuf)> {
        let (mut all, mut commit) = (BTreeSet::new(), String::new());
        let mut parts = answer.split(|byte| *byte == 0);
        while let Some(part) = parts.next() {
            let text = String::from_utf8_lossy(part);
            let Some(change) = text.strip_prefix(':') else {
                commit = text.trim().to_owned();
                continue;
            };
            let Some(path) = parts.next().map(|path| Path::new(OsStr::from_bytes(path))) else { break };
            // Modes and names, old and new, and a letter.
            let name = change.split(' ').nth(3).unwrap_or_default();
            if self.mine.iter().any(|mine| mine.is(path, name)) {
                all.insert((commit.clone(), path.to_owned()));
            }
        }
        all
    }
}

#[cfg(test)]
#[path = "stand_ins_tests.rs"]
mod tests;
