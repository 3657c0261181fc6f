//! Looking through a project.
//!
//! ```text
//!  snapshot ─▶ candidates (path, what the name says) ─▶ workers: read, rules ─▶ was all of it so at one moment? ─▶ covers ─▶ other names of
//!     ▲                                                                                    │ no                              the same file
//!     └────────────────────────────────────────────────────────────────────────────────────┘ a few times, else no run
//! ```
//! Symbolic links are never followed; one with a secret's name makes what it points to a secret, if
//! that is in the project.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use globset::{GlobSet, GlobSetBuilder};
use rustix::fs::FileType;

use super::git::{self, Store};
use super::look::{Candidate, Known, Look, Within, below, same_files};
use super::names::{Names, Treatment, glob};
use super::repository::is_of_main;
use super::scrub::Form;
use super::snapshot::{Folder, Mark, Patience, Snapshot};
use super::{Cover, Decided, Plan, ScanCounts, Why, With, tracked};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::held;
use crate::workspace::repository::{PROJECT, is_of_elsewhere};

/// The most covers of a project: each is a mount.
pub(super) const MOST_COVERS: usize = 2000;
/// The tag by which a folder says that it is a cache (bford.info/cachedir). What is no text is not
/// read there: builds make thousands of such files. An agent can write a tag too, so that texts are
/// looked into as anywhere, and a tag in the project's own folder says nothing.
const CACHE_TAG: (&str, &[u8]) = ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");

/// A person's wishes about masks, beside the built-in list.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wishes {
    /// Hidden whole, whatever else is said.
    pub(crate) mask: Vec<String>,
    /// Paths that are not looked at.
    pub(crate) unmask: Vec<String>,
    /// Stand-ins for files that git tracks, too.
    pub(crate) stand_ins: bool,
}

/// Looks through a project.
pub(crate) fn plan(project: &Path, wishes: &Wishes) -> Result<Plan, Failure> {
    plan_while(&Eye::new(project, wishes)?, Patience::new(), &mut |_| {})
}

/// Looks through a repository's own folder. `record` is what it keeps for the working tree that is
/// given.
pub(super) fn plan_own(git: &Path, wishes: &Wishes, record: &Path) -> Result<Plan, Failure> {
    let eye = Eye { record: Some(record), place: None, ..Eye::new(git, wishes)? };
    plan_while(&eye, Patience::new(), &mut |_| {})
}

/// Looks through a directory by an eye that was made for it.
pub(super) fn plan_by(eye: &Eye<'_>) -> Result<Plan, Failure> {
    plan_while(eye, Patience::new(), &mut |_| {})
}

/// Points of the walk at which a test changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The folders are listed.
    Listed,
    /// The files are read.
    Read,
}

fn plan_while(
    eye: &Eye<'_>,
    mut patience: Patience,
    meanwhile: &mut dyn FnMut(Step),
) -> Result<Plan, Failure> {
    let project = eye.project;
    let _progress = crate::term::progress(&format!("looking through {}", project.display()));
    let mut known = Known::new();
    loop {
        let snapshot = Snapshot::take(eye.root.as_fd(), project, |path| eye.passes_over(path))?;
        meanwhile(Step::Listed);
        snapshot.wait_a_tick();
        let mut walk = Walk::through(eye, &snapshot)?;
        let mut looks = eye.look(&walk.candidates, &mut known);
        meanwhile(Step::Read);
        let found = snapshot.differences(eye.root.as_fd(), project)?;
        let moved = eye.settle(&walk.candidates, &mut looks, found);
        if moved.is_empty() {
            same_files(&walk.candidates, &looks, &mut walk.covers);
            return walk.plan(looks, &snapshot);
        }
        patience.again(project, &moved)?;
        for (candidate, look) in walk.candidates.into_iter().zip(looks) {
            known.entry(candidate.path.clone()).or_default().push((candidate, look));
        }
    }
}

fn within_bounds(project: &Path, covers: &[Cover]) -> Result<(), Failure> {
    if covers.len() > MOST_COVERS {
        let mut folders: HashMap<&Path, usize> = HashMap::new();
        for cover in covers {
            *folders.entry(cover.path.parent().unwrap_or(Path::new(""))).or_default() += 1;
        }
        let most = folders.into_iter().max_by_key(|(_, count)| *count).map(|(folder, _)| folder);
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!(
                "{} files of {} would have to be hidden, more than {MOST_COVERS}",
                covers.len(),
                project.display()
            ),
        )
        .hint(format!(
            "most are in `{}`: if they are no secrets, --unmask it; `ringfence project check` lists all",
            most.unwrap_or(Path::new("")).display()
        )));
    }
    if let Some(cover) = covers.iter().find(|cover| cover.path.to_str().is_none()) {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!(
                "{}: it must be hidden, but its name is no UTF-8, which the engine cannot mount",
                cover.path.display()
            ),
        )
        .hint("rename it, or move it out of the project"));
    }
    Ok(())
}

/// Patterns of a policy or the command line: a name alone at any depth, `./NAME` and what has a
/// slash within from the project's root; a folder means all in it.
pub(super) fn patterns(key: &str, texts: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let inner: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let is_rooted = text.starts_with("./") || inner.len() > 1;
        let rooted = format!("{}{}", if is_rooted { "" } else { "**/" }, inner.join("/"));
        let refused = |error: globset::Error| {
            Failure::new(COULD_NOT_RUN, format!("{key}: `{text}` is no pattern"))
                .caused_by(&error)
                .hint("write a path below the project, such as tests/keys or *.pem")
        };
        set.add(glob(&rooted).map_err(refused)?);
        set.add(glob(&format!("{rooted}/**")).map_err(refused)?);
    }
    set.build().map_err(|error| Failure::new(COULD_NOT_RUN, format!("{key}: too much")).caused_by(&error))
}

/// Returns what the name of a file says: a policy's `mask`, which [`patterns`] made of `words`, the
/// path, or one of the `others` that it is known by.
pub(super) fn by_name(
    mask: &GlobSet,
    words: &[String],
    path: &Path,
    mut others: impl Iterator<Item = PathBuf>,
) -> Option<(Treatment, Why)> {
    if let Some(index) = mask.matches(path).first() {
        // Every text made two patterns.
        return Some((Treatment::Empty, Why::Policy(words.get(index / 2).cloned().unwrap_or_default())));
    }
    let names = Names::get();
    let found = names.of_file(path).or_else(|| others.find_map(|other| names.of_file(&other)));
    found.map(|(treatment, pattern)| (treatment, Why::Name(pattern)))
}

/// The project or a mount, and what a person wishes to be seen of it.
pub(super) struct Eye<'a> {
    pub(super) project: &'a Path,
    pub(super) root: OwnedFd,
    mask: GlobSet,
    mask_words: &'a [String],
    unmask: GlobSet,
    stand_ins: bool,
    /// Path of the folder that a repository keeps for the working tree that is given.
    record: Option<&'a Path>,
    /// Path of the directory in the container, where it is the project or a mount.
    pub(super) place: Option<String>,
    /// Paths that the directory is known by: names of files count behind each of them too.
    pub(super) called: Vec<PathBuf>,
    /// Folders that another plan is about.
    pub(super) apart: Vec<PathBuf>,
    /// Set where the agent can change nothing, so that nothing needs to be kept from change.
    pub(super) read_only: bool,
    /// Bytes that are still read for the sake of their content alone; none: as many as there are.
    pub(super) budget: Option<AtomicU64>,
}

impl<'a> Eye<'a> {
    fn new(project: &'a Path, wishes: &'a Wishes) -> Result<Eye<'a>, Failure> {
        let opened = held::open(project).and_then(held::reopen_directory).map_err(|error| {
            let what = format!("cannot look for secrets in {}", project.display());
            Failure::new(COULD_NOT_RUN, what).caused_by(&error)
        })?;
        Eye::opened(opened, project, wishes)
    }

    /// Looks by what was opened at `project`.
    pub(super) fn opened(root: OwnedFd, project: &'a Path, wishes: &'a Wishes) -> Result<Eye<'a>, Failure> {
        Ok(Eye {
            project,
            root,
            mask: patterns("mask", &wishes.mask)?,
            mask_words: &wishes.mask,
            unmask: patterns("unmask", &wishes.unmask)?,
            stand_ins: wishes.stand_ins,
            record: None,
            place: Some(PROJECT.to_owned()),
            called: Vec::new(),
            apart: Vec::new(),
            read_only: false,
            budget: None,
        })
    }

    fn spared(&self, path: &Path) -> bool {
        self.unmask.is_match(path) && !self.mask.is_match(path)
    }

    /// Tells whether nothing in a folder is looked at. What is to be hidden may lie in a folder
    /// that is shown.
    fn passes_over(&self, folder: &Path) -> bool {
        (self.spared(folder) && self.mask.is_empty()) || self.is_apart(folder)
    }

    fn is_apart(&self, folder: &Path) -> bool {
        self.apart.iter().any(|apart| apart == folder)
    }

    /// Returns what the name of a file says: by its path below the directory, or by a path that the
    /// directory is known by.
    pub(super) fn by_name(&self, path: &Path) -> Option<(Treatment, Why)> {
        by_name(&self.mask, self.mask_words, path, self.called.iter().map(|called| called.join(path)))
    }

    fn is_cache(&self, folder: &Path) -> bool {
        let mut head = [0; CACHE_TAG.1.len()];
        let opened = self.open(&folder.join(CACHE_TAG.0));
        opened.is_ok_and(|mut opened| opened.file.read_exact(&mut head).is_ok()) && head == CACHE_TAG.1
    }
}

struct Walk<'a> {
    eye: &'a Eye<'a>,
    candidates: Vec<Candidate>,
    covers: Vec<Cover>,
    seen: ScanCounts,
}

impl<'a> Walk<'a> {
    /// Judges by name what was listed.
    fn through(eye: &'a Eye<'a>, snapshot: &Snapshot) -> Result<Walk<'a>, Failure> {
        let mut walk = Walk { eye, candidates: Vec::new(), covers: Vec::new(), seen: ScanCounts::default() };
        let mut inside: HashMap<PathBuf, Within> = HashMap::new();
        let mut links = Vec::new();
        for folder in &snapshot.folders {
            let own = eye.record.is_some() && folder.path.as_os_str().is_empty();
            let within = match own {
                true => Within { git: true, own: Some(0), ..Within::default() },
                false => inside.remove(&folder.path).unwrap_or_default(),
            };
            walk.folder(folder, within, &mut inside, &mut links);
        }
        let of = |path: &Path| snapshot.mark(path);
        links.into_iter().for_each(|(path, hooks)| walk.link(&path, hooks, &of));
        Ok(walk)
    }

    fn folder(
        &mut self,
        folder: &Folder,
        mut within: Within,
        inside: &mut HashMap<PathBuf, Within>,
        links: &mut Vec<(PathBuf, bool)>,
    ) {
        let Folder { path: folder, entries, .. } = folder;
        let has =
            |name: &str| entries.binary_search_by(|entry| entry.name.as_os_str().cmp(name.as_ref())).is_ok();
        let repository = git::is_repository(has);
        let top = folder.as_os_str().is_empty();
        let called_git = folder.file_name().is_some_and(|name| name == ".git");
        within.git |= repository || called_git;
        let nothing_else = || git::is_nothing_else(entries.iter().map(|entry| Path::new(&entry.name)));
        if called_git || (repository && (within.own.is_some() || nothing_else())) {
            within.own = Some(folder.iter().count());
        }
        if !within.cache && !top && has(CACHE_TAG.0) && self.eye.is_cache(folder) {
            within.cache = true;
            self.seen.caches.push(folder.clone());
        }
        for entry in entries {
            let (name, mark) = (Path::new(&entry.name), entry.mark);
            let path = folder.join(name);
            match entry.kind {
                FileType::Directory if self.eye.is_apart(&path) => {}
                FileType::Directory if self.eye.passes_over(&path) => self.seen.unmasked.push(path),
                FileType::Directory => {
                    let hooks = repository && name == Path::new("hooks");
                    // What git keeps about working trees elsewhere: inside they look gone, and git
                    // would clear it away.
                    let record = within.own.is_some()
                        && folder.ends_with("worktrees")
                        && self.eye.record != Some(&path)
                        && (self.eye.record.is_some() || is_of_elsewhere(self.eye.root.as_fd(), &path));
                    self.fixed_folder(&path, hooks || record, mark);
                    self.of_main(&path, mark);
                    let store = Store::named(name).filter(|_| repository);
                    let store = store.map(|store| (store, path.iter().count())).or(within.store);
                    inside.insert(path, Within { store, ..within });
                }
                FileType::Symlink => links.push((path, repository && name == Path::new("hooks"))),
                FileType::RegularFile => {
                    self.of_main(&path, mark);
                    self.file(path, mark, within, repository);
                }
                _ => {}
            }
        }
    }

    /// Keeps from change what a repository's own folder holds for the main working tree, where a
    /// linked one is given.
    fn of_main(&mut self, path: &Path, mark: Mark) {
        let of_linked = self.eye.record.is_some_and(|record| !record.as_os_str().is_empty());
        if of_linked && is_of_main(path, mark.is_folder()) {
            let why = vec![Why::Record];
            self.covers.push(Cover { path: path.to_owned(), mark, with: With::Itself, why });
        }
    }

    /// Puts together what is laid over the project.
    fn plan(self, looks: Vec<Look>, snapshot: &Snapshot) -> Result<Plan, Failure> {
        let Walk { eye, candidates, mut covers, mut seen } = self;
        for (candidate, look) in candidates.into_iter().zip(looks) {
            seen.files += 1;
            let Candidate { path, mark, .. } = candidate;
            match look {
                Look::Clean => seen.by_content += 1,
                Look::NotText | Look::Moved => {}
                Look::TooLarge => seen.too_large.push(path),
                Look::BeyondBudget => seen.beyond_budget += 1,
                Look::InGit(rule) => seen.in_git.push((path, rule)),
                Look::Cover(with, why) => covers.push(Cover { path, mark, with, why }),
            }
        }
        // Where a file has several names, what hides most counts.
        covers.sort_by(|a, b| (&a.path, a.with.rank()).cmp(&(&b.path, b.with.rank())));
        covers.dedup_by(|b, a| {
            let same = a.path == b.path;
            if same {
                // What a policy hides is hidden whatever git has.
                a.why.extend(b.why.extract_if(.., |why| matches!(why, Why::Policy(_))));
            }
            same
        });
        // git has no versions of what is in its own folder.
        let decided = match eye.record {
            None => tracked::settle(eye.project, &mut covers, eye.stand_ins),
            Some(_) => Decided::default(),
        };
        covers.retain(|cover| !eye.read_only || cover.with != With::Itself);
        within_bounds(eye.project, &covers)?;
        let files = snapshot.files_below(&covers);
        let (project, root, place) = (eye.project.to_owned(), snapshot.root(), eye.place.clone());
        Ok(Plan { project, place, root, covers, files, seen, decided })
    }

    fn fixed_folder(&mut self, path: &Path, hooks: bool, mark: Mark) {
        let why = match Names::get().of(path) {
            _ if hooks => Why::Git,
            Some(name) if name.treatment == Treatment::Fixed => Why::Name(name.pattern),
            _ => return,
        };
        self.covers.push(Cover { path: path.to_owned(), mark, with: With::Itself, why: vec![why] });
    }

    /// Looks at a link with a telling name: the file that it points to is meant.
    fn link(&mut self, path: &Path, hooks: bool, listed: &dyn Fn(&Path) -> Option<Mark>) {
        if self.eye.spared(path) {
            self.seen.unmasked.push(path.to_owned());
            return;
        }
        let Some(name) = self.eye.by_name(path).or(hooks.then_some((Treatment::Fixed, Why::Git))) else {
            return;
        };
        if name.0 == Treatment::Spare {
            return;
        }
        // A link that leads nowhere, or out of the project, leads nowhere in the agent's container
        // either.
        let Ok(target) = self.eye.project.join(path).canonicalize() else { return };
        let Ok(below) = target.strip_prefix(self.eye.project) else { return };
        // What lies in a folder that is passed over was not listed.
        let mark = listed(below).or_else(|| {
            let held = held::open(&target).ok()?;
            rustix::fs::fstat(held).ok().map(|stat| Mark::of(&stat))
        });
        let Some(mark) = mark else { return };
        if target.is_file() {
            let (path, within) = (below.to_owned(), Within::default());
            self.candidates.push(Candidate { path, mark, name: Some(name), within });
        } else if name.0 == Treatment::Fixed && !below.as_os_str().is_empty() {
            let path = below.to_owned();
            self.covers.push(Cover { path, mark, with: With::Itself, why: vec![name.1] });
        }
    }

    fn file(&mut self, path: PathBuf, mark: Mark, within: Within, repository: bool) {
        let stored = within.store.is_some_and(|(store, names)| store.holds(below(&path, names)));
        if stored && !self.eye.mask.is_match(&path) {
            return;
        }
        if self.eye.spared(&path) {
            self.seen.unmasked.push(path);
            return;
        }
        let is = |name: &str| path.file_name().is_some_and(|other| other == name);
        let name = if (repository && is("config")) || (within.git && is("config.worktree")) {
            Some((Treatment::Scrub(Form::Git), Why::Git))
        } else if is(".gitmodules") {
            Some((Treatment::Scrub(Form::Git), Why::Name(".gitmodules")))
        } else {
            self.eye.by_name(&path)
        };
        self.candidates.push(Candidate { path, mark, name, within });
    }
}

#[cfg(test)]
mod moving_tests;
#[cfg(test)]
mod tests;
