//! Judging a repository's own folder after a run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::super::find::ScanResult;
use super::super::place::{self, Displaced};
use super::super::record::{Bytes, Digest, File, digest};
use super::super::report::SettleReport;
use super::index::{self, Index};
use super::judge_index::{Beside, Marks, judge};
use super::{Apart, BOUNDS, Facts, Hiding, Print, names, print_of, refs, tree_of, whole_index};
use crate::host::walk::{Walked, walk};

/// Facts from before the run about the repositories that are judged.
pub(crate) struct Beforehand<'a, F> {
    /// Working trees that lie elsewhere.
    pub(crate) apart: &'a [Apart],
    /// Finds what is known of each, moved ones too.
    pub(crate) facts: F,
    /// Tells whether one is kept for a working tree that the agent was not given.
    pub(crate) is_of_others: &'a dyn Fn(&Path) -> bool,
}

/// Judges all repositories that are there now.
pub(crate) fn settle<'a>(
    root: BorrowedFd<'_>,
    found: &ScanResult,
    beforehand: &Beforehand<'_, impl Fn(&Path) -> Option<&'a Facts>>,
    id: &str,
    told: &mut SettleReport,
) {
    let trees = super::trees(root, found);
    for repository in &found.repositories {
        let here = match place::open_folder(root, repository) {
            Ok(here) => here,
            Err(error) if place::is_absent(&error) => continue,
            Err(error) => {
                told.failed(repository, &error);
                continue;
            }
        };
        let (around, tree) = tree_of(root, repository, &trees, beforehand.apart);
        let was = (beforehand.facts)(repository);
        let of_others = (beforehand.is_of_others)(repository);
        let mut one = One { root, here: &here, repository, around, tree, was, of_others, id, told };
        if let Err(error) = one.settle() {
            told.failed(repository, &error);
        }
    }
}

struct One<'a> {
    root: BorrowedFd<'a>,
    here: &'a OwnedFd,
    repository: &'a Path,
    /// The directory that the path of the working tree counts from.
    around: BorrowedFd<'a>,
    tree: Option<&'a Path>,
    was: Option<&'a Facts>,
    /// Set when the repository serves a working tree that the agent was not given.
    of_others: bool,
    id: &'a str,
    told: &'a mut SettleReport,
}

impl One<'_> {
    /// Does every step, whatever became of those before it: an error that an agent provokes must
    /// not keep the index from being judged.
    fn settle(&mut self) -> io::Result<()> {
        let listed = self.listed();
        let head = self.head();
        let index = self.index();
        listed.and(head).and(index).and(self.references())
    }

    fn listed(&mut self) -> io::Result<()> {
        let contents = super::contents(self.here)?;
        self.links(&contents.links)?;
        if let Some(was) = self.was {
            self.caches(&contents.caches, was)?;
            self.names(&contents.names, was)?;
        }
        Ok(())
    }

    /// Puts links aside: git follows them when it writes, so a log, a message or an object would go
    /// where the agent says.
    fn links(&mut self, now: &[(Bytes, Bytes)]) -> io::Result<()> {
        let known: BTreeMap<&Bytes, &Bytes> =
            self.was.map(|was| was.links.iter().map(|(path, to)| (path, to)).collect()).unwrap_or_default();
        for (path, to) in now.iter().filter(|(path, to)| known.get(path) != Some(&to)) {
            let path = path.path();
            let first = path.iter().next().map(Path::new).unwrap_or(Path::new(""));
            // git never looks there.
            if first.to_string_lossy().contains(".put-aside-") {
                continue;
            }
            let what = if to.0 == b"\0" { "a socket, pipe or device" } else { "a symbolic link" };
            if names::is_known(first) {
                self.aside(&path, &format!("{what}, which git follows when it writes there"))?;
            } else {
                self.told.noted(&self.repository.join(&path), &format!("new: {what}"));
            }
        }
        Ok(())
    }

    /// Removes new or changed caches, which git trusts about commits and packs and makes anew.
    fn caches(&mut self, now: &[(Bytes, Print)], was: &Facts) -> io::Result<()> {
        for (path, print) in now.iter().filter(|one| !was.caches.contains(one)) {
            // Written again since it was listed: by git, at work for the person.
            let path = path.path();
            let (folder, name) = place::folder(self.here.as_fd(), &path)?;
            let same = stat(&folder, name)?.is_some_and(|stat| Print::of(&stat) == *print);
            if same {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
                self.told
                    .whole(&self.repository.join(&path), "removed; git makes it anew from what it is about");
            }
        }
        Ok(())
    }

    fn names(&mut self, now: &[Bytes], was: &Facts) -> io::Result<()> {
        let before: BTreeSet<&Bytes> = was.names.iter().collect();
        for name in now.iter().filter(|name| !before.contains(name)) {
            let name = name.path();
            let shown = name.to_string_lossy();
            if shown.contains(".put-aside-") {
                continue;
            }
            if self.of_others && names::is_unfinished(&name) {
                self.aside(
                    &name,
                    "it there, for a working tree that it was not given: git would go on with it, or commit it. If your own git \
                     made it during the run, rename it back",
                )?;
            } else if let Some((_, doing)) =
                names::UNFINISHED.iter().find(|(mark, _)| name == Path::new(mark))
            {
                self.told.noted(
                    self.repository,
                    &format!("the agent left a {doing} unfinished: what `--continue` does is its word"),
                );
            } else if shown == "rr-cache" {
                // With this folder git reuses resolutions of conflicts, and says little about it.
                self.aside(&name, "resolutions of conflicts that git would reuse")?;
            } else if shown.ends_with(".lock") {
                self.told.noted(
                    &self.repository.join(&name),
                    "new: git says that another process works here; remove it if none does",
                );
            } else if !names::is_known(&name) {
                self.told.noted(&self.repository.join(&name), "new, and not known to ringfence");
            }
        }
        let shallow =
            place::read(self.here.as_fd(), OsStr::new("shallow"), 16 << 20).ok().flatten().map(Bytes);
        if shallow != was.shallow {
            self.told.noted(&self.repository.join("shallow"), "changed: where git takes history to begin");
        }
        Ok(())
    }

    /// Puts HEAD back where it names neither a reference nor an object: git would follow a path.
    fn head(&mut self) -> io::Result<()> {
        let Some(stat) = stat(self.here, OsStr::new("HEAD"))? else {
            return self.put_head_back("nothing there");
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let text = match kind {
            FileType::RegularFile => place::read(self.here.as_fd(), OsStr::new("HEAD"), 4096)?,
            // A link of the person's own, as git once made them; others are gone by now.
            FileType::Symlink => return Ok(()),
            _ => None,
        };
        match text.and_then(|text| refs::value(&text)) {
            Some(_) => Ok(()),
            None => self.put_head_back("what is no reference there"),
        }
    }

    fn put_head_back(&mut self, left: &str) -> io::Result<()> {
        let Some(head) = self.was.and_then(|was| was.refs.head.clone()) else { return Ok(()) };
        let path = self.repository.join("HEAD");
        let text = format!("{head}\n").into_bytes();
        self.write(&path, text, None, None)?;
        self.told.whole(&path, &format!("put back as it was; the agent had left {left}"));
        Ok(())
    }

    fn index(&mut self) -> io::Result<()> {
        let name = OsStr::new("index");
        let path = self.repository.join("index");
        let Some(stat) = stat(self.here, name)? else {
            if self.was.is_some_and(|was| was.index.is_some()) {
                self.told.noted(&path, "gone; `git reset` makes it anew");
            }
            return Ok(());
        };
        const UNREADABLE: &str = "what git may read otherwise than ringfence does; `git reset` makes it anew";
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            // A link of the person's own.
            FileType::Symlink if self.was_link(name)? => return Ok(()),
            _ => return self.aside(Path::new("index"), UNREADABLE),
        }
        let bytes = place::read(self.here.as_fd(), name, index::LARGEST)?.unwrap_or_default();
        let known = digest(&bytes);
        let same = self.was.is_some_and(|was| was.index == Some(known));
        let sha256 = match self.was {
            Some(was) => was.sha256,
            None => {
                let common = super::common(self.root, self.here, self.repository);
                super::value(self.root, &common, b"extensions.objectformat")
                    .is_some_and(|form| form == b"sha256")
            }
        };
        let Some(now) = whole_index(self.here, &bytes, sha256) else {
            // As it was before: nothing of the agent's is in it.
            if same && !is_split(&bytes, sha256) {
                return Ok(());
            }
            return self.aside(Path::new("index"), UNREADABLE);
        };
        self.hidden_changes();
        if same && !self.has_doubtful_stat(&now) && !is_split(&bytes, sha256) {
            return Ok(());
        }
        let hiding: BTreeMap<&[u8], Marks> = self
            .was
            .iter()
            .flat_map(|was| &was.hiding)
            .map(|one| (one.path.0.as_slice(), (one.valid, one.skip)))
            .collect();
        let is_there = |path: &[u8]| print_of(self.around, self.tree, path).is_some() || self.tree.is_none();
        let folds = rustix::fs::statat(self.here, "hEaD", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let Some(judged) = judge(now, &Beside { hiding: &hiding, is_there: &is_there, folds }) else {
            return self.aside(Path::new("index"), UNREADABLE);
        };
        self.write(&path, index::write(&judged.index, sha256), Some(&stat), Some(&known))?;
        if !judged.out.is_empty() {
            let paths = shown(&judged.out);
            self.told.whole(
                &path,
                &format!("taken out, since git would write it where it runs or follows it: {paths}"),
            );
        }
        if !judged.shown.is_empty() {
            let paths = shown(&judged.shown);
            self.told.whole(
                &path,
                &format!(
                    "git shows changes of these again, which the agent had told it not to look at: {paths}"
                ),
            );
        }
        Ok(())
    }

    /// Tells whether a link was there before the run with the same target.
    fn was_link(&self, name: &OsStr) -> io::Result<bool> {
        let target = rustix::fs::readlinkat(self.here, name, Vec::new())?;
        let is_it = |(path, to): &(Bytes, Bytes)| path.0 == name.as_bytes() && to.0 == target.as_bytes();
        Ok(self.was.is_some_and(|was| was.links.iter().any(is_it)))
    }

    /// Tells whether git could take a file that was written since for unchanged, by its size and
    /// time.
    fn has_doubtful_stat(&self, index: &Index) -> bool {
        let Some(tree) = self.tree else { return false };
        index.entries.iter().any(|entry| {
            let path = tree.join(OsStr::from_bytes(&entry.path));
            let Ok(stat) = rustix::fs::statat(self.around, &path, AtFlags::SYMLINK_NOFOLLOW) else {
                return false;
            };
            looks_unchanged(&entry.stat, &stat)
        })
    }

    /// Reports changes of files that the person hides from git.
    fn hidden_changes(&mut self) {
        let Some(was) = self.was else { return };
        for Hiding { path, print, .. } in &was.hiding {
            if print_of(self.around, self.tree, &path.0) != *print {
                let path = self.tree.unwrap_or(Path::new("")).join(path.path());
                self.told.noted(
                    &path,
                    "changed, which `git status` does not show: you told git not to look at it",
                );
            }
        }
    }

    fn references(&mut self) -> io::Result<()> {
        let mut now = refs::read(self.here)?;
        let was = self.was.map(|was| was.refs.clone()).unwrap_or_default();
        now.all.retain(|name, value| !refs::replaces(name) || was.all.get(name) == Some(value));
        self.replacing(&was)?;
        self.packed(&was)?;
        if self.was.is_none() {
            return Ok(());
        }
        for (name, was, now) in refs::moves(&was, &now) {
            self.told.moved(self.repository, &name, &was, &now);
        }
        if now.more {
            self.told.noted(self.repository, "its references are more, or in another form, than ringfence reads: not all that moved are told");
        }
        Ok(())
    }

    /// Puts aside new files in `refs/replace`, whatever they hold: git reads more forms of them
    /// than ringfence does.
    fn replacing(&mut self, was: &refs::Refs) -> io::Result<()> {
        let folder = match place::open_folder(self.here.as_fd(), Path::new("refs/replace")) {
            Ok(folder) => folder,
            Err(error) if place::is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut new = Vec::new();
        let walked = walk(
            folder,
            BOUNDS,
            |entry| {
                let path = Path::new("refs/replace").join(entry.path());
                let read = || {
                    let name = OsStr::from_bytes(entry.name.to_bytes());
                    refs::value(&place::read(entry.here, name, refs::LONGEST).ok()??)
                };
                let known = path.to_str().and_then(|name| was.all.get(name));
                if entry.kind() != FileType::Directory && (known.is_none() || read().as_ref() != known) {
                    new.push(path);
                }
            },
            |_| {},
        )?;
        for path in new {
            self.aside(&path, "a reference by which git shows another object in the place of one")?;
        }
        match walked {
            Walked::CutShort => Err(io::Error::other("refs/replace holds more than is looked through")),
            _ => Ok(()),
        }
    }

    fn packed(&mut self, was: &refs::Refs) -> io::Result<()> {
        let name = OsStr::new("packed-refs");
        let Some(stat) = stat(self.here, name)? else { return Ok(()) };
        let Some(text) = place::read(self.here.as_fd(), name, refs::LARGEST)? else {
            // One that was that large before is told of.
            return match was.more {
                true => Ok(()),
                false => Err(io::Error::other("packed-refs is larger than what is looked through")),
            };
        };
        if let Some(left) = refs::packed_without_replacing(&text, was) {
            let path = self.repository.join(name);
            self.write(&path, left, Some(&stat), Some(&digest(&text)))?;
            self.told
                .whole(&path, "references taken out by which git shows another object in the place of one");
        }
        Ok(())
    }

    /// Puts something aside in the repository's own folder, under a name that git knows nothing by.
    fn aside(&mut self, path: &Path, left: &str) -> io::Result<()> {
        let name = path.to_string_lossy().replace('/', "-");
        place::put_aside_to(self.here.as_fd(), path, &name, self.id)?;
        let id = self.id;
        self.told.whole(
            &self.repository.join(path),
            &format!("put aside (as {name}.put-aside-{id}-… in the repository's own folder); the agent had left {left}"),
        );
        Ok(())
    }

    #[allow(clippy::unnecessary_cast, reason = "not on macOS")]
    fn write(
        &mut self,
        path: &Path,
        text: Vec<u8>,
        like: Option<&Stat>,
        known: Option<&Digest>,
    ) -> io::Result<()> {
        let folder = rustix::fs::fstat(self.here)?;
        let mode = like.map_or(0o644, |stat| (stat.st_mode & 0o666) as u32 | 0o600);
        let like = like.unwrap_or(&folder);
        let file = File {
            whole: [0; 32],
            text: Bytes(text),
            hidden: Vec::new(),
            mode,
            owner: (like.st_uid, like.st_gid),
        };
        if place::replace_known(self.root, path, &file, known, self.id)? == Displaced::PutAside {
            self.told.whole(path, "somebody changed it while it was judged: what they wrote was put aside");
        }
        Ok(())
    }
}

/// Tells whether an index builds on another file, which the agent may have written.
fn is_split(bytes: &[u8], sha256: bool) -> bool {
    index::read(bytes, sha256).is_none_or(|index| index.base.is_some())
}

/// Tells whether a file has the size and the time of its index entry, and yet was written since.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "git cuts them too"
)]
fn looks_unchanged(entry: &index::Stat, file: &Stat) -> bool {
    let [changed, changed_part, written, _, _, _, _, _, _, size] = *entry;
    (written, size) == (file.st_mtime as u32, file.st_size as u32)
        && (changed, changed_part) != (file.st_ctime as u32, file.st_ctime_nsec as u32)
}

fn stat(here: impl AsFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn shown(paths: &[Vec<u8>]) -> String {
    const NAMED: usize = 10;
    let names: Vec<_> = paths.iter().take(NAMED).map(|path| String::from_utf8_lossy(path)).collect();
    let more = paths.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
