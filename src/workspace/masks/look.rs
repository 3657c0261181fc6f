//! Looking at files: what their name and their content say together.
//!
//! ```text
//!  candidate ─▶ open, below the project and never a link ─▶ is it what was listed? ─▶ read ─▶ rules, and the form that the name means ─▶ look
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::git::{self, Store};
use super::names::Treatment;
use super::scrub::{self, Form, Scrubbed};
use super::snapshot::{Differences, Mark};
use super::walk::Eye;
use super::{Cover, Why, With};
use crate::host::at::open_below;
use crate::workspace::mounts::Identity;
use crate::workspace::secrets::{Finding, Rules};

/// The largest text that is looked into.
const LARGEST_TEXT: u64 = 8 << 20;
/// The largest file that is no text.
const LARGEST_BINARY: u64 = 1 << 20;
/// Room for one reading.
const LEAST_ROOM: usize = 32;
const MOST_ROOM: usize = 256 << 10;
/// A file is no text when it has a zero byte here.
pub(super) const HEAD: usize = 8 << 10;

/// Position of the walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Within {
    /// Set in a folder that may be a repository's own.
    pub(super) git: bool,
    /// Number of names in the path of a folder that is a repository's own for certain.
    pub(super) own: Option<usize>,
    /// A repository's store, and the number of names in its path.
    pub(super) store: Option<(Store, usize)>,
    /// Set in a cache.
    pub(super) cache: bool,
}

/// A file that is to be looked at.
#[derive(PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// Mark of the file when it was listed.
    pub(super) mark: Mark,
    /// Treatment by the file's name, or by a name that leads to the file.
    pub(super) name: Option<(Treatment, Why)>,
    pub(super) within: Within,
}

/// The results of earlier looks.
pub(super) type Known = HashMap<PathBuf, Vec<(Candidate, Look)>>;

/// The result of a look at a file.
pub(super) enum Look {
    /// The file is not the one that was listed there.
    Moved,
    /// The file needs no cover.
    Clean,
    /// The file is no text, and large.
    NotText,
    /// The file is too large to look into.
    TooLarge,
    /// The file was not looked into: enough of the mount was read.
    BeyondBudget,
    /// A secret in git's own files: nothing can be laid over what git must write.
    InGit(&'static str),
    /// The file must be covered.
    Cover(With, Vec<Why>),
}

/// An open file, as it was when it was opened.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) mark: Mark,
    /// Number of bytes.
    size: u64,
}

impl Opened {
    pub(super) fn of(file: File, stat: &Stat) -> Opened {
        Opened { file, mark: Mark::of(stat), size: u64::try_from(stat.st_size).unwrap_or(u64::MAX) }
    }
}

impl Eye<'_> {
    /// Opens a file, and never a link, a FIFO or a device. A folder on the way that another agent
    /// swaps for a link meanwhile would lead to files of this machine, whose copies the agent would
    /// get.
    pub(super) fn open(&self, path: &Path) -> std::io::Result<Opened> {
        open(self.root.as_fd(), path)
    }

    /// Looks at all candidates, on as many threads as the machine has. What is known of those that
    /// did not change is taken over.
    pub(super) fn look(&self, candidates: &[Candidate], known: &mut Known) -> Vec<Look> {
        let mut looks: Vec<Option<Look>> = candidates
            .iter()
            .map(|candidate| {
                let before = known.get_mut(&candidate.path)?;
                let index = before.iter().position(|(other, _)| other == candidate)?;
                Some(before.swap_remove(index).1).filter(|look| !matches!(look, Look::Moved))
            })
            .collect();
        known.clear();
        let waiting: Vec<usize> = (0..looks.len()).filter(|index| looks[*index].is_none()).collect();
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let next = AtomicUsize::new(0);
        let worker = || {
            let (mut looks, mut text) = (Vec::new(), Vec::new());
            loop {
                let Some(index) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) else { return looks };
                looks.push((*index, self.look_at(&candidates[*index], &mut text).0));
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            for worker in workers {
                // A worker that panicked has found a fault of ours: it must not look like a clean
                // project.
                let found = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                found.into_iter().for_each(|(index, look)| looks[index] = Some(look));
            }
        });
        // Each has been looked at; if one had not, it would count as moved.
        looks.into_iter().map(|look| look.unwrap_or(Look::Moved)).collect()
    }

    /// Looks once more at the files that were written meanwhile; names what moved.
    pub(super) fn settle(
        &self,
        candidates: &[Candidate],
        looks: &mut [Look],
        found: Differences,
    ) -> BTreeSet<PathBuf> {
        let Differences { mut moved, changed } = found;
        let mut text = Vec::new();
        for (candidate, look) in candidates.iter().zip(looks) {
            let mut hides = matches!(look, Look::Cover(..));
            if let Some(now) = changed.get(&candidate.path) {
                let (again, read) = self.look_at(candidate, &mut text);
                hides |= matches!(again, Look::Cover(..));
                let linked =
                    !candidate.mark.still(now) || read.is_some_and(|read| !candidate.mark.still(&read));
                *look = if hides && linked { Look::Moved } else { again };
            }
            if matches!(look, Look::Moved) {
                moved.insert(candidate.path.clone());
            }
        }
        moved
    }

    /// Looks at a file, by way of a buffer; its mark when it was opened.
    fn look_at(&self, candidate: &Candidate, text: &mut Vec<u8>) -> (Look, Option<Mark>) {
        let why = |first: &Why| vec![first.clone()];
        if let Some((Treatment::Empty, first)) = &candidate.name {
            return (Look::Cover(With::Nothing, why(first)), None);
        }
        match self.open(&candidate.path) {
            Ok(Opened { mark, .. }) if mark.identity != candidate.mark.identity => (Look::Moved, None),
            Ok(Opened { mark, size, .. }) if !self.affords(candidate, size) => {
                (Look::BeyondBudget, Some(mark))
            }
            Ok(mut opened) => (read_and_judge(candidate, &mut opened, text), Some(opened.mark)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::Other => (Look::Moved, None),
                _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => (Look::Moved, None),
                _ => (Look::Cover(With::Nothing, vec![Why::Unreadable]), None),
            },
        }
    }
}

impl Eye<'_> {
    /// Tells whether a file is read: always where its name says something, and else while the
    /// budget for contents lasts.
    fn affords(&self, candidate: &Candidate, size: u64) -> bool {
        let Some(budget) = &self.budget else { return true };
        let take = |left: u64| left.checked_sub(size.min(LARGEST_TEXT));
        candidate.name.is_some() || budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Reads a file into a buffer, and judges it.
pub(super) fn read_and_judge(candidate: &Candidate, opened: &mut Opened, text: &mut Vec<u8>) -> Look {
    let Opened { file, size, .. } = opened;
    let size = *size;
    let why = |first: &Why| vec![first.clone()];
    let named = candidate.name.as_ref().filter(|(treatment, _)| *treatment != Treatment::Spare);
    if size > LARGEST_TEXT {
        return match named {
            Some((Treatment::Fixed, first)) => Look::Cover(With::Itself, why(first)),
            Some((_, first)) => Look::Cover(With::Nothing, vec![first.clone(), Why::Unclear]),
            None => match head_is_text(file, text) {
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
    if let Err(_error) = read(file, size, text, most) {
        return Look::Cover(With::Nothing, vec![Why::Unreadable]);
    }
    if named.is_none() && text.len() < size as usize {
        return Look::NotText;
    }
    judge(candidate, named, text)
}

fn head_is_text(file: &mut File, head: &mut Vec<u8>) -> std::io::Result<bool> {
    head.clear();
    file.take(HEAD as u64).read_to_end(head)?;
    Ok(!head.contains(&0))
}

/// Reads a file of a size; of one that is no text, and larger than `most`, only the beginning.
fn read(file: &mut File, size: u64, text: &mut Vec<u8>, most: u64) -> std::io::Result<()> {
    text.clear();
    if read_up_to(file, size, text, HEAD)? || (text.contains(&0) && size > most) {
        return Ok(());
    }
    read_up_to(file, size, text, LARGEST_TEXT as usize).map(drop)
}

/// Reads so many bytes more of a file that had a size; tells whether it ended before. A file that
/// gave as many bytes as it had, where there was room for more, is not asked again.
fn read_up_to(file: &mut File, size: u64, text: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    let goal = text.len() + most;
    while text.len() < goal {
        let begun = text.len();
        // One byte more than there should be.
        let left = usize::try_from(size.saturating_add(1)).unwrap_or(goal).saturating_sub(begun);
        let room = if left == 0 { MOST_ROOM } else { left.clamp(LEAST_ROOM, MOST_ROOM) };
        let room = room.min(goal - begun);
        text.resize(begun + room, 0);
        let read = file.read(&mut text[begun..]);
        text.truncate(begun + read.as_ref().map_or(0, |read| *read));
        let read = match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 || (read < room && text.len() as u64 == size) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns what the text and the name say together.
fn judge(candidate: &Candidate, named: Option<&(Treatment, Why)>, text: &[u8]) -> Look {
    let findings = Rules::get().find(text);
    let in_content = || findings.iter().map(|finding| content(text, finding));
    let spans = || findings.iter().map(|finding| finding.span.clone()).collect();
    match named {
        Some((treatment @ (Treatment::Scrub(form) | Treatment::Judge(form)), first)) => {
            // What the rules find goes first: what they put in its place is no secret to the second
            // pass.
            let known = scrub::replace(text, spans(), |_| scrub::MASK.into());
            let why: Vec<Why> = std::iter::once(first.clone()).chain(in_content()).collect();
            let left = match treatment {
                Treatment::Judge(_) => scrub::judge(*form, &candidate.path, &known),
                _ => scrub::scrub(*form, &known),
            };
            match left {
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

/// Returns a path without its first names.
pub(super) fn below(path: &Path, names: usize) -> &Path {
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

/// Covers hard links: a file that is hidden under one name is hidden under all its names in the
/// project.
pub(super) fn same_files(candidates: &[Candidate], looked: &[Look], covers: &mut Vec<Cover>) {
    let several = |mark: &Mark| (mark.names > 1).then_some(mark.identity);
    let mut hidden: HashMap<Identity, (&Path, &With)> = HashMap::new();
    for (candidate, look) in candidates.iter().zip(looked) {
        if let Look::Cover(with, _) = look
            && *with != With::Itself
            && let Some(identity) = several(&candidate.mark)
        {
            hidden.insert(identity, (&candidate.path, with));
        }
    }
    if hidden.is_empty() {
        return;
    }
    for (candidate, look) in candidates.iter().zip(looked) {
        if matches!(look, Look::Cover(..)) {
            continue;
        }
        let Some((other, with)) = several(&candidate.mark).and_then(|identity| hidden.get(&identity)) else {
            continue;
        };
        let with = match with {
            With::Masked(left) => With::Masked(left.clone()),
            _ => With::Nothing,
        };
        let why = vec![Why::SameFile((*other).to_owned())];
        covers.push(Cover { path: candidate.path.clone(), mark: candidate.mark, with, why });
    }
}

/// Opens a file below a folder, and never a link, a FIFO or a device.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<Opened> {
    let opened = open_below(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let stat = rustix::fs::fstat(&opened)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("it is no file any more"));
    }
    Ok(Opened::of(File::from(opened), &stat))
}
