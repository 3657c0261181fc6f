//! Looking through a project.
//!
//! ```text
//!  folders, one by one ─▶ candidates (path, what the name says) ─▶ workers: read, rules ─▶ covers ─▶ other names of the same file
//! ```
//! Symbolic links are never followed; one with a secret's name makes what it points to a secret, if that is in the project.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use globset::{GlobSet, GlobSetBuilder};

use super::git::{self, Store};
use super::names::{Names, Treatment, glob};
use super::scrub::{self, Form, Scrubbed};
use super::{Cover, Plan, Seen, Why, With};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::workspace::held;
use crate::workspace::repository::is_of_elsewhere;
use crate::workspace::secrets::{Finding, Rules};

/// Files and folders in a project.
const MOST_ENTRIES: u64 = 3_000_000;
/// What can be laid over a project: every one is a mount.
pub(super) const MOST_COVERS: usize = 2000;
/// The largest text that is looked into.
const LARGEST_TEXT: u64 = 8 << 20;
/// The largest file that is no text.
const LARGEST_BINARY: u64 = 1 << 20;
/// A file is no text when it has a zero byte here.
const HEAD: usize = 8 << 10;
/// The tag by which a folder says that it is a cache (bford.info/cachedir). What is no text is not read there: builds make thousands of such
/// files. An agent can write a tag too, so that texts are looked into as anywhere, and a tag in the project's own folder says nothing.
const CACHE_TAG: (&str, &[u8]) = ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");

/// What a person says about masks besides the built-in list.
#[derive(Debug, Default, Clone)]
pub struct Wishes {
    /// Hidden whole, whatever else is said.
    pub mask: Vec<String>,
    /// Not looked at.
    pub unmask: Vec<String>,
}

/// Looks through a project.
pub fn plan(project: &Path, wishes: &Wishes) -> Result<Plan, Failure> {
    let mut walk = Walk {
        project,
        mask: patterns("mask", &wishes.mask)?,
        mask_words: &wishes.mask,
        unmask: patterns("unmask", &wishes.unmask)?,
        candidates: Vec::new(),
        covers: Vec::new(),
        seen: Seen::default(),
        entries: 0,
    };
    walk.folder(Path::new(""), Within::default())?;
    let Walk { candidates, mut covers, mut seen, .. } = walk;
    let looked = look(project, &candidates);
    same_files(project, &candidates, &looked, &mut covers);
    for (candidate, look) in candidates.into_iter().zip(looked) {
        seen.files += 1;
        match look {
            Look::Clean => seen.by_content += 1,
            Look::NotText => {}
            Look::TooLarge => seen.too_large.push(candidate.path),
            Look::InGit(rule) => seen.in_git.push((candidate.path, rule)),
            Look::Cover(with, why) => covers.push(Cover { path: candidate.path, with, why }),
        }
    }
    // Where a file has several names, what hides most counts.
    covers.sort_by(|a, b| (&a.path, a.with.rank()).cmp(&(&b.path, b.with.rank())));
    covers.dedup_by(|b, a| a.path == b.path);
    within_bounds(project, &covers)?;
    Ok(Plan { project: project.to_owned(), covers, seen })
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

/// Patterns of a policy or the command line: without a slash at any depth, else from the project's root; a folder means all in it.
fn patterns(key: &str, texts: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let inner = text.trim_matches('/');
        let rooted = if inner.contains('/') { inner.to_owned() } else { format!("**/{inner}") };
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

/// Where the walk is.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    /// In what may be a repository's own folder.
    git: bool,
    /// In a folder that is a repository's own for certain; how many names its path has.
    own: Option<usize>,
    /// In a repository's store; how many names its path has.
    store: Option<(Store, usize)>,
    /// In a cache.
    cache: bool,
}

/// A file that is to be looked at.
struct Candidate {
    path: PathBuf,
    /// What its name says, or a name that leads to it.
    name: Option<(Treatment, Why)>,
    within: Within,
}

struct Walk<'a> {
    project: &'a Path,
    mask: GlobSet,
    mask_words: &'a [String],
    unmask: GlobSet,
    candidates: Vec<Candidate>,
    covers: Vec<Cover>,
    seen: Seen,
    entries: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, within: Within) -> Result<(), Failure> {
        let mut waiting = vec![(folder.to_owned(), within)];
        while let Some((folder, mut within)) = waiting.pop() {
            let entries = match self.project.join(&folder).read_dir() {
                Ok(entries) => entries,
                // What ringfence may not read may still be readable to the agent, which may run as another user.
                Err(error) => return Err(self.unreadable(&folder, &error)),
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| self.unreadable(&folder, &error))?;
                let kind = entry.file_type().map_err(|error| self.unreadable(&folder, &error))?;
                names.push((PathBuf::from(entry.file_name()), kind));
                self.entries += 1;
            }
            if self.entries > MOST_ENTRIES {
                return Err(Failure::new(
                    COULD_NOT_RUN,
                    format!(
                        "{} holds more than {MOST_ENTRIES} files, too many to look for secrets",
                        self.project.display()
                    ),
                )
                .hint("give a smaller directory, or --unmask a folder that holds no secrets"));
            }
            let has = |name: &str| names.iter().any(|(other, _)| other == Path::new(name));
            let repository = git::is_repository(has);
            let top = folder.as_os_str().is_empty();
            let called_git = folder.file_name().is_some_and(|name| name == ".git");
            within.git |= repository || called_git;
            let nothing_else = || git::is_nothing_else(names.iter().map(|(name, _)| name.as_path()));
            if called_git || (repository && (within.own.is_some() || nothing_else())) {
                within.own = Some(folder.iter().count());
            }
            if !within.cache && !top && has(CACHE_TAG.0) && self.is_cache(&folder) {
                within.cache = true;
                self.seen.caches.push(folder.clone());
            }
            for (name, kind) in names {
                let path = folder.join(&name);
                if kind.is_dir() {
                    // What is to be hidden may lie in a folder that is shown.
                    if self.spared(&path) && self.mask.is_empty() {
                        self.seen.unmasked.push(path);
                        continue;
                    }
                    let hooks = repository && name == Path::new("hooks");
                    // What git keeps about working trees elsewhere: inside they look gone, and git would clear it away.
                    let record = within.own.is_some()
                        && folder.ends_with("worktrees")
                        && is_of_elsewhere(&self.project.join(&path));
                    self.fixed_folder(&path, hooks || record);
                    let store = Store::named(&name).filter(|_| repository);
                    let store = store.map(|store| (store, path.iter().count())).or(within.store);
                    waiting.push((path, Within { store, ..within }));
                } else if kind.is_symlink() {
                    self.link(&path, repository && name == Path::new("hooks"));
                } else if kind.is_file() {
                    self.file(path, within, repository);
                }
            }
        }
        Ok(())
    }

    fn unreadable(&self, folder: &Path, error: &std::io::Error) -> Failure {
        let path = self.project.join(folder);
        Failure::new(COULD_NOT_RUN, format!("cannot look for secrets in {}", path.display()))
            .caused_by(error)
            .hint("make it readable, or --unmask it if it holds none")
    }

    fn is_cache(&self, folder: &Path) -> bool {
        let mut head = [0; CACHE_TAG.1.len()];
        let opened = open(&self.project.join(folder).join(CACHE_TAG.0));
        opened.is_ok_and(|mut file| file.read_exact(&mut head).is_ok()) && head == CACHE_TAG.1
    }

    fn spared(&self, path: &Path) -> bool {
        self.unmask.is_match(path) && !self.mask.is_match(path)
    }

    fn fixed_folder(&mut self, path: &Path, hooks: bool) {
        let why = match Names::get().of(path) {
            _ if hooks => Why::Git,
            Some(name) if name.treatment == Treatment::Fixed => Why::Name(name.pattern),
            _ => return,
        };
        self.covers.push(Cover { path: path.to_owned(), with: With::Itself, why: vec![why] });
    }

    /// A link with a telling name: what it points to is meant.
    fn link(&mut self, path: &Path, hooks: bool) {
        let Some(name) = self.named(path).or(hooks.then_some((Treatment::Fixed, Why::Git))) else { return };
        if self.spared(path) || name.0 == Treatment::Spare {
            return;
        }
        // A link that leads nowhere, or out of the project, leads nowhere in the agent's container either.
        let Ok(target) = self.project.join(path).canonicalize() else { return };
        let Ok(below) = target.strip_prefix(self.project) else { return };
        if target.is_file() {
            let within = Within::default();
            self.candidates.push(Candidate { path: below.to_owned(), name: Some(name), within });
        } else if name.0 == Treatment::Fixed && !below.as_os_str().is_empty() {
            self.covers.push(Cover { path: below.to_owned(), with: With::Itself, why: vec![name.1] });
        }
    }

    fn file(&mut self, path: PathBuf, within: Within, repository: bool) {
        let stored = within.store.is_some_and(|(store, names)| store.holds(below(&path, names)));
        if stored && !self.mask.is_match(&path) {
            return;
        }
        if self.spared(&path) {
            self.seen.unmasked.push(path);
            return;
        }
        let is = |name: &str| path.file_name().is_some_and(|other| other == name);
        let name = if (repository && is("config")) || (within.git && is("config.worktree")) {
            Some((Treatment::Scrub(Form::Git), Why::Git))
        } else if is(".gitmodules") {
            Some((Treatment::Scrub(Form::Git), Why::Name(".gitmodules")))
        } else {
            self.named(&path)
        };
        self.candidates.push(Candidate { path, name, within });
    }

    fn named(&self, path: &Path) -> Option<(Treatment, Why)> {
        if let Some(index) = self.mask.matches(path).first() {
            // Every text made two patterns.
            let word = self.mask_words.get(index / 2).cloned().unwrap_or_default();
            return Some((Treatment::Empty, Why::Policy(word)));
        }
        Names::get().of_file(path).map(|(treatment, pattern)| (treatment, Why::Name(pattern)))
    }
}

/// What looking at a file showed.
enum Look {
    /// Nothing.
    Clean,
    /// It is no text, and large.
    NotText,
    /// It is too large to look into.
    TooLarge,
    /// A secret in git's own files: nothing can be laid over what git must write.
    InGit(&'static str),
    /// It must be covered.
    Cover(With, Vec<Why>),
}

/// Looks at all candidates, on as many threads as the machine has.
fn look(project: &Path, candidates: &[Candidate]) -> Vec<Look> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut looks = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(index) else { return looks };
            looks.push((index, look_at(project, candidate)));
        }
    };
    let mut all: Vec<(usize, Look)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        // A worker that panicked has found a fault of ours: it must not look like a clean project.
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, look)| look).collect()
}

/// Opens for reading, and never a link, a FIFO or a device. A folder on the way that another agent swaps for a link meanwhile would lead to
/// files of this machine, whose copies the agent would get.
pub(super) fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::from(held::open_to_read(path)?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file any more"));
    }
    Ok(file)
}

fn look_at(project: &Path, candidate: &Candidate) -> Look {
    let why = |first: &Why| vec![first.clone()];
    if let Some((Treatment::Empty, first)) = &candidate.name {
        return Look::Cover(With::Nothing, why(first));
    }
    let named = candidate.name.as_ref().filter(|(treatment, _)| *treatment != Treatment::Spare);
    let mut file = match open(&project.join(&candidate.path)) {
        Ok(file) => file,
        // Gone meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Look::Clean,
        Err(_) => return Look::Cover(With::Nothing, vec![Why::Unreadable]),
    };
    let size = file.metadata().map_or(u64::MAX, |meta| meta.len());
    if size > LARGEST_TEXT {
        return match named {
            Some((Treatment::Fixed, first)) => Look::Cover(With::Itself, why(first)),
            Some((_, first)) => Look::Cover(With::Nothing, vec![first.clone(), Why::Unclear]),
            None => match head_is_text(&mut file) {
                Ok(false) => Look::NotText,
                Ok(true) => Look::TooLarge,
                Err(_error) => Look::Cover(With::Nothing, vec![Why::Unreadable]),
            },
        };
    }
    let most = match &named {
        Some(_) => u64::MAX,
        None if candidate.within.cache => HEAD as u64,
        None => LARGEST_BINARY,
    };
    let mut text = Vec::with_capacity(size as usize);
    if let Err(_error) = read(&mut file, &mut text, most) {
        return Look::Cover(With::Nothing, vec![Why::Unreadable]);
    }
    if named.is_none() && text.len() < size as usize {
        return Look::NotText;
    }
    judge(candidate, named, &text)
}

fn head_is_text(file: &mut std::fs::File) -> std::io::Result<bool> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(!head.contains(&0))
}

/// Reads a file; of one that is no text, and larger than `most`, only the beginning.
fn read(file: &mut std::fs::File, text: &mut Vec<u8>, most: u64) -> std::io::Result<()> {
    file.take(HEAD as u64).read_to_end(text)?;
    if text.contains(&0) && file.metadata()?.len() > most {
        return Ok(());
    }
    file.take(LARGEST_TEXT).read_to_end(text)?;
    Ok(())
}

/// What the text and the name say together.
fn judge(candidate: &Candidate, named: Option<&(Treatment, Why)>, text: &[u8]) -> Look {
    let findings = Rules::get().find(text);
    let in_content = || findings.iter().map(|finding| content(text, finding));
    let spans = || findings.iter().map(|finding| finding.span.clone()).collect();
    match named {
        Some((Treatment::Scrub(form), first)) => {
            // What the rules find goes first: what they put in its place is no secret to the second pass.
            let known = scrub::replace(text, spans(), |_| scrub::MASK.into());
            let why: Vec<Why> = std::iter::once(first.clone()).chain(in_content()).collect();
            match scrub::scrub(*form, &known) {
                Scrubbed::Clean if findings.is_empty() => Look::Clean,
                Scrubbed::Clean => Look::Cover(With::Masked(known), why),
                Scrubbed::Masked(left) => Look::Cover(With::Masked(left), why),
                Scrubbed::Unclear => {
                    Look::Cover(With::Nothing, why.into_iter().chain([Why::Unclear]).collect())
                }
            }
        }
        Some((Treatment::Fixed, first)) => {
            let why: Vec<Why> = std::iter::once(first.clone()).chain(in_content()).collect();
            // `.envrc` and the like hold both code and secrets.
            let known = scrub::replace(text, spans(), |_| scrub::MASK.into());
            let with = match scrub::scrub(Form::Lines, &known) {
                Scrubbed::Masked(left) if is_environment(&candidate.path) => With::Masked(left),
                Scrubbed::Unclear if is_environment(&candidate.path) => With::Nothing,
                _ if findings.is_empty() => With::Itself,
                _ => With::Masked(known),
            };
            Look::Cover(with, why)
        }
        _ if findings.is_empty() => Look::Clean,
        _ if candidate.within.own.is_some_and(|names| git::writes(below(&candidate.path, names), text)) => {
            Look::InGit(findings[0].rule)
        }
        _ => {
            // What is no text keeps its layout.
            let binary = text[..text.len().min(HEAD)].contains(&0);
            let word = |length: usize| if binary { vec![b'x'; length] } else { scrub::MASK.into() };
            Look::Cover(With::Masked(scrub::replace(text, spans(), word)), in_content().collect())
        }
    }
}

/// A path without its first names.
fn below(path: &Path, names: usize) -> &Path {
    let mut parts = path.components();
    parts.by_ref().take(names).for_each(drop);
    parts.as_path()
}

fn is_environment(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".envrc"))
}

fn content(text: &[u8], finding: &Finding) -> Why {
    let before = &text[..finding.span.start];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Why::Content { rule: finding.rule, line, column }
}

/// Hard links: what is hidden under one name is hidden under all of them that are in the project.
fn same_files(project: &Path, candidates: &[Candidate], looked: &[Look], covers: &mut Vec<Cover>) {
    let inode = |path: &Path| {
        let meta = project.join(path).symlink_metadata().ok()?;
        (meta.nlink() > 1).then_some((meta.dev(), meta.ino()))
    };
    let mut hidden: HashMap<(u64, u64), (&Path, &With)> = HashMap::new();
    for (candidate, look) in candidates.iter().zip(looked) {
        if let Look::Cover(with, _) = look
            && *with != With::Itself
            && let Some(inode) = inode(&candidate.path)
        {
            hidden.insert(inode, (&candidate.path, with));
        }
    }
    if hidden.is_empty() {
        return;
    }
    for (candidate, look) in candidates.iter().zip(looked) {
        if matches!(look, Look::Cover(..)) {
            continue;
        }
        let Some((other, with)) = inode(&candidate.path).and_then(|inode| hidden.get(&inode)) else {
            continue;
        };
        let with = match with {
            With::Masked(left) => With::Masked(left.clone()),
            _ => With::Nothing,
        };
        let why = vec![Why::SameFile((*other).to_owned())];
        covers.push(Cover { path: candidate.path.clone(), with, why });
    }
}

#[cfg(test)]
mod tests;
