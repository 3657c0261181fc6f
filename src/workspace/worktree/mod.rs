//! `--worktree`: a project whose repository lies outside of it, and what git needs to work there.
//!
//! ```text
//!  DIR/.git, a file ─▶ MAIN/.git/worktrees/NAME ─ gitdir ────────▶ DIR?   a linked working tree
//!                    ─▶ SUPER/.git/modules/NAME ─ core.worktree ─▶ DIR?   a submodule
//!  a folder above, with one of these or a folder `.git` ────────────────▶ a part of a working tree
//! ```
//! A file `.git` in a project is anybody's word. What it leads to counts only where that leads back
//! to the working tree: by its own files, which the project's author did not write. What is given
//! is told by path.

mod layout;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use netpolicy::diagnostic::harmless;
use rustix::fs::{AtFlags, FileType};

pub(crate) use self::layout::{Mirror, Pointer, REPOSITORY, is_below_repository};
use super::aftermath::{config_value, place};
use super::machine::Machine;
use super::mounts::{self, Bind};
use super::repository::PROJECT;
use crate::host::identity::Identity;
use crate::host::open;
use crate::term::{COULD_NOT_RUN, Failure};

/// Files that hold one path are shorter.
const LONGEST: u64 = 64 << 10;
/// A configuration is shorter.
const LARGEST: u64 = 1 << 20;

/// A working tree whose repository lies elsewhere, and what of both the agent is given.
#[derive(Debug)]
pub(crate) struct Worktree {
    /// The root of the working tree.
    pub(crate) root: Bind,
    /// The project in it, where that is a part: only this part can be written.
    pub(crate) part: Option<Bind>,
    /// The folder with objects, references and configuration, to be written.
    pub(crate) git: Bind,
    /// Folder in the repository for this working tree: `worktrees/NAME` of a linked one, else
    /// nothing.
    pub(crate) record: PathBuf,
    /// Files that hold paths of this machine, and what they say inside.
    pub(crate) pointers: Vec<Pointer>,
    /// Place of the repository in the container, if it differs from its place in the working tree.
    pub(crate) mirror: Option<Mirror>,
    /// Description of what is given, in words.
    pub(crate) told: String,
}

impl Worktree {
    /// Finds the repository of a project.
    ///
    /// # Errors
    /// Where it is not needed, where nothing leads back to the project, and where what it leads to
    /// is not given to an agent.
    pub(crate) fn of(project: &Bind, machine: &Machine) -> Result<Worktree, Failure> {
        let at = &project.source;
        let Some(root_path) = at.ancestors().find(|folder| has_git(folder)) else {
            let what = format!("{}: no git repository is there or above", called(at));
            return Err(Failure::new(COULD_NOT_RUN, what).hint("leave out --worktree"));
        };
        let is_part = root_path != at.as_path();
        let root = match is_part {
            false => project.clone(),
            true => {
                let what = format!("{}, a part of the repository in {}", called(at), shown(root_path));
                let root = mounts::of_repository(&what, root_path, PROJECT.to_owned(), false, machine)?;
                must_be_own(&root, project)?;
                root
            }
        };
        let below = at.strip_prefix(root_path).unwrap_or(Path::new(""));
        let target = inside(PROJECT, below)?;
        let part = is_part.then(|| project.moved_to(target));
        let open = root.reopen().map_err(|error| unreadable(root_path, &error))?;
        let found = match kind(&open, ".git") {
            Some(FileType::Directory) if !is_part => {
                let what = format!("{}: its repository lies in it", called(at));
                return Err(Failure::new(COULD_NOT_RUN, what).hint("leave out --worktree: it is not needed"));
            }
            Some(FileType::Directory) => {
                LinkedRepository { git: root_path.join(".git"), record: PathBuf::new(), what: String::new() }
            }
            Some(FileType::RegularFile) => led_to(root_path, &open)?,
            _ => {
                let what =
                    format!("{}: {} is a link, or no file", called(at), shown(&root_path.join(".git")));
                return Err(Failure::new(COULD_NOT_RUN, what).hint(
                    "give the agent the directory that holds the repository itself, or a clone (`git clone`)",
                ));
            }
        };
        let mirror = match found.git.starts_with(root_path) {
            true if found.git == root_path.join(".git") => None,
            true => {
                let what = format!(
                    "{}: its repository, {}, lies in the working tree",
                    called(at),
                    shown(&found.git)
                );
                let hint = "leave out --worktree, and give --project the whole working tree";
                return Err(Failure::new(COULD_NOT_RUN, what).hint(hint));
            }
            false => Some(Mirror::of(root_path, &found.git)?),
        };
        let target = match &mirror {
            None => inside(PROJECT, Path::new(".git"))?,
            Some(mirror) => inside(REPOSITORY, &mirror.git)?,
        };
        let what = format!("{}, whose repository is {}", called(at), shown(&found.git));
        let git = mounts::of_repository(&what, &found.git, target, true, machine)?;
        must_be_own(&git, project)?;
        must_be_apart(&git, &root)?;
        let mut pointers = match &mirror {
            None => Vec::new(),
            Some(mirror) => layout::pointers(&root, &git.source, mirror)?,
        };
        if !found.record.as_os_str().is_empty() {
            // Inside this working tree is there, so that git does not take it for gone.
            let path = git.source.join(&found.record).join("gitdir");
            pointers.push(Pointer { path, text: format!("{PROJECT}/.git\n") });
        }
        let told = told(at, &root, part.is_some(), &git, &found);
        Ok(Worktree { root, part, git, record: found.record, pointers, mirror, told })
    }

    /// Returns all mounts: a mount that contains another comes first.
    pub(crate) fn binds(&self) -> Vec<Bind> {
        [Some(&self.root), self.part.as_ref(), Some(&self.git)].into_iter().flatten().cloned().collect()
    }

    /// Returns the working trees of submodules, and the places of their repositories below the
    /// repository. A file `.git` that leads to what is kept for another working tree does not
    /// count.
    pub(super) fn submodules(&self) -> Vec<(PathBuf, PathBuf)> {
        let Some(mirror) = &self.mirror else { return Vec::new() };
        let place = Path::new(REPOSITORY).join(&mirror.git);
        let modules = self.record.join("modules");
        let of = |pointer: &Pointer| {
            let folder = pointer.path.parent().filter(|_| pointer.path.ends_with(".git"))?;
            let target = Path::new(pointer.text.strip_prefix("gitdir: ")?.trim_end_matches('\n'));
            let below = target.strip_prefix(&place).ok().filter(|below| below.starts_with(&modules))?;
            Some((folder.to_owned(), below.to_owned()))
        };
        self.pointers.iter().filter_map(of).collect()
    }

    /// Returns the path of the part in the working tree, where the project is a part.
    pub(crate) fn below(&self) -> Option<&Path> {
        self.part.as_ref()?.source.strip_prefix(&self.root.source).ok()
    }

    /// Returns the working directory inside, where that is not the root of the working tree.
    pub(crate) fn workdir(&self) -> Option<String> {
        self.part.as_ref().map(|part| part.target.clone())
    }
}

/// The repository that a project's `.git` leads to.
struct LinkedRepository {
    git: PathBuf,
    record: PathBuf,
    /// Description of the working tree, in words.
    what: String,
}

fn told(at: &Path, root: &Bind, is_part: bool, git: &Bind, found: &LinkedRepository) -> String {
    let what = match is_part {
        true => format!("a part of {}, which the agent may read but not write", shown(&root.source)),
        false => found.what.clone(),
    };
    format!(
        "--worktree: {} is {what}; for git the agent may also write {}{}",
        shown(at),
        shown(&git.source),
        if found.record.as_os_str().is_empty() {
            ""
        } else {
            ", but not what is kept there now for other working trees; run no git in those until the run has ended"
        }
    )
}

/// Returns what a file `.git` leads to, if that leads back.
fn led_to(root: &Path, open: &OwnedFd) -> Result<LinkedRepository, Failure> {
    let text = read(open, ".git", LONGEST).map_err(|error| unreadable(&root.join(".git"), &error))?;
    let Some(target) = text.strip_prefix(b"gitdir: ").map(path).filter(|path| !path.as_os_str().is_empty())
    else {
        let what = format!("{}: {} names no repository", called(root), shown(&root.join(".git")));
        return Err(Failure::new(COULD_NOT_RUN, what).hint("look at it, or leave out --worktree"));
    };
    let cannot = |path: &Path| {
        let what = format!("{}: its .git leads to {}, which cannot be used", called(root), shown(path));
        Failure::new(COULD_NOT_RUN, what)
    };
    let hint = "`git worktree repair` in the main working tree mends the way; else leave out --worktree";
    let at = real(&root.join(&target)).map_err(|refused| match refused {
        open::Refused::System(error) => cannot(&target).caused_by(&error).hint(hint),
        refused => refused.explain(cannot(&target)),
    })?;
    let own = folder(&at).map_err(|error| cannot(&at).caused_by(&error).hint(hint))?;
    let here = identity(open).map_err(|error| unreadable(root, &error))?;
    match kind(&own, "commondir") {
        None => alone(root, here, at, &own),
        Some(_) => linked(root, here, &at, &own).map_err(|why| back(root, &at, &why)),
    }
}

/// Finds the repository of a linked working tree, by the files that it keeps for that tree.
fn linked(root: &Path, here: Identity, at: &Path, own: &OwnedFd) -> Result<LinkedRepository, String> {
    let said = |name: &str| -> Result<PathBuf, String> {
        let text = read(own, name, LONGEST).map_err(|error| format!("its file {name}: {error}"))?;
        real(&at.join(path(&text))).map_err(|error| format!("what its file {name} names: {error}"))
    };
    let git = said("commondir")?;
    if at.parent() != Some(&git.join("worktrees")) {
        return Err("it lies in no folder `worktrees` of the repository that it names".to_owned());
    }
    let gitfile = read(own, "gitdir", LONGEST).map_err(|error| format!("its file gitdir: {error}"))?;
    let gitfile = at.join(path(&gitfile));
    let tree = gitfile.parent().filter(|_| gitfile.ends_with(".git"));
    if !tree.is_some_and(|tree| is(tree, here)) {
        return Err(format!("it is kept for {}", shown(&gitfile)));
    }
    must_be_repository(&git)?;
    let main = match git.ends_with(".git") {
        true => git.parent().unwrap_or(&git).to_owned(),
        false => git.clone(),
    };
    let record = at.strip_prefix(&git).unwrap_or(at).to_owned();
    let what = format!("a linked working tree of {}", shown(&main));
    if root.starts_with(&git) {
        return Err("the working tree lies in the repository's own folder, beside others".to_owned());
    }
    Ok(LinkedRepository { git, record, what })
}

/// Finds the repository of a submodule, or of another project with a repository elsewhere, which
/// names its working tree.
fn alone(root: &Path, here: Identity, at: PathBuf, own: &OwnedFd) -> Result<LinkedRepository, Failure> {
    must_be_repository(&at).map_err(|why| back(root, &at, &why))?;
    let named = ["config.worktree", "config"].into_iter().find_map(|name| {
        let text = read(own, name, LARGEST).ok()?;
        config_value(&text, b"core.worktree")
    });
    let Some(named) = named.map(|named| path(&named)) else {
        let why = "its core.worktree names no working tree".to_owned();
        return Err(back(root, &at, &why).hint(to_name(root, &at)));
    };
    if !is(&at.join(&named), here) {
        return Err(back(root, &at, &format!("its core.worktree names {}", shown(&named))));
    }
    if named.is_absolute() {
        // Inside, the working tree is at another path.
        let what = format!(
            "{}: its repository, {}, names it by an absolute path, which is none inside",
            called(root),
            shown(&at)
        );
        return Err(Failure::new(COULD_NOT_RUN, what).hint(to_name(root, &at)));
    }
    let main = at.ancestors().find(|folder| folder.ends_with(".git")).and_then(Path::parent);
    let what = match main.filter(|_| at.iter().any(|part| part == "modules")) {
        Some(main) => format!("a submodule of {}", shown(main)),
        None => "a working tree of a repository elsewhere".to_owned(),
    };
    Ok(LinkedRepository { git: at, record: PathBuf::new(), what })
}

/// Returns the advice that makes a repository name its working tree.
fn to_name(root: &Path, git: &Path) -> String {
    let common = root.ancestors().find(|folder| git.starts_with(folder)).unwrap_or(Path::new("/"));
    let up = git.strip_prefix(common).unwrap_or(git).iter().count();
    let down = root.strip_prefix(common).unwrap_or(root);
    let way: PathBuf = std::iter::repeat_n("..", up).map(Path::new).chain([down]).collect();
    format!("if it is your own: git --git-dir={} config core.worktree {}", shown(git), shown(&way))
}

fn must_be_repository(git: &Path) -> Result<(), String> {
    let open = folder(git).map_err(|error| format!("{}: {error}", shown(git)))?;
    let has = |name: &str, wanted: FileType| kind(&open, name) == Some(wanted);
    let whole = has("objects", FileType::Directory)
        && has("refs", FileType::Directory)
        && has("HEAD", FileType::RegularFile)
        && kind(&open, "commondir").is_none();
    whole.then_some(()).ok_or_else(|| format!("{} is no repository", shown(git)))
}

/// Returns what belongs to somebody else is not given to an agent by a word in a project.
fn must_be_own(bind: &Bind, project: &Bind) -> Result<(), Failure> {
    let caller = rustix::process::geteuid().as_raw();
    if bind.owner.0 == caller || bind.owner.0 == project.owner.0 {
        return Ok(());
    }
    let what = format!("{}: {} belongs to another user", called(&project.source), shown(&bind.source));
    Err(Failure::new(COULD_NOT_RUN, what).hint("work on a clone of your own (`git clone`)"))
}

/// Refuses a repository folder with another working tree in it: the agent can write all of that
/// folder.
fn must_be_apart(git: &Bind, root: &Bind) -> Result<(), Failure> {
    let records = git.source.join("worktrees");
    let listed = match std::fs::read_dir(&records) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|error| unreadable(&records, &error))?,
    };
    for entry in listed {
        let entry = entry.map_err(|error| unreadable(&records, &error))?;
        let Ok(own) = folder(&entry.path()) else { continue };
        let Ok(text) = read(&own, "gitdir", LONGEST) else { continue };
        let tree = entry.path().join(path(&text));
        let Some(tree) = tree.parent().and_then(|tree| tree.canonicalize().ok()) else { continue };
        if tree.starts_with(&git.source) {
            let what = format!(
                "{}: the working tree {} lies in the repository's own folder, which the agent would write",
                called(&root.source),
                shown(&tree)
            );
            return Err(Failure::new(COULD_NOT_RUN, what).hint(
                "move it out of there (`git worktree move`), or give the agent a clone (`git clone`)",
            ));
        }
    }
    Ok(())
}

/// Reports a repository that is not this working tree's.
fn back(root: &Path, at: &Path, why: &str) -> Failure {
    let what = format!("{}: its .git leads to {}, which does not lead back: {why}", called(root), shown(at));
    Failure::new(COULD_NOT_RUN, what).hint(
        "if both are your own, `git worktree repair` mends the way; a project from elsewhere can name any repository of yours: leave out --worktree",
    )
}

fn called(at: &Path) -> String {
    format!("--worktree --project {}", shown(at))
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("--worktree: cannot look at {}", shown(path))).caused_by(error)
}

fn has_git(folder: &Path) -> bool {
    folder.join(".git").symlink_metadata().is_ok()
}

/// Returns a path inside the container, which must be text.
fn inside(place: &str, below: &Path) -> Result<String, Failure> {
    let whole = Path::new(place).join(below);
    whole.to_str().map(str::to_owned).ok_or_else(|| {
        let what = format!("--worktree: {} is no UTF-8, which the engine cannot mount", shown(below));
        Failure::new(COULD_NOT_RUN, what).hint("rename it")
    })
}

fn real(path: &Path) -> Result<PathBuf, open::Refused> {
    open::real(path)
}

/// Opens a folder; no link is followed.
fn folder(path: &Path) -> io::Result<OwnedFd> {
    super::held::reopen_directory(super::held::open(path)?)
}

/// Tells whether a path leads to this directory.
fn is(path: &Path, here: Identity) -> bool {
    let found = real(path).ok().and_then(|path| folder(&path).ok()).and_then(|open| identity(&open).ok());
    found == Some(here)
}

fn identity(open: &OwnedFd) -> io::Result<Identity> {
    Identity::of(open)
}

fn kind(open: &OwnedFd, name: &str) -> Option<FileType> {
    let stat = rustix::fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Reads a regular file's text.
fn read(open: &OwnedFd, name: &str, most: u64) -> io::Result<Vec<u8>> {
    place::read(open.as_fd(), OsStr::new(name), most)?
        .ok_or_else(|| io::Error::other("it is no regular file, or too large"))
}

/// Returns the one path in a text.
fn path(text: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(place::one_path(text)))
}

fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy())
}

#[cfg(test)]
mod tests;
