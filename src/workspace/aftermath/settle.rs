//! Putting back, when the agent has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::find::{Found, find, is_hook};
use super::judge::{Before, Judged, judge};
use super::keys::Place;
use super::pin::PARTS;
use super::place;
use super::record::{Bytes, File, Pinned, Root, Was};
use super::told::Told;

/// Puts back what is below one root, open; `id` is the workflow's.
pub fn settle(root: &Root, open: &OwnedFd, id: &str) -> Told {
    let mut settling = Settling { root: open.as_fd(), id, told: Told::default() };
    for pinned in &root.pinned {
        settling.settle(pinned, false);
    }
    let hooks: Vec<PathBuf> = root.hooks.iter().map(Bytes::path).collect();
    match find(open.as_fd(), &hooks) {
        Ok(found) => {
            settling.new_repositories(root, &found);
            settling.risks(root, found);
        }
        Err(error) => settling.told.failed(&root.path.path(), &error),
    }
    settling.told
}

struct Settling<'a> {
    root: BorrowedFd<'a>,
    id: &'a str,
    told: Told,
}

impl Settling<'_> {
    fn settle(&mut self, pinned: &Pinned, new: bool) {
        let path = pinned.path.path();
        if let Err(error) = self.try_settle(pinned, &path, new) {
            self.told.failed(&path, &error);
        }
    }

    fn try_settle(&mut self, pinned: &Pinned, path: &Path, new: bool) -> io::Result<()> {
        let (here, name) = match place::folder(self.root, path) {
            Ok(place) => place,
            Err(error) if place::is_absent(&error) => {
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
            (Was::Absent, Was::Folder) if name == "hooks" => Ok(()),
            (Was::Folder, Was::Absent) => {
                self.told.whole(path, "gone");
                Ok(())
            }
            (Was::File(was), Was::File(now)) if pinned.config => {
                let before = Before { text: &was.text.0, hidden: &was.hidden };
                match judge(before, &now.text.0, Place { folder, new: false }) {
                    Some(judged) => self.rewrite(path, was, now, judged),
                    None => self.whole(path, was, "git could not read what the agent left there"),
                }
            }
            (Was::Absent, Was::File(now)) if pinned.config => {
                match judge(Before::default(), &now.text.0, Place { folder, new }) {
                    Some(judged) => self.rewrite(path, now, now, judged),
                    None => self.aside(path, "git could not read what the agent left there"),
                }
            }
            // A working tree that git made for the agent says so in these words.
            (Was::Absent, Was::File(now))
                if new && is_of_worktree(folder) && now.text.0.trim_ascii() == b"../.." =>
            {
                Ok(())
            }
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

    fn rewrite(&mut self, path: &Path, was: &File, now: &File, judged: Judged) -> io::Result<()> {
        if judged.text != now.text.0 {
            let file = File { text: Bytes(judged.text), ..was.clone() };
            place::replace(self.root, path, &file, self.id)?;
        }
        if !judged.lost.is_empty() {
            let lost = judged.lost.join(", ");
            self.told.whole(path, &format!("{lost} held a secret, of which no copy is kept; your own file went where its folder was renamed to"));
        }
        self.told.keys(path.to_owned(), judged.put_back);
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

    /// Repositories that were not there before: nothing of their configuration is the person's.
    fn new_repositories(&mut self, root: &Root, found: &Found) {
        let known: BTreeSet<PathBuf> = root.pinned.iter().map(|pinned| pinned.path.path()).collect();
        for repository in &found.repositories {
            for (name, config) in PARTS {
                let path = repository.join(name);
                if !known.contains(&path) {
                    let path = path.as_path().into();
                    self.settle(&Pinned { path, config, was: Was::Absent }, true);
                }
            }
        }
    }

    fn risks(&mut self, root: &Root, found: Found) {
        if found.cut_short || root.cut_short {
            self.told.cut_short();
        }
        let before: BTreeMap<PathBuf, _> =
            root.risky.iter().map(|(path, print)| (path.path(), print)).collect();
        for (path, print) in found.risky {
            let was = before.get(&path);
            if was.is_some_and(|was| **was == print) {
                continue;
            }
            if !is_hook(&path, &found.repositories) {
                self.told.risky(path, was.is_none());
            } else if let Err(error) = self.aside(&path, "a hook there") {
                self.told.failed(&path, &error);
            }
        }
    }
}

/// Whether a folder is one of `.git/worktrees`.
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
