//! Files that are put back after a run: each repository's configurations, and the files that name
//! the repository's place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::config::{Entry, Name, head, line, parse};
use super::find::ScanResult;
use super::place;
use super::record::{Bytes, File, Made, Pinned, Was, digest};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::masks::{Cover, MASK, With};

/// Files of each repository that are pinned, and whether a file is a configuration.
pub(crate) const PARTS: [(&str, bool); 12] = [
    ("config", true),
    ("config.worktree", true),
    ("commondir", false),
    ("hooks", false),
    ("branches", false),
    ("remotes", false),
    // Where a working tree is that `git worktree remove` deletes.
    ("gitdir", false),
    // What git hides, converts, or takes for history; and where it looks for objects besides its
    // own.
    ("info/exclude", false),
    ("info/attributes", false),
    ("info/grafts", false),
    ("objects/info/alternates", false),
    ("objects/info/http-alternates", false),
];

/// Configurations that others include; git itself follows ten below each other.
const MOST_INCLUDED: usize = 50;

/// Parts of a path that are looked at, those of links on it included.
const MOST_STEPS: usize = 500;

/// The pinned files, and folders of hooks besides the repositories' own.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// The pinned files by path.
    pub(crate) all: BTreeMap<PathBuf, Pinned>,
    /// The folders.
    pub(crate) hooks: BTreeSet<PathBuf>,
    /// The repositories' own folders.
    pub(crate) folders: Vec<(Bytes, Made)>,
}

/// Pins what was found below `root`, which lies at `at`; `covers` is what the agent cannot read
/// there.
pub(super) fn pins(
    root: BorrowedFd<'_>,
    at: &Path,
    found: &ScanResult,
    covers: &[Cover],
) -> Result<Pins, Failure> {
    let mut pins = Pins::default();
    let mut pinner = Pinner { root, at, covers, pins: &mut pins, included: 0 };
    for repository in &found.repositories {
        if repository.file_name().is_some_and(|name| name == ".git") {
            pinner.pin(repository, false)?;
        }
        // A path may name nothing here: what several working trees have in common can lie
        // elsewhere.
        if let Ok(made) = place::made(root, repository) {
            pinner.pins.folders.push((repository.as_path().into(), made));
        }
        for (name, config) in PARTS {
            pinner.pin(&repository.join(name), config)?;
        }
    }
    for gitfile in &found.gitfiles {
        pinner.pin(gitfile, false)?;
    }
    Ok(pins)
}

struct Pinner<'a> {
    root: BorrowedFd<'a>,
    at: &'a Path,
    covers: &'a [Cover],
    pins: &'a mut Pins,
    included: usize,
}

impl Pinner<'_> {
    fn pin(&mut self, path: &Path, config: bool) -> Result<(), Failure> {
        if self.pins.all.contains_key(path) {
            return Ok(());
        }
        let mut was =
            place::look(self.root.as_fd(), path).map_err(|error| self.cannot(path).caused_by(&error))?;
        if was == Was::Else {
            return Err(self.cannot(path).hint("make it a readable file of at most 1 MiB"));
        }
        let mut entries = Vec::new();
        if let Was::File(file) = &mut was {
            entries = if config { parse(&file.text.0).unwrap_or_default() } else { Vec::new() };
            if let Some(cover) = self.covers.iter().find(|cover| cover.path == path) {
                hide(file, &entries, &cover.with);
            }
        }
        let link = match &was {
            Was::Link(target) => Some(target.path()),
            _ => None,
        };
        let pinned = Pinned { path: path.into(), config, was };
        self.pins.all.insert(path.to_owned(), pinned);
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(target) = link
            && let Some(target) = self.resolve(folder, &target)?
        {
            // What a person's own link leads to is theirs as well.
            match config {
                true => self.pin(&target, true)?,
                false if path.ends_with("hooks") => _ = self.pins.hooks.insert(target),
                false => {}
            }
        }
        for entry in &entries {
            self.follow(path, entry)?;
        }
        Ok(())
    }

    /// Pins what a configuration refers to inside the root: other configurations, and folders of
    /// hooks.
    fn follow(&mut self, path: &Path, entry: &Entry) -> Result<(), Failure> {
        let Some(value) = entry.value.as_deref() else { return Ok(()) };
        let target = Path::new(std::ffi::OsStr::from_bytes(value));
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = Name::of(&entry.name);
        if matches!((name.section, name.key), (b"include" | b"includeif", b"path")) {
            if let Some(below) = self.resolve(folder, target)? {
                self.included += 1;
                if self.included > MOST_INCLUDED {
                    let what =
                        format!("{} includes more than {MOST_INCLUDED} files", self.at.join(path).display());
                    return Err(Failure::new(COULD_NOT_RUN, what).hint("take include.path out of it"));
                }
                self.pin(&below, true)?;
            }
        } else if entry.name == b"core.worktree" {
            // git writes there: nothing may lead it elsewhere.
            if let Some(below) = self.resolve(folder, target)? {
                self.pin(&below, false)?;
            }
        } else if entry.name == b"core.hookspath" {
            // Of the working tree, which lies around `.git`.
            let tree = if folder.ends_with(".git") { folder.parent().unwrap_or(folder) } else { folder };
            let hooks = self.resolve(tree, target)?;
            self.pins.hooks.extend(hooks);
        }
        Ok(())
    }

    /// Returns the path below the root that is meant from a folder there, and resolves and pins the
    /// links on the way. Returns nothing when it leads elsewhere, where no agent writes.
    fn resolve(&mut self, folder: &Path, target: &Path) -> Result<Option<PathBuf>, Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let target = match (target.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => target.to_owned(),
        };
        let Some(mut place) = self.start(folder, &target) else { return Ok(None) };
        let mut left: Vec<OsString> = place.1;
        for _ in 0..MOST_STEPS {
            let Some(part) = left.pop() else {
                return Ok((!place.0.as_os_str().is_empty()).then_some(place.0));
            };
            if part == ".." {
                if !place.0.pop() {
                    // Above the root, and perhaps into it again.
                    let rest: PathBuf = left.iter().rev().collect();
                    let above = self.at.parent().unwrap_or(self.at).join(rest);
                    let Some(again) = self.start(Path::new(""), &above) else { return Ok(None) };
                    (place.0, left) = again;
                }
                continue;
            }
            place.0.push(&part);
            let was = place::look(self.root.as_fd(), &place.0)
                .map_err(|error| self.cannot(&place.0).caused_by(&error))?;
            if let Was::Link(target) = was {
                let (link, target) = (place.0.clone(), target.path());
                self.pins.all.entry(link.clone()).or_insert_with(|| Pinned {
                    path: link.as_path().into(),
                    config: false,
                    was: Was::Link(target.as_path().into()),
                });
                let folder = link.parent().unwrap_or(Path::new(""));
                let Some((start, first)) = self.start(folder, &target) else { return Ok(None) };
                place.0 = start;
                left.extend(first);
            }
        }
        Err(self.cannot(&folder.join(target)).hint("make it lead through fewer links"))
    }

    /// Splits a path into the folder below the root at which it begins, and its remaining parts,
    /// the first part last.
    fn start(&self, folder: &Path, target: &Path) -> Option<(PathBuf, Vec<OsString>)> {
        let parts = |path: &Path| -> Vec<OsString> {
            let parts =
                path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
            parts.map(|part| part.as_os_str().to_owned()).rev().collect()
        };
        if !target.is_absolute() {
            return Some((folder.to_owned(), parts(target)));
        }
        let below = |path: &Path| path.strip_prefix(self.at).ok().map(|below| (PathBuf::new(), parts(below)));
        // Links outside are the person's alone.
        below(target).or_else(|| below(&target.canonicalize().ok()?))
    }

    fn cannot(&self, path: &Path) -> Failure {
        let path = self.at.join(path);
        Failure::new(
            COULD_NOT_RUN,
            format!("cannot keep {}, so it could not be put back after the run", path.display()),
        )
    }
}

/// Takes out of a file what the agent cannot read: no copy of a secret is kept.
fn hide(file: &mut File, entries: &[Entry], with: &With) {
    let masked = match with {
        With::Itself | With::Instead(_) => return,
        With::Masked(text) | With::Committed { text, .. } => text.clone(),
        // What cannot be read for certain is all hidden.
        With::Nothing => entries.iter().flat_map(masked).collect(),
    };
    let seen = parse(&masked).unwrap_or_default();
    let same_names = seen.iter().map(|entry| &entry.name).eq(entries.iter().map(|entry| &entry.name));
    let masked = if same_names { masked } else { entries.iter().flat_map(self::masked).collect() };
    let seen = parse(&masked).unwrap_or_default();
    let pairs = entries.iter().zip(&seen).enumerate().filter(|(_, (whole, seen))| whole.value != seen.value);
    file.hidden =
        pairs.filter_map(|(index, (whole, _))| Some((index, digest(whole.value.as_deref()?)))).collect();
    file.text = Bytes(masked);
}

/// Returns an entry without its value.
fn masked(entry: &Entry) -> Vec<u8> {
    let name = Name::of(&entry.name);
    let value = entry.value.as_ref().map(|_| MASK.as_bytes());
    [head(&name), line(&entry.key, value)].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::find::{Look, find};
    use super::*;

    #[test]
    fn included_configurations_are_kept_and_folders_of_hooks_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let put = |path: &str, text: &str| {
            fs::create_dir_all(at.join(path).parent().unwrap()).unwrap();
            fs::write(at.join(path), text).unwrap();
        };
        fs::create_dir_all(at.join(".git/objects")).unwrap();
        fs::create_dir_all(at.join(".git/refs")).unwrap();
        put(".git/HEAD", "ref: refs/heads/main\n");
        put(
            ".git/config",
            &format!(
                "[include]\n path = ../.gitconfig\n path = {}/shared/x\n path = /etc/gitconfig\n[core]\n hooksPath = scripts/hooks\n",
                at.display()
            ),
        );
        put(".gitconfig", "[includeIf \"gitdir:/x\"]\n path = more\n");
        let root = fs::File::open(&at).unwrap();
        let found = find(root.as_fd(), Look::default()).unwrap();
        let pins = pins(root.as_fd(), &at, &found, &[]).unwrap();
        let paths: Vec<_> =
            pins.all.iter().map(|(path, pinned)| (path.to_str().unwrap(), pinned.config)).collect();
        assert_eq!(
            paths,
            [
                (".git", false),
                (".git/branches", false),
                (".git/commondir", false),
                (".git/config", true),
                (".git/config.worktree", true),
                (".git/gitdir", false),
                (".git/hooks", false),
                (".git/info/attributes", false),
                (".git/info/exclude", false),
                (".git/info/grafts", false),
                (".git/objects/info/alternates", false),
                (".git/objects/info/http-alternates", false),
                (".git/remotes", false),
                (".gitconfig", true),
                ("more", true),
                ("shared/x", true)
            ]
        );
        assert_eq!(pins.hooks.into_iter().collect::<Vec<_>>(), [PathBuf::from("scripts/hooks")]);
        fs::remove_file(at.join(".git/config")).unwrap();
        nix::unistd::mkfifo(&at.join(".git/config"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(super::pins(root.as_fd(), &at, &found, &[]).is_err(), "what cannot be kept ends the start");
    }

    #[test]
    fn no_secret_is_kept() {
        let text = "[remote \"o\"]\n\turl = https://me:s3cret@x.test/\n[core]\n\tbare\n\teol = lf\n";
        let entries = parse(text.as_bytes()).unwrap();
        for with in [
            With::Masked(text.replace("s3cret", MASK).into_bytes()),
            With::Nothing,
            With::Masked(b"[other]\n".to_vec()),
        ] {
            let mut file = File {
                text: Bytes(text.into()),
                whole: digest(text.as_bytes()),
                hidden: vec![],
                mode: 0o644,
                owner: (0, 0),
            };
            hide(&mut file, &entries, &with);
            assert!(!String::from_utf8_lossy(&file.text.0).contains("s3cret"), "{with:?}");
            assert!(file.hidden.contains(&(0, digest(b"https://me:s3cret@x.test/"))), "{with:?}");
            assert_eq!(parse(&file.text.0).unwrap().len(), entries.len(), "{with:?}");
        }
    }
}
