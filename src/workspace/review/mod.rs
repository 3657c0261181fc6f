//! Review of a run: what the run changed, for a person to look at before they use it.
//!
//! ```text
//!  record of the start (HEAD, references, files) ─┐
//!  project now: references, files, by descriptor ─┼─▶ Review ─▶ text │ JSON
//!  its objects, through a git directory of ours  ─┘
//! ```
//! Nothing is changed, and nothing in the project decides what is shown: not its configuration,
//! index, attributes, filters or hooks.

mod blob;
mod files;
mod git;
mod stand_ins;
mod text;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::git::Git;
pub(crate) use self::stand_ins::look as look_for_stand_ins;
use super::aftermath::gitdir::refs::Refs;
use super::aftermath::gitdir::{self, Facts};
use super::aftermath::run_record::{self, Run, RunRoot};
use super::aftermath::{is_settled, place};
use super::held;
use crate::host::identity::Identity;
use crate::host::state;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// Commits of one repository that are listed.
const MOST_COMMITS: usize = 500;

/// Objects of one repository that are compared with their names.
const MOST_OBJECTS: usize = 2_000_000;

/// Changes of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Review {
    /// The run.
    pub(crate) id: String,
    /// Name of the run.
    pub(crate) name: Option<String>,
    /// Time of the agent's start, in seconds of Unix time.
    pub(crate) began: u64,
    /// Time of settling.
    pub(crate) ended: Option<u64>,
    /// Files that were put back, put aside or removed.
    pub(crate) put_back: Vec<String>,
    /// Other changes below `.git`.
    pub(crate) git_changed: Vec<String>,
    /// Files that run code later.
    pub(crate) runs_code: Vec<String>,
    /// The directories that it could write.
    pub(crate) directories: Vec<Directory>,
}

/// A directory that the agent could write.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Directory {
    /// Path of the directory.
    pub(crate) path: String,
    /// Repositories in the directory.
    pub(crate) repositories: Vec<Repository>,
    /// Files that were added, changed or deleted.
    pub(crate) files: Vec<files::File>,
    /// Things that could not be looked at.
    pub(crate) doubts: Vec<String>,
}

/// A repository that was there before the run.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Repository {
    /// The repository's folder, below the directory.
    pub(crate) path: String,
    /// References that moved.
    pub(crate) moves: Vec<Move>,
    /// Commits that are reachable now and were not.
    pub(crate) commits: Vec<Commit>,
    /// Set when there are more commits.
    pub(crate) more_commits: bool,
    /// Set when the objects of HEAD at the start, and of the new commits, have the content that
    /// their names say; none when git could not tell.
    pub(crate) objects_are_good: Option<bool>,
    /// Things that could not be looked at.
    pub(crate) doubts: Vec<String>,
}

/// A reference that moved.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Move {
    /// Name of the reference.
    pub(crate) name: String,
    /// Value before the run.
    pub(crate) old: Option<String>,
    /// Value after the run.
    pub(crate) new: Option<String>,
}

/// A commit.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Commit {
    /// Name of the commit.
    pub(crate) id: String,
    /// Author, as the commit itself claims.
    pub(crate) author: String,
    /// Date, as the commit itself claims.
    pub(crate) date: String,
    /// The first line of its message.
    pub(crate) subject: String,
}

/// Finds the run that is meant: by id, by the beginning of one, or by name, of which the latest
/// counts.
pub(crate) fn find(wanted: &str) -> Result<(WorkflowId, Run), Failure> {
    let runs = run_record::all()?;
    let is = |(id, run): &&(WorkflowId, Run)| id.to_string() == wanted || run.name.as_deref() == Some(wanted);
    if let Some(run) = runs.iter().rev().find(is) {
        return Ok(run.clone());
    }
    let begun: Vec<_> =
        runs.iter().filter(|(id, _)| !wanted.is_empty() && id.to_string().starts_with(wanted)).collect();
    match begun.as_slice() {
        [run] => Ok((*run).clone()),
        [] => Err(Failure::new(COULD_NOT_RUN, "no such run is on record on this machine".to_owned())
            .hint("give the id that `ringfence run` printed, or its --name; runs that could write a directory are kept for 30 days")),
        _ => Err(Failure::new(COULD_NOT_RUN, "several runs begin with that").hint("give more of the id")),
    }
}

/// Looks at what a run changed. It must have been settled: until then hooks and configurations of
/// the agent's are where git finds them.
pub(crate) fn review(id: WorkflowId, run: &Run) -> Result<Review, Failure> {
    if run.ended.is_none() || !is_settled(id)? {
        return Err(Failure::new(COULD_NOT_RUN, format!("run {id} has not ended, or was not settled")).hint(
            format!("wait for its end or `ringfence stop {id}`; `ringfence gc` settles what was left behind"),
        ));
    }
    let mut review = Review {
        id: id.to_string(),
        name: run.name.clone(),
        began: run.began,
        ended: run.ended,
        put_back: run.put_back.clone(),
        git_changed: run.changes.clone(),
        runs_code: run.runs_code.clone(),
        directories: Vec::new(),
    };
    // What a repository knows of a working tree elsewhere is asked first.
    let mut order: Vec<_> = run.roots.iter().enumerate().collect();
    order.sort_by_key(|(_, root)| root.trees.is_empty());
    let mut apart = Vec::new();
    let mut directories: Vec<_> = order
        .into_iter()
        .map(|(number, root)| Ok((number, directory(id, number, root, &mut apart)?)))
        .collect::<Result<_, Failure>>()?;
    directories.sort_by_key(|(number, _)| *number);
    review.directories = directories.into_iter().map(|(_, directory)| directory).collect();
    Ok(review)
}

/// A working tree whose repository lies elsewhere, and what git had in it.
type Apart = (PathBuf, Option<Git>, Tracked);

/// Returns what of such a working tree lies in a directory.
fn of_apart(at: &Path, apart: &mut Vec<Apart>) -> Option<(Option<Git>, Tracked)> {
    let index = apart.iter().position(|(tree, ..)| at.starts_with(tree))?;
    let (tree, git, tracked) = apart.swap_remove(index);
    let part = at.strip_prefix(tree).unwrap_or(Path::new(""));
    let below =
        tracked.into_iter().filter_map(|(path, had)| Some((path.strip_prefix(part).ok()?.to_owned(), had)));
    Some((git, below.collect()))
}

fn directory(
    id: WorkflowId,
    number: usize,
    root: &RunRoot,
    apart: &mut Vec<Apart>,
) -> Result<Directory, Failure> {
    let at = root.path.path();
    let mut directory = Directory { path: blob::text(&at), ..Directory::default() };
    let open = match open(root, &at) {
        Ok(open) => open,
        Err(error) => {
            directory.doubts.push(format!("it cannot be looked at: {error}"));
            return Ok(directory);
        }
    };
    let mut heads = BTreeMap::new();
    for facts in &root.git {
        let git = own_git(&at, &open, facts);
        let head = head_of(facts, &root.git);
        let (repository, tracked) =
            repository(&open, facts, head.as_deref(), git.as_ref().map_err(ToString::to_string));
        directory.repositories.push(repository);
        if let Some(tree) = &facts.tree {
            heads.insert(tree.path(), (git.ok(), tracked));
        } else if let Some(tree) = root.trees.iter().find(|tree| tree.repository == facts.repository) {
            apart.push((tree.path.path(), git.ok(), tracked));
        }
    }
    if !root.trees.is_empty() {
        return Ok(directory);
    }
    if let Some(head) = of_apart(&at, apart) {
        heads.insert(PathBuf::new(), head);
    }
    let before = run_record::files(id, number)?;
    directory.files =
        files::compare(&at, &open, &before, &heads, &mut directory.doubts).map_err(|error| {
            Failure::new(COULD_NOT_RUN, format!("cannot look through {}", at.display())).caused_by(&error)
        })?;
    Ok(directory)
}

fn open(root: &RunRoot, at: &Path) -> io::Result<OwnedFd> {
    let open = held::open(at)?;
    let open = held::reopen_directory(&open)?;
    let now = Identity::of(&open)?;
    // Its birth tells it from every other one, where the file system knows that.
    match root.identity.is_some_and(|was| was.is(now, false)) {
        true => Ok(open),
        false => Err(io::Error::other("another directory is there now")),
    }
}

/// Makes a git directory of ours that shows the repository's objects.
fn own_git(at: &Path, open: &OwnedFd, facts: &Facts) -> io::Result<Git> {
    let state = state::directory().map_err(|failure| io::Error::other(failure.message))?;
    own_git_in(&state, at, open, facts)
}

fn own_git_in(state: &Path, at: &Path, open: &OwnedFd, facts: &Facts) -> io::Result<Git> {
    let repository = facts.repository.path();
    let here = place::open_folder(open.as_fd(), &repository)?;
    let objects = gitdir::common(open.as_fd(), &here, &repository).join("objects");
    if !blob::is_plain(open.as_fd(), &objects) {
        return Err(io::Error::other("its objects lie behind a link"));
    }
    let shallow = facts.shallow.as_ref().map(|text| text.0.as_slice());
    let git = Git::new(state, &at.join(objects), facts.sha256, shallow)?;
    let exclude = place::folder(open.as_fd(), &repository.join("info/exclude"))
        .and_then(|(folder, name)| place::read(folder.as_fd(), name, 1 << 20));
    if let Ok(Some(patterns)) = exclude {
        git.exclude(&patterns)?;
    }
    Ok(git)
}

/// Mode and object that git had at each path when the run began.
type Tracked = BTreeMap<PathBuf, (String, String)>;

/// Returns the object that HEAD led to; of a linked working tree, by the references of its
/// repository.
fn head_of(facts: &Facts, all: &[Facts]) -> Option<String> {
    refs_of(facts, all).head_object().map(str::to_owned)
}

/// Returns the repository of a linked working tree, by the files that it keeps for that tree.
fn common_of<'a>(facts: &Facts, all: &'a [Facts]) -> Option<&'a Facts> {
    let record = facts.repository.path();
    let common = record.parent().filter(|folder| folder.ends_with("worktrees"))?.parent()?;
    all.iter().find(|other| other.repository.path() == common)
}

/// Returns the references before the run; of a linked working tree, those of its repository too.
fn refs_of(facts: &Facts, all: &[Facts]) -> Refs {
    match common_of(facts, all) {
        Some(common) => facts.refs.clone().with_common(&common.refs),
        None => facts.refs.clone(),
    }
}

fn repository(
    open: &OwnedFd,
    facts: &Facts,
    head: Option<&str>,
    git: Result<&Git, String>,
) -> (Repository, Tracked) {
    let path = facts.repository.path();
    // The directory may be the repository's own folder itself.
    let shown = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
    let mut repository = Repository { path: blob::text(shown), ..Repository::default() };
    let now = place::open_folder(open.as_fd(), &path).and_then(|here| gitdir::refs::read(&here));
    let now = match now {
        Ok(now) => now,
        Err(error) => {
            repository.doubts.push(format!("it cannot be looked at: {error}"));
            return (repository, Tracked::new());
        }
    };
    if now.more || facts.refs.more {
        repository
            .doubts
            .push("its references are more, or in another form, than ringfence reads".to_owned());
    }
    let moves = gitdir::refs::changes(&facts.refs, &now);
    repository.moves = moves.map(|(name, old, new)| Move { name, old, new }).collect();
    let git = match git {
        Ok(git) => git,
        Err(error) => {
            repository.doubts.push(format!("its commits and its files' versions cannot be shown: {error}"));
            return (repository, Tracked::new());
        }
    };
    let (was, is) = (facts.refs.objects(), now.objects());
    let new: Vec<&String> = is.difference(&was).collect();
    if let Err(error) = commits(git, &new, &was, &mut repository) {
        repository.doubts.push(format!("not all commits can be shown: {error}"));
    }
    match verified(git, head, &new, &was) {
        Ok(verified) => repository.objects_are_good = verified,
        Err(error) => repository.doubts.push(format!("its objects cannot be looked at: {error}")),
    }
    let doubt = match repository.objects_are_good {
        Some(true) => None,
        Some(false) => Some(
            "its objects are not all what their names say: `git restore` may write something else than was committed",
        ),
        None => Some("its objects were not compared with their names"),
    };
    repository.doubts.extend(doubt.map(str::to_owned));
    let tracked = match head.map(|head| tracked(git, head)) {
        None => Tracked::new(),
        Some(Ok(tracked)) => tracked,
        Some(Err(error)) => {
            repository.doubts.push(format!("what HEAD had at the start cannot be shown: {error}"));
            Tracked::new()
        }
    };
    (repository, tracked)
}

fn commits(
    git: &Git,
    new: &[&String],
    was: &std::collections::BTreeSet<String>,
    repository: &mut Repository,
) -> io::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let most = format!("--max-count={}", MOST_COMMITS + 1);
    let mut words =
        vec!["log", "--no-show-signature", "--no-decorate", "--no-notes", "--no-patch", "-z", &most];
    words.push("--format=%H%n%an <%ae>%n%cI%n%s");
    words.extend(new.iter().map(|one| one.as_str()));
    words.push("--ignore-missing");
    words.push("--not");
    words.extend(was.iter().map(String::as_str));
    let answer = git.ask(&words)?;
    let text = String::from_utf8_lossy(&answer);
    for commit in text.split('\0').filter(|commit| !commit.trim().is_empty()) {
        let mut lines = commit.trim_start_matches('\n').splitn(4, '\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        repository.commits.push(Commit { id: next(), author: next(), date: next(), subject: next() });
    }
    repository.more_commits = repository.commits.len() > MOST_COMMITS;
    repository.commits.truncate(MOST_COMMITS);
    Ok(())
}

/// Tells whether objects have the content that their names say: an agent can write anything into
/// the store, and git believes most of it.
fn verified(
    git: &Git,
    head: Option<&str>,
    new: &[&String],
    was: &std::collections::BTreeSet<String>,
) -> io::Result<Option<bool>> {
    let mut objects: Vec<String> = Vec::new();
    if let Some(head) = head {
        objects.push(head.to_owned());
        let root = git.ask(&["rev-parse", "--verify", "--quiet", &format!("{head}^{{tree}}")])?;
        objects.push(String::from_utf8_lossy(&root).trim().to_owned());
        let tree =
            git.ask(&["ls-tree", "-r", "-t", "--full-tree", "--format=%(objecttype) %(objectname)", head])?;
        let lines = String::from_utf8_lossy(&tree);
        let names = lines.lines().filter_map(|line| line.split_once(' '));
        // A submodule's commits lie in its own repository.
        objects.extend(names.filter(|(kind, _)| *kind != "commit").map(|(_, name)| name.to_owned()));
    }
    if !new.is_empty() {
        let mut words = vec!["rev-list", "--objects", "--no-object-names"];
        words.extend(new.iter().map(|one| one.as_str()));
        words.push("--not");
        words.extend(was.iter().map(String::as_str));
        objects.extend(String::from_utf8_lossy(&git.ask(&words)?).lines().map(str::to_owned));
    }
    objects.sort();
    objects.dedup();
    if objects.len() > MOST_OBJECTS {
        return Ok(None);
    }
    git.forged(&objects).map(|forged| Some(forged.is_empty()))
}

fn tracked(git: &Git, head: &str) -> io::Result<Tracked> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let answer = git.ask(&["ls-tree", "-r", "-z", "--full-tree", head])?;
    let lines = answer.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let tracked = lines.filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
        let (mode, kind, object) = (words.next()?, words.next()?, words.next()?);
        let path = Path::new(OsStr::from_bytes(&line[tab + 1..])).to_owned();
        (kind == "blob").then(|| (path, (mode.to_owned(), object.to_owned())))
    });
    Ok(tracked.collect())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
