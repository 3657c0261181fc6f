//! Location of a project's repository: git inside finds no repository that lies outside the
//! directory that the agent is given.
//!
//! ```text
//!  .git  a folder ─────────────▶ in the project, unless it borrows objects from elsewhere
//!        a file, `gitdir: …` ──▶ a linked working tree, a submodule, or a repository apart
//!        nothing ──────────────▶ perhaps in a folder above
//! ```
//! Read by descriptor, as words only: nothing of it is followed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use netpolicy::diagnostic::harmless;
use rustix::fs::{AtFlags, FileType, OFlags};

use crate::host::at;

/// The project's path in the container.
pub(crate) const PROJECT: &str = "/workspace";
/// A file that says where a repository is, is no longer.
const LONGEST: u64 = 64 << 10;

/// Says why git will not work in a project, and what to do; nothing where it will, or where no
/// repository is.
pub(crate) fn outside(root: BorrowedFd<'_>, at: &Path) -> Option<String> {
    let mut by_worktree = true;
    let (why, whole) = match kind(root, ".git") {
        Some(FileType::RegularFile) => gitfile(root, at)?,
        Some(FileType::Symlink) => {
            let target = rustix::fs::readlinkat(root, ".git", Vec::new()).ok()?;
            let real = at.join(".git").canonicalize();
            let inside = real.is_ok_and(|real| real.starts_with(at));
            if inside && !target.as_bytes().starts_with(b"/") {
                return None;
            }
            by_worktree = false;
            ("its .git is a link that leads elsewhere".to_owned(), None)
        }
        Some(FileType::Directory) => return borrowed(root, at),
        Some(_) => return None,
        None => {
            let above =
                at.ancestors().skip(1).find(|folder| folder.join(".git").symlink_metadata().is_ok())?;
            (format!("it is a part of the repository in {}", shown(above)), Some(above.to_owned()))
        }
    };
    let other = match whole {
        Some(whole) => format!("give it --project {}", shown(&whole)),
        None => "give it a clone of its own (`git clone`)".to_owned(),
    };
    let hint = match by_worktree {
        true => format!(
            "; if the agent is to use git, write `ringfence run --worktree --project {} …`, or {other}",
            shown(at)
        ),
        false => format!("; if the agent is to use git, {other}"),
    };
    Some(format!("git will not work in this run: {why}, and that is not given to the agent{hint}"))
}

/// Reads a `.git` file: returns in words what its `gitdir` leads to, and the directory that holds
/// both the project and that repository.
fn gitfile(root: BorrowedFd<'_>, at: &Path) -> Option<(String, Option<PathBuf>)> {
    let text = read(root, Path::new(".git")).ok()?;
    let target = Path::new(OsStr::from_bytes(line(text.strip_prefix(b"gitdir: ")?)));
    let real = at.join(target).canonicalize().ok();
    let inside = real.as_deref().is_some_and(|real| real.starts_with(at));
    // A path that begins with `/` leads elsewhere in the container.
    if inside && target.is_relative() {
        return None;
    }
    let real = real.unwrap_or_else(|| at.join(target));
    let folder =
        |name: &str| real.ancestors().find(|folder| folder.file_name().is_some_and(|other| other == name));
    // The repository's own folder, and the working tree around it.
    if let Some(own) = folder("worktrees").and_then(Path::parent) {
        let whole = around(own);
        return Some((format!("it is a linked working tree of {}", shown(whole.unwrap_or(own))), None));
    }
    if let Some(own) = folder("modules").and_then(Path::parent) {
        let whole = around(own).map(Path::to_owned);
        let main = whole.as_deref().unwrap_or(own);
        return Some((
            format!("it is a submodule of {}", shown(main)),
            whole.filter(|whole| at.starts_with(whole)),
        ));
    }
    Some((format!("its repository is in {}", shown(&real)), None))
}

/// Returns the working tree around a repository's own folder.
fn around(own: &Path) -> Option<&Path> {
    own.parent().filter(|_| own.file_name().is_some_and(|name| name == ".git"))
}

/// Says that a repository takes objects from outside the project.
fn borrowed(root: BorrowedFd<'_>, at: &Path) -> Option<String> {
    let text = read(root, Path::new(".git/objects/info/alternates")).ok()?;
    let from = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let outside = from.map(|line| Path::new(OsStr::from_bytes(line))).find(|path| {
        path.is_absolute()
            || !at.join(".git/objects").join(path).canonicalize().is_ok_and(|real| real.starts_with(at))
    })?;
    Some(format!(
        "git may not work in this run: the repository borrows objects from {}, and that is not given to the agent; \
         `git repack -a -d` there makes it whole",
        shown(outside)
    ))
}

fn kind(root: BorrowedFd<'_>, name: &str) -> Option<FileType> {
    let stat = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Reads a regular file below the project, without a link on the way.
fn read(root: BorrowedFd<'_>, path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(at::open_below(root, path, flags)?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns a text without its end of line.
fn line(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &text[..end]
}

fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy())
}

/// Tells whether what git keeps in this folder about a linked working tree is about a place that is
/// not there inside, so that git would take it for gone. What cannot be read is taken for that too:
/// an agent may have left a link or a pipe.
pub(super) fn is_of_elsewhere(root: BorrowedFd<'_>, folder: &Path) -> bool {
    let text = match read(root, &folder.join("gitdir")) {
        Ok(text) => text,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    let target = Path::new(OsStr::from_bytes(line(&text)));
    match target.is_absolute() {
        true => !target.starts_with(PROJECT),
        // Relative ones that stay in the project are there inside too; three folders up is the
        // repository's own, or above it.
        false => target.components().take_while(|part| part.as_os_str() == "..").count() > 3,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::workspace::git_for_tests::git;

    fn said(at: &Path) -> Option<String> {
        outside(std::fs::File::open(at).unwrap().as_fd(), at)
    }

    #[test]
    fn a_repository_that_lies_outside_is_told_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        git(&at, &["init", "--quiet", "main"]);
        let main = at.join("main");
        git(&main, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        git(&main, &["worktree", "add", "--quiet", "../tree"]);
        git(&main, &["clone", "--quiet", "--shared", ".", "../borrower"]);
        git(&main, &["submodule", "--quiet", "add", "../borrower", "sub"]);
        git(&at, &["init", "--quiet", "--separate-git-dir", "store", "apart"]);
        std::fs::create_dir_all(main.join("packages/app")).unwrap();
        std::fs::create_dir(at.join("none")).unwrap();
        let main_shown = main.display().to_string();
        for (place, words) in [
            ("tree", format!("it is a linked working tree of {main_shown},")),
            (
                "main/sub",
                format!(
                    "it is a submodule of {main_shown}, and that is not given to the agent; if the agent is to use git, \
                     write `ringfence run --worktree --project {main_shown}/sub …`, or give it --project {main_shown}"
                ),
            ),
            ("main/packages/app", format!("it is a part of the repository in {main_shown},")),
            ("apart", format!("its repository is in {}", at.join("store").display())),
            ("borrower", "borrows objects from".to_owned()),
        ] {
            let said = said(&at.join(place)).expect(place);
            assert!(said.contains(&words), "{place}: {said}");
        }
        for place in ["main", "none", "store"] {
            assert_eq!(said(&at.join(place)), None, "{place}");
        }
        let root = std::fs::File::open(&main).unwrap();
        let is_of_elsewhere = |folder: &str| super::is_of_elsewhere(root.as_fd(), Path::new(folder));
        assert!(is_of_elsewhere(".git/worktrees/tree"));
        assert!(!is_of_elsewhere(".git"));
        // What an agent may have left: a pipe that nobody writes to, a link to something endless.
        let record = main.join(".git/worktrees/tree");
        let left = record.join("gitdir");
        std::fs::remove_file(&left).unwrap();
        nix::unistd::mkfifo(&left, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(is_of_elsewhere(".git/worktrees/tree"));
        std::fs::remove_file(&left).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &left).unwrap();
        assert!(is_of_elsewhere(".git/worktrees/tree"));
    }
}
