//! Looking through a directory that an agent may write, before the run and after it: for
//! repositories, and for files that run code later.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::kinds::{FolderKind, GITS, Kinds};
use super::listing::ListingBytes;
use super::record::{Digest, digest};
use super::remembered::Remembered;
use super::signs::{Before, Signs};
use super::{lifecycle, place, through};
use crate::host::at;
use crate::host::walk::{Bounds, Entry, Visitor, Walked, walk_side_by_side};
use crate::host::work_queue::workers;
use crate::workspace::held;

const BOUNDS: Bounds = Bounds { depth: 200, entries: 3_000_000, time: Duration::from_secs(20) };
/// The most repositories, and the most entries called `.git`: each has a bound of its own, so that
/// none crowds out another.
const MOST: usize = 20_000;
/// Files in one folder of hooks, and in all of them.
const MOST_HOOKS: usize = 2_000;
const MOST_HOOKS_IN_ALL: usize = 100_000;
/// The largest file that is read. Of a larger file, inode and times stand for the content: only the
/// kernel sets the time of a change.
const LARGEST: u64 = 4 << 20;
/// The largest hook that is read, in bytes. There may be many hooks.
const LARGEST_HOOK: u64 = 256 << 10;
/// Places that could not be looked at and are named.
const NAMED: usize = 10;

/// Folders of a repository in which every file is git's: it runs hooks, and takes addresses from
/// the two others.
pub(super) const FOLDERS: [&str; 3] = ["hooks", "branches", "remotes"];

/// Inputs of a search beside the directory that is walked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Look<'a> {
    /// Folders of hooks besides the repositories' own.
    pub(crate) hooks: &'a [PathBuf],
    /// Repositories that are looked into however far the walk gets.
    pub(crate) known: &'a [PathBuf],
    /// Set after the agent has ended: folders of the caller's own that the agent made unreadable
    /// are then made readable.
    pub(crate) after: bool,
    /// Path of the directory on this machine; links to places below it do not lead out.
    pub(crate) at: Option<&'a Path>,
    /// Signs that were there before the run, such as files that run as another user.
    pub(crate) signs: Option<&'a Before>,
}

/// Files in a directory that run code or belong to a repository.
#[derive(Debug, Default)]
pub(crate) struct ScanResult {
    /// Folders that git takes for repositories, or for what several working trees have in common.
    pub(crate) repositories: Vec<PathBuf>,
    /// Entries called `.git` that are no folder.
    pub(crate) gitfiles: Vec<PathBuf>,
    /// Files that run code later, and what is in them.
    pub(crate) risky: Remembered,
    /// Signs that give others rights, or lead out of the directory.
    pub(crate) signs: Signs,
    /// Folders of hooks with more in them than is looked at.
    pub(crate) crowded: Vec<PathBuf>,
    /// Folders that could not be looked through, and may hold repositories. Only the first few are
    /// named.
    pub(crate) unseen: Vec<String>,
    /// Links in the place of files that run code, or of folders that may hold some.
    pub(crate) links: Vec<PathBuf>,
    /// All files, and when each was changed; not after the agent.
    pub(crate) listing: ListingBytes,
}

/// Looks through the directory, once, with as many workers as the machine is worth.
pub(crate) fn find(root: BorrowedFd<'_>, look: Look<'_>) -> std::io::Result<ScanResult> {
    // Anew: a copy of the descriptor would go on where the last look ended.
    let root = held::reopen_directory(root)?;
    let stat = rustix::fs::fstat(&root)?;
    let finders = (0..workers()).map(|_| Finder::new(root.as_fd(), &stat, look)).collect();
    let (walked, finders) = walk_side_by_side(held::reopen_directory(root.as_fd())?, BOUNDS, finders)?;
    let mut found = ScanResult::default();
    found.signs.root(&stat, look.signs);
    let mut hidden = Vec::new();
    for finder in finders {
        found.append(finder.found);
        hidden.extend(finder.hidden);
    }
    // The order of the workers says nothing.
    hidden.sort();
    hidden.iter().for_each(|path| found.unseen(&path.to_string_lossy()));
    if walked == Walked::CutShort {
        found.listing.is_part();
        if found.unseen.is_empty() {
            found.unseen("what is behind its first 3,000,000 files, or 20 seconds");
        }
    }
    found.repositories.extend_from_slice(look.known);
    found.repositories.sort();
    found.repositories.dedup();
    found.gitfiles.sort();
    found.links.sort();
    found.hooks(root.as_fd(), &look.known.iter().collect());
    for link in std::mem::take(&mut found.links) {
        through::read(root.as_fd(), &link, LARGEST, |path, kind, print| {
            found.risky.insert(path, kind, print)
        });
    }
    Ok(found)
}

/// One worker of a search, and the part of the directory that it has seen.
struct Finder<'a> {
    root: BorrowedFd<'a>,
    look: Look<'a>,
    at: &'a Path,
    owner: (u32, u32),
    /// The folder of the last entry, and what that says of the files in it.
    folder: (PathBuf, FolderKind),
    found: ScanResult,
    /// Folders that could not be looked through, and may hold repositories.
    hidden: Vec<PathBuf>,
}

impl<'a> Finder<'a> {
    fn new(root: BorrowedFd<'a>, stat: &Stat, look: Look<'a>) -> Finder<'a> {
        Finder {
            root,
            look,
            at: look.at.unwrap_or(Path::new("/")),
            owner: (stat.st_uid, stat.st_gid),
            folder: (PathBuf::new(), Kinds::get().of_folder(Path::new(""))),
            found: ScanResult::default(),
            hidden: Vec::new(),
        }
    }
}

impl Visitor for Finder<'_> {
    fn visit(&mut self, entry: &Entry<'_>) {
        let path = entry.path();
        if entry.kind() == FileType::Directory {
            if path.components().count() >= BOUNDS.depth {
                self.hidden.push(path.clone());
            }
            // Where that fails, the folder is hidden.
            if self.look.after && at::lacks_rights(entry.stat) {
                let _ = at::unlock(entry.here, OsStr::from_bytes(entry.name.to_bytes()));
            }
        } else if self.folder.0 != entry.folder {
            self.folder = (entry.folder.to_owned(), Kinds::get().of_folder(entry.folder));
        }
        self.found.signs.take_in((entry, &path), self.at, self.owner, self.look.signs);
        if !self.look.after {
            self.found.listing.take_in(entry, &path);
        }
        self.found.take_in((entry, path), self.folder.1, self.look.hooks);
    }

    fn hidden(&mut self, directory: &Entry<'_>) {
        let path = directory.path();
        // Where this user cannot go, git does not go for them. What is one's own can be opened by
        // everybody who is oneself.
        let own = directory.stat.st_uid == rustix::process::geteuid().as_raw();
        let enters = || {
            rustix::fs::accessat(self.root, &path, Access::EXEC_OK, AtFlags::EACCESS) != Err(Errno::ACCESS)
        };
        if own || enters() {
            self.hidden.push(path);
        }
    }
}

impl ScanResult {
    /// Takes in what another worker found.
    fn append(&mut self, other: ScanResult) {
        other.repositories.into_iter().for_each(|path| self.repository(path));
        other.gitfiles.into_iter().for_each(|path| self.gitfile(path));
        other.unseen.iter().for_each(|what| self.unseen(what));
        let room = MOST.saturating_sub(self.links.len());
        self.links.extend(other.links.into_iter().take(room));
        self.risky.append(other.risky);
        self.signs.append(other.signs);
        self.listing.append(other.listing);
    }

    fn repository(&mut self, path: PathBuf) {
        match self.repositories.len() < MOST {
            true => self.repositories.push(path),
            false => self.unseen(&path.to_string_lossy()),
        }
    }

    fn gitfile(&mut self, path: PathBuf) {
        match self.gitfiles.len() < MOST {
            true => self.gitfiles.push(path),
            false => self.unseen(&path.to_string_lossy()),
        }
    }

    fn take_in(&mut self, (entry, path): (&Entry<'_>, PathBuf), folder: FolderKind, hooks: &[PathBuf]) {
        let kind = entry.kind();
        let has = |name: &CStr| rustix::fs::statat(entry.here, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        // In any case: whether `head` is HEAD too, the file system says. git asks for no more than
        // that these names exist.
        let is_head = entry.name.to_bytes().eq_ignore_ascii_case(b"head") && has(c"HEAD");
        let leads = is_head && has(c"commondir");
        if kind != FileType::Directory && is_head && ((has(c"objects") && has(c"refs")) || leads) {
            // Of what it leads to git reads the configuration and the hooks, without asking for a
            // HEAD there.
            let common = leads.then(|| common(entry.here, entry.folder)).flatten();
            self.repository(entry.folder.to_owned());
            common.into_iter().for_each(|common| self.repository(common));
            return;
        }
        if entry.name.to_bytes().eq_ignore_ascii_case(b".git") && kind != FileType::Directory {
            return self.gitfile(path);
        }
        if kind != FileType::RegularFile && kind != FileType::Symlink {
            return;
        }
        let is_gits = || hooks.iter().any(|hooks| path.starts_with(hooks)) || is_gits(entry, &path);
        let named = Kinds::get().in_folder(folder, &path).or_else(|| is_gits().then_some(GITS));
        if kind == FileType::Symlink {
            let kind = named.or_else(|| Kinds::get().below(&path));
            if let (Some(kind), Some(print)) = (kind, print(entry.here, entry.name, entry.stat, &path)) {
                if self.links.len() < MOST {
                    self.links.push(path.clone());
                }
                self.risky.insert(path, kind, print);
            }
        } else if let Some(kind) = named
            && let Some(print) = print(entry.here, entry.name, entry.stat, &path)
        {
            let name = OsStr::from_bytes(entry.name.to_bytes());
            // What runs at an install is told apart, as a name that no list has.
            if lifecycle::is_asked(name.as_bytes())
                && let Ok(Some(text)) = place::read(entry.here, name, LARGEST)
                && let Some((suffix, kind, print)) = lifecycle::of(name.as_bytes(), &text)
            {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                self.risky.insert(name.into(), kind, print);
            }
            self.risky.insert(path, kind, print);
        }
    }

    fn unseen(&mut self, what: &str) {
        if self.unseen.len() < NAMED {
            self.unseen.push(what.to_owned());
        }
    }

    /// Hooks are listed in their folder: nothing that lies elsewhere keeps them from being seen.
    fn hooks(&mut self, root: BorrowedFd<'_>, known: &BTreeSet<&PathBuf>) {
        let mut left = MOST_HOOKS_IN_ALL;
        let until = Instant::now() + BOUNDS.time;
        let (first, rest): (Vec<_>, Vec<_>) =
            self.repositories.iter().cloned().partition(|repository| known.contains(repository));
        for repository in first.into_iter().chain(rest) {
            for folder in FOLDERS {
                let folder = repository.join(folder);
                if Instant::now() > until {
                    self.unseen(&folder.to_string_lossy());
                    continue;
                }
                match hooks_in(root, &folder, left.min(MOST_HOOKS)) {
                    Ok(Some(hooks)) => {
                        left -= hooks.len();
                        hooks.into_iter().for_each(|(path, print)| self.risky.insert(path, GITS, print));
                    }
                    Ok(None) => self.crowded.push(folder),
                    Err(_) => self.unseen(&folder.to_string_lossy()),
                }
            }
        }
    }
}

/// Returns the folder that `commondir` leads to, by its words.
fn common(here: BorrowedFd<'_>, folder: &Path) -> Option<PathBuf> {
    let text = place::read(here, OsStr::new("commondir"), 4096).ok()??;
    place::below(folder, Path::new(OsStr::from_bytes(place::one_path(&text))))
}

/// Lists the files in a folder of hooks. Returns nothing when there are more than `most`.
fn hooks_in(
    root: BorrowedFd<'_>,
    folder: &Path,
    most: usize,
) -> std::io::Result<Option<Vec<(PathBuf, Digest)>>> {
    // What is put in the place of the folder is looked at by itself.
    let open = match place::open_folder(root, folder) {
        Err(error) if place::is_absent(&error) => return Ok(Some(Vec::new())),
        open => open?,
    };
    let mut hooks = Vec::new();
    for listed in rustix::fs::Dir::read_from(&open)? {
        let listed = listed?;
        let name = listed.file_name().to_bytes();
        // What was put aside is no hook any more.
        let harmless = name.ends_with(b".sample") || name.windows(11).any(|part| part == b".put-aside-");
        let Ok(stat) = rustix::fs::statat(&open, listed.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if harmless || (kind != FileType::RegularFile && kind != FileType::Symlink) {
            continue;
        }
        if hooks.len() == most {
            return Ok(None);
        }
        let path = folder.join(OsStr::from_bytes(name));
        if let Some(print) = print(open.as_fd(), listed.file_name(), &stat, &path) {
            hooks.push((path, print));
        }
    }
    Ok(Some(hooks))
}

/// Tells whether a path is a hook, or an old-style address of a remote, in the own folder of one of
/// these repositories.
pub(super) fn is_hook(path: &Path, repositories: &[PathBuf]) -> bool {
    let folder = path.parent().filter(|folder| FOLDERS.iter().any(|name| folder.ends_with(name)));
    folder
        .and_then(Path::parent)
        .is_some_and(|folder| repositories.binary_search_by(|other| other.as_path().cmp(folder)).is_ok())
}

/// Tells whether git takes orders from a file in a repository's own folder.
fn is_gits(entry: &Entry<'_>, path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_ascii_lowercase();
    let name = entry.name.to_bytes().to_ascii_lowercase();
    let meant = (folder == "info" && name == b"attributes")
        || (folder == "rebase-merge" && name == b"git-rebase-todo");
    let has = |name: &CStr| rustix::fs::statat(entry.here, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    meant && (has(c"../HEAD") || (has(c"../objects") && has(c"../refs")))
}

/// Digests a file's content. Returns nothing for content that runs no code.
fn print(here: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &Path) -> Option<Digest> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = rustix::fs::readlinkat(here, name, Vec::new()).ok()?;
        return Some(digest(&[b"link ", target.as_bytes()].concat()));
    }
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let is_hook = FOLDERS.iter().any(|hooks| folder.eq_ignore_ascii_case(hooks));
    let most = if is_hook { LARGEST_HOOK } else { LARGEST };
    let text = read(here, OsStr::from_bytes(name.to_bytes()), stat, most);
    // A hook that could not be started, and now can, is another.
    let runs = place::permissions(stat) & 0o111 != 0;
    let whole = |text: &[u8]| digest(&[text, if runs { b" runs" } else { b"" }].concat());
    let kept: Vec<&[u8]> = match name.to_bytes().to_ascii_lowercase().as_slice() {
        _ if is_hook => return Some(whole(&text)),
        b".gitattributes" | b"attributes" => lines_with(&text, &[b"filter", b"diff=", b"merge="]),
        // A rebase that a person continues runs the commands in it.
        b"git-rebase-todo" => commands(&text),
        _ => return Some(whole(&text)),
    };
    (!kept.is_empty()).then(|| digest(&kept.concat()))
}

fn lines_with<'a>(text: &'a [u8], words: &[&[u8]]) -> Vec<&'a [u8]> {
    let has = |line: &&[u8]| words.iter().any(|word| line.windows(word.len()).any(|part| part == *word));
    text.split_inclusive(|byte| *byte == b'\n').filter(has).collect()
}

/// Returns the lines of a rebase that run something, each as the word and any white space.
fn commands(text: &[u8]) -> Vec<&[u8]> {
    let word =
        |line: &[u8]| line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).map(<[u8]>::to_vec);
    let runs = |line: &&[u8]| matches!(word(line).as_deref(), Some(b"exec" | b"x"));
    text.split_inclusive(|byte| *byte == b'\n').filter(runs).collect()
}

/// Returns a file's content, or a text that stands for it.
fn read(here: BorrowedFd<'_>, name: &OsStr, stat: &Stat, most: u64) -> Vec<u8> {
    match place::read(here.as_fd(), name, most) {
        Ok(Some(text)) => text,
        _ => {
            format!("{} {} {} {}", stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec).into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(dir: &Path) -> ScanResult {
        let root = fs::File::open(dir).unwrap();
        find(root.as_fd(), Look::default()).unwrap();
        find(root.as_fd(), Look { hooks: &[PathBuf::from("scripts/hooks")], ..Look::default() }).unwrap()
    }

    fn put(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn repositories_and_files_that_run_code_are_found_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for repository in [".git", "lib/.git", ".git/modules/m", "hidden/bare"] {
            put(root, &format!("{repository}/HEAD"), "ref: refs/heads/main\n");
            fs::create_dir_all(root.join(repository).join("objects")).unwrap();
            fs::create_dir_all(root.join(repository).join("refs")).unwrap();
        }
        // Branches of these names are no repository.
        put(root, ".git/refs/remotes/origin/HEAD", "ref: refs/remotes/origin/main\n");
        put(root, ".git/refs/remotes/origin/objects", "00\n");
        put(root, ".git/worktrees/w/HEAD", "");
        put(root, ".git/worktrees/w/commondir", "../..\n");
        put(root, "sub/.git", "gitdir: ../.git/modules/m\n");
        std::os::unix::fs::symlink(".git", root.join("lib/.GIT")).ok();
        let risky = [
            ".git/hooks/pre-commit",
            ".envrc",
            "a/.vscode/tasks.json",
            ".idea/x/y.xml",
            ".husky/pre-push",
            ".github/workflows/ci.yml",
            "scripts/hooks/pre-commit",
            ".mise.toml",
            "mise.local.toml",
            ".claude/settings.json",
            ".git/rebase-merge/git-rebase-todo",
            ".gitattributes",
            "lefthook.yml",
            ".git/info/attributes",
            ".ringfence.yml",
        ];
        for path in risky {
            put(root, path, "exec\tevil\n* filter=evil\n");
        }
        for path in [
            ".git/hooks/pre-commit.sample",
            "src/main.rs",
            "HEAD",
            "b/.gitattributes",
            "x/hooks/y",
            "x/info/attributes",
        ] {
            put(root, path, "* text=auto\n");
        }
        let found = found(root);
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            found.repositories,
            paths(&[".git", ".git/modules/m", ".git/worktrees/w", "hidden/bare", "lib/.git"])
        );
        assert_eq!(found.gitfiles, paths(&["lib/.GIT", "sub/.git"]));
        let mut wanted = paths(&risky);
        wanted.sort();
        assert_eq!(found.risky.paths(), wanted);
        assert!(
            found.risky.forgotten().is_empty() && found.unseen.is_empty() && found.crowded.is_empty(),
            "{found:?}"
        );
    }
}
