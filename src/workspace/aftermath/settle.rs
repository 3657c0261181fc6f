//! Putting back, when the agent has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::config::parse;
use super::find::{FOLDERS, Look, ScanResult, find, is_hook};
use super::gitdir::{self, Apart};
use super::judge::{Before, Judged, judge};
use super::keys::KeyContext;
use super::kinds::Kinds;
use super::lfs;
use super::pin::PARTS;
use super::place::{self, Displaced};
use super::record::{Bytes, File, Made, Pinned, Root, Tree, Was};
use super::report::SettleReport;
use super::risks::State;
use super::signs;
use crate::host::identity::Identity;
use crate::workspace::held;
use crate::workspace::repository::PROJECT;
use crate::workspace::worktree::REPOSITORY;

const UNREADABLE: &str = "what git could not read, or more than anybody writes";
/// Settling takes no longer; what it did not come to is a failure, and tried again.
const TIME: Duration = Duration::from_secs(60);
/// The most bytes that an agent may add to a configuration; of a longer addition nothing is kept.
const MOST_ADDED: usize = 64 << 10;

/// Puts back what is below one root, open; `id` is the workflow's.
pub(crate) fn settle(root: &Root, open: &OwnedFd, id: &str) -> SettleReport {
    let until = Instant::now() + TIME;
    // Below a directory that is a repository's own folder, `config` or nothing at all would name
    // what is meant.
    let is_own = !root.trees.is_empty() || root.git.iter().any(|facts| facts.repository.0.is_empty());
    let mut settling = Settling {
        root: open.as_fd(),
        at: root.path.path(),
        id,
        until,
        branches: gitdir::branches(&root.git),
        told: if is_own { SettleReport::below(root.path.path()) } else { SettleReport::default() },
    };
    for pinned in &root.pinned {
        settling.settle(pinned, false);
    }
    if let Err(error) = settling.look_through(root) {
        settling.told.failed(&root.path.path(), &error);
    }
    settling.told.settled()
}

struct Settling<'a> {
    root: BorrowedFd<'a>,
    at: PathBuf,
    id: &'a str,
    until: Instant,
    branches: BTreeSet<String>,
    told: SettleReport,
}

impl Settling<'_> {
    fn look_through(&mut self, root: &Root) -> io::Result<()> {
        // The root may have lost its rights too.
        place::open_folder(self.root, Path::new(""))?;
        let hooks: Vec<PathBuf> = root.hooks.iter().map(Bytes::path).collect();
        let parts = root.pinned.iter().map(|pinned| pinned.path.path());
        let known: Vec<PathBuf> = parts
            .filter(|path| path.ends_with("hooks"))
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        let signs = root.signs.as_ref().map(|signs| signs::before(&signs.0));
        let look =
            Look { hooks: &hooks, known: &known, after: true, at: Some(&self.at), signs: signs.as_ref() };
        let found = find(self.root, look)?;
        self.new_repositories(root, &found);
        self.new_gitfiles(root, &found);
        for folder in &found.crowded {
            if let Err(error) = self.aside(folder, "more there than anybody looks through") {
                self.told.failed(folder, &error);
            }
        }
        found.unseen.iter().for_each(|what| self.told.unseen(what));
        self.git_folders(root, &found);
        self.risks(root, found);
        Ok(())
    }

    fn git_folders(&mut self, root: &Root, found: &ScanResult) {
        let known: BTreeMap<PathBuf, &gitdir::Facts> =
            root.git.iter().map(|facts| (facts.repository.path(), facts)).collect();
        let moved: BTreeMap<Made, PathBuf> =
            root.folders.iter().map(|(path, made)| (*made, path.path())).collect();
        let before = |repository: &Path| {
            let from = || moved.get(&place::made(self.root, repository).ok()?);
            known.get(repository).or_else(|| known.get(from()?)).copied()
        };
        let beforehand = gitdir::Beforehand {
            apart: &trees_apart(&root.trees),
            facts: before,
            is_of_others: &|repository| is_of_others(&root.trees, repository),
        };
        gitdir::settle(self.root, found, &beforehand, self.id, &mut self.told);
    }

    fn settle(&mut self, pinned: &Pinned, new: bool) {
        let path = pinned.path.path();
        if Instant::now() > self.until {
            self.told.failed(&path, &"there was no time left");
        } else if let Err(error) = self.try_settle(pinned, &path, new) {
            self.told.failed(&path, &error);
        }
    }

    fn try_settle(&mut self, pinned: &Pinned, path: &Path, new: bool) -> io::Result<()> {
        let (here, name) = match place::folder(self.root, path) {
            Ok(place) => place,
            Err(error) if place::is_absent(&error) => {
                // No link was on the way before the run.
                if let Some(link) = place::link_on_the_way(self.root, path)? {
                    self.aside(&link, "a symbolic link in the place of a folder")?;
                }
                if let Was::File(was) = &pinned.was
                    && self.make_info(path)?
                {
                    return self.whole(path, was, "nothing there");
                }
                // Nothing is made anew where a whole folder is gone: nothing is read there either.
                if pinned.was == Was::Folder {
                    self.told.whole(path, "gone, with the folder that it was in");
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let now = place::look_in(here.as_fd(), name)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        match (&pinned.was, &now) {
            (Was::File(was), Was::File(now)) if was.whole == now.whole => Ok(()),
            (Was::Link(was), Was::Link(now)) if was == now => Ok(()),
            (Was::Absent, Was::Absent) | (Was::Folder, Was::Folder) => Ok(()),
            // What is in it is looked at by itself.
            (Was::Absent, Was::Folder) if FOLDERS.iter().any(|folder| name == *folder) => Ok(()),
            (Was::Folder, Was::Absent) => {
                self.told.whole(path, "gone");
                Ok(())
            }
            (Was::File(was), Was::File(now)) if pinned.config => {
                let before = Before { text: &was.text.0, hidden: &was.hidden };
                let place = KeyContext { new: false, tree: None, branches: &self.branches };
                match self.judge(before, &now.text.0, place) {
                    Some(judged) => self.rewrite(path, was, now, judged),
                    None => self.whole(path, was, UNREADABLE),
                }
            }
            (Was::Absent, Was::File(now)) if pinned.config => {
                let tree = if new { self.tree(folder, &now.text.0) } else { None };
                let place = KeyContext { new, tree: tree.as_deref(), branches: &self.branches };
                match self.judge(Before::default(), &now.text.0, place) {
                    Some(judged) => self.rewrite(path, now, now, judged),
                    None => self.aside(path, UNREADABLE),
                }
            }
            // A working tree that git made for the agent says so in these words.
            (Was::Absent, Was::File(now))
                if new && is_of_worktree(folder) && place::one_path(&now.text.0) == b"../.." =>
            {
                Ok(())
            }
            (Was::Absent, Was::File(now)) if new && is_gits_own(path, &now.text.0) => Ok(()),
            (Was::File(was), other) => self.whole(path, was, what(other)),
            (Was::Link(target), other) => {
                place::link(self.root, path, &target.0, self.id)?;
                self.told
                    .whole(path, &format!("put back as it was, a link; the agent had left {}", what(other)));
                Ok(())
            }
            (Was::Absent | Was::Folder | Was::Else, other) => self.aside(path, what(other)),
        }
    }

    /// Makes the folder `info` of a repository anew, in which git finds what it must not add.
    /// Whether it was made.
    fn make_info(&self, path: &Path) -> io::Result<bool> {
        let Some(info) = path.parent().filter(|info| info.ends_with("info")) else { return Ok(false) };
        let (here, name) = match place::folder(self.root, info) {
            Ok(place) => place,
            Err(error) if place::is_absent(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        if place::look_in(here.as_fd(), name)? != Was::Absent {
            return Ok(false);
        }
        rustix::fs::mkdirat(&here, name, rustix::fs::Mode::from_raw_mode(0o755))?;
        Ok(true)
    }

    fn judge(&self, before: Before<'_>, now: &[u8], place: KeyContext<'_>) -> Option<Judged> {
        let most = before.text.len() + MOST_ADDED;
        (now.len() <= most).then(|| judge(before, now, place))?
    }

    /// Returns the working tree that a new repository names, if that is a folder below the root
    /// which names the repository in turn.
    fn tree(&self, folder: &Path, config: &[u8]) -> Option<String> {
        let entries = parse(config)?;
        let mut named = entries.iter().filter(|entry| entry.name == b"core.worktree");
        let (Some(entry), None) = (named.next(), named.next()) else { return None };
        let named = std::str::from_utf8(entry.value.as_deref()?).ok()?;
        let tree = place::below(folder, Path::new(named))?;
        (self.repository_of(&tree.join(".git")).ok()?.as_deref() == Some(folder)).then(|| named.to_owned())
    }

    /// Returns the folder below the root that a file `.git` leads to, by its words.
    fn repository_of(&self, gitfile: &Path) -> io::Result<Option<PathBuf>> {
        Ok(self.led_to(gitfile)?.and_then(|target| match target.strip_prefix(&self.at) {
            Ok(below) => place::below(Path::new(""), below),
            Err(_) => place::below(gitfile.parent()?, &target),
        }))
    }

    /// Returns the target of a `.git` file.
    fn led_to(&self, gitfile: &Path) -> io::Result<Option<PathBuf>> {
        let Was::File(file) = place::look(self.root, gitfile)? else { return Ok(None) };
        let Some(target) = file.text.0.strip_prefix(b"gitdir: ") else { return Ok(None) };
        Ok(Some(PathBuf::from(OsStr::from_bytes(place::one_path(target)))))
    }

    fn rewrite(&mut self, path: &Path, was: &File, now: &File, judged: Judged) -> io::Result<()> {
        if judged.text != now.text.0 {
            let file = File { text: Bytes(judged.text), ..was.clone() };
            let displaced = place::replace_known(self.root, path, &file, Some(&now.whole), self.id)?;
            if displaced == Displaced::PutAside {
                self.told
                    .whole(path, "somebody changed it while it was put back: what they wrote was put aside");
            }
        }
        if !judged.lost.is_empty() {
            let lost = judged.lost.join(", ");
            self.told.whole(path, &format!("{lost} held a secret, of which no copy is kept; your own file went where its folder was renamed to"));
        }
        self.told.keys(path.to_owned(), judged.put_back);
        self.told.remotes(path, &judged.remotes);
        Ok(())
    }

    fn whole(&mut self, path: &Path, was: &File, left: &str) -> io::Result<()> {
        place::replace(self.root, path, was, self.id)?;
        let secrets =
            if was.hidden.is_empty() { "" } else { ", but for its secrets, of which no copy is kept" };
        self.told.whole(path, &format!("put back as it was{secrets}; the agent had left {left}"));
        Ok(())
    }

    fn aside(&mut self, path: &Path, left: &str) -> io::Result<()> {
        place::put_aside(self.root, path, self.id)?;
        self.told.whole(
            path,
            &format!("put aside (it ends in .put-aside-{}-… now); the agent had left {left}", self.id),
        );
        Ok(())
    }

    /// Repositories that were not there before: nothing of their configuration is the person's,
    /// unless they were only moved.
    fn new_repositories(&mut self, root: &Root, found: &ScanResult) {
        let before: BTreeMap<PathBuf, &Pinned> =
            root.pinned.iter().map(|pinned| (pinned.path.path(), pinned)).collect();
        let moved: BTreeMap<Made, PathBuf> =
            root.folders.iter().map(|(path, made)| (*made, path.path())).collect();
        for repository in &found.repositories {
            if before.contains_key(&repository.join("config")) {
                continue;
            }
            let from = place::made(self.root, repository).ok().and_then(|made| moved.get(&made));
            for (name, config) in PARTS {
                let pinned = from.and_then(|from| before.get(&from.join(name)));
                let was = pinned.map_or(Was::Absent, |pinned| pinned.was.clone());
                let path = repository.join(name).as_path().into();
                self.settle(&Pinned { path, config, was }, pinned.is_none());
            }
        }
    }

    /// Keeps a new file `.git` where it leads to a repository that was judged, and puts others
    /// aside.
    fn new_gitfiles(&mut self, root: &Root, found: &ScanResult) {
        let known: BTreeSet<PathBuf> = root.pinned.iter().map(|pinned| pinned.path.path()).collect();
        for gitfile in found.gitfiles.iter().filter(|path| !known.contains(*path)) {
            let judged = |repository| found.repositories.binary_search(&repository).is_ok();
            let stays = self.repository_of(gitfile).map(|repository| {
                repository.is_some_and(judged)
                    // A linked working tree has its path in the container, which leads nowhere
                    // here.
                    || self.led_to(gitfile).ok().flatten().is_some_and(|target| {
                        [PROJECT, REPOSITORY].iter().any(|place| {
                            target.starts_with(place) && Path::new(place).symlink_metadata().is_err()
                        })
                    })
            });
            let done = match stays {
                Ok(true) => {
                    self.new_tree(gitfile);
                    Ok(())
                }
                Ok(false) => self.aside(gitfile, "something there that leads git to what was not looked at"),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.told.failed(gitfile, &error);
            }
        }
    }

    /// Reports a linked working tree that was made in the container, and has the paths that hold
    /// there.
    fn new_tree(&mut self, gitfile: &Path) {
        let Ok(Some(target)) = self.led_to(gitfile) else { return };
        let Ok(below) = target.strip_prefix(PROJECT) else {
            if !target.starts_with(REPOSITORY) {
                return;
            }
            let tree = gitfile.parent().map(|tree| self.at.join(tree)).unwrap_or_default();
            let tree = netpolicy::diagnostic::harmless(&tree.to_string_lossy());
            self.told.noted(
                gitfile,
                &format!("a linked working tree that the agent made, with paths that hold inside only: `git worktree repair {tree}` mends it"),
            );
            return;
        };
        let (Some(tree), Some(own)) = (gitfile.parent(), place::below(Path::new(""), below)) else { return };
        let own = own.ancestors().find(|folder| folder.ends_with("worktrees")).and_then(Path::parent);
        let Some(main) = own.and_then(Path::parent) else { return };
        let main = if main.as_os_str().is_empty() { self.at.clone() } else { self.at.join(main) };
        self.told.tree(tree, &main, &self.at.join(tree));
    }

    /// Tells whether a hook is what git-lfs writes.
    fn is_of_lfs(&self, path: &Path) -> bool {
        match place::look(self.root, path) {
            Ok(Was::File(file)) => lfs::is_hook(path, &file.text.0),
            _ => false,
        }
    }

    fn risks(&mut self, root: &Root, found: ScanResult) {
        self.told.risks.forget(found.risky.forgotten());
        self.told.signs.append(found.signs.told);
        let before: BTreeMap<PathBuf, _> =
            root.risky.iter().map(|(path, print)| (path.path(), print)).collect();
        for (path, kind, print) in found.risky.iter() {
            let was = before.get(path);
            if was.is_some_and(|was| *was == print) {
                continue;
            }
            if !is_hook(path, &found.repositories) {
                let state = if was.is_none() { State::New } else { State::Changed };
                self.told.risks.add(path.clone(), kind, state);
            } else if was.is_none() && self.is_of_lfs(path) {
                self.told.noted(path, "new: the hook that `git lfs install` writes, word for word");
            } else if let Err(error) = self.aside(path, "a hook there") {
                self.told.failed(path, &error);
            }
        }
        // What was told of before is not, where names had to be forgotten.
        if !found.risky.forgotten().is_empty() {
            return;
        }
        for path in before.keys().filter(|path| found.risky.get(path).is_none()) {
            if let Some(kind) = Kinds::get().of(path) {
                self.told.risks.add(path.clone(), kind, State::Gone);
            }
        }
    }
}

/// Opens the working trees that are what they were. Without one, every mark by which git does not
/// look at a file goes, but those of the person's.
pub(super) fn trees_apart(trees: &[Tree]) -> Vec<Apart> {
    let open = |tree: &Tree| {
        let open = held::reopen_directory(held::open(&tree.path.path()).ok()?).ok()?;
        let is_it = tree.identity.is(Identity::of(&open).ok()?, false);
        is_it.then(|| Apart { repository: tree.repository.path(), open })
    };
    trees.iter().filter_map(open).collect()
}

/// Tells whether a repository's folder serves a working tree that is none of these, nor a submodule
/// of one.
fn is_of_others(trees: &[Tree], repository: &Path) -> bool {
    let is_of = |tree: &Tree| {
        let own = tree.repository.path();
        repository == own || repository.starts_with(own.join("modules"))
    };
    !trees.is_empty() && !trees.iter().any(is_of)
}

/// Tells whether git itself writes this file into a new repository: `info/exclude`, or the place of
/// a linked working tree.
fn is_gits_own(path: &Path, text: &[u8]) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    path.ends_with("info/exclude")
        || (path.ends_with("gitdir") && is_of_worktree(folder) && place::one_path(text).ends_with(b"/.git"))
}

/// Tells whether a folder is one of `.git/worktrees`.
fn is_of_worktree(folder: &Path) -> bool {
    folder.parent().is_some_and(|parent| parent.ends_with("worktrees"))
}

fn what(now: &Was) -> &'static str {
    match now {
        Was::Absent => "nothing there",
        Was::Folder => "a folder there",
        Was::Link(_) => "a symbolic link there",
        Was::File(_) => "another file there",
        Was::Else => "something there that is no readable file",
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
