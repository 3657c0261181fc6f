//! Covers over files that git tracks: which of them give way to the file itself, or to the index's
//! version.
//!
//! ```text
//!  covers of the walk ─▶ read the file, ask git's versions ─▶ decide ─▶ shown: no cover │ the index's version │ a stand-in
//!                                                                └─▶ other names of the same file: what hides most counts
//! ```
//! Only files that would be covered are looked at. What is shown is remembered by what it is and
//! what it holds, so that the start, and the watch during the run, know another content from the
//! one that was compared.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::decide::{Demands, Known, Reason, Tracked, Verdict, decide};
use super::git::Store;
use super::names::{Names, Treatment};
use super::routes::routes_alike;
use super::{Cover, Why, With};
use crate::workspace::aftermath::record::{Digest, digest};
use crate::workspace::held;
use crate::workspace::mounts::Identity;
use crate::workspace::secrets::Rules;
use crate::workspace::versions::{Doubt, Version, Versions};

/// A larger file is not compared: git's versions are read up to 8 MiB, in which each line's end may
/// have one byte more.
const LARGEST: u64 = 16 << 20;
/// Bytes of texts that are kept until all is decided. Files that come after are not compared.
const KEPT: usize = 256 << 20;

/// The outcome for the files that would have been covered.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Files that the agent sees as they are, since git has them so.
    pub(crate) shown: Vec<Shown>,
    /// The verdict on each file that stays covered because of a secret.
    pub(crate) verdicts: BTreeMap<PathBuf, Verdict>,
}

/// A file that the agent sees as it is, though it holds a secret.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The path below the project.
    pub(crate) path: PathBuf,
    /// Reasons for which the file would have been covered.
    pub(crate) why: Vec<Why>,
    /// Tells whether the agent cannot change it all the same.
    pub(crate) fixed: bool,
    /// Print of the file and its content.
    pub(crate) print: Print,
    /// Digests of the secrets that the rules find in it.
    pub(crate) secrets: HashSet<Digest>,
}

/// The identity and content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Print {
    /// Device and inode.
    pub(crate) identity: Identity,
    /// Digest of the content.
    pub(crate) digest: Digest,
    /// Size, and when content and inode changed.
    stamp: [i64; 5],
    names: u64,
    executable: bool,
}

impl Print {
    /// Reads a file again, unless it is untouched; what it is and holds now, and its text.
    pub(crate) fn again(&self, path: &Path) -> io::Result<Option<(Print, Vec<u8>)>> {
        let meta = open(path)?.metadata()?;
        if identity(&meta) == self.identity && stamp(&meta) == self.stamp {
            return Ok(None);
        }
        read(path).map(|(text, print)| Some((print, text)))
    }
}

impl Shown {
    /// Tells whether its name made it a secret, whatever it holds.
    pub(super) fn is_by_name(&self) -> bool {
        !self.why.iter().all(|why| matches!(why, Why::Content { .. }))
    }
}

/// A file that would be covered, and what was found out about it.
struct Case {
    place: usize,
    /// Identity of the file, where it has other names.
    linked: Option<Identity>,
    read: Option<(Vec<u8>, Print)>,
    verdict: Verdict,
    index: Option<InIndex>,
}

/// The index's version of a file.
struct InIndex {
    text: Vec<u8>,
    executable: bool,
}

/// Git's word about a path: what the decision needs, and the index's version.
type GitVersion = (Known, Option<InIndex>);

/// Decides for all covers of a project that hide a secret, and changes the covers accordingly.
pub(crate) fn settle(project: &Path, covers: &mut Vec<Cover>, stand_ins: bool) -> Decided {
    if !covers.iter().any(hides) {
        return Decided::default();
    }
    let versions = match covers.iter().any(|cover| hides(cover) && is_object(&cover.path)) {
        true => Err("git's objects are covered too".to_owned()),
        false => Versions::open(project).map_err(|doubt| doubt.to_string()),
    };
    let ask = |cover: &Cover, text: Option<&[u8]>| match &versions {
        Ok(versions) => answer(versions.of(&cover.path), text, cover),
        Err(doubt) => (Known::Doubt(doubt.clone()), None),
    };
    settle_by(project, covers, stand_ins, KEPT, ask)
}

fn settle_by(
    project: &Path,
    covers: &mut Vec<Cover>,
    stand_ins: bool,
    most: usize,
    ask: impl Fn(&Cover, Option<&[u8]>) -> GitVersion,
) -> Decided {
    let unchangeable: HashSet<PathBuf> =
        covers.iter().filter(|cover| !hides(cover)).map(|cover| cover.path.clone()).collect();
    let (mut cases, mut kept) = (Vec::new(), 0);
    for (place, cover) in covers.iter().enumerate().filter(|(_, cover)| hides(cover)) {
        // What was put in its place meanwhile was not looked at.
        let is_enough = kept > most;
        let read = (!is_enough).then(|| read(&project.join(&cover.path)).ok()).flatten();
        let mut read = read.filter(|(_, print)| print.identity == cover.mark.identity);
        let masked = cover.why.iter().any(|why| matches!(why, Why::Policy(_)));
        let (known, index) = match is_gits_own(cover) {
            true => (Known::GitsOwn, None),
            false if is_enough => (Known::Doubt("there was too much to compare".to_owned()), None),
            false => ask(cover, read.as_ref().map(|(text, _)| text.as_slice())),
        };
        let verdict = decide(&known, Demands { masked, stand_ins });
        // A project can hold far more than this machine's memory.
        if let Some((text, _)) = read.as_mut().filter(|_| verdict != Verdict::Show) {
            *text = Vec::new();
        }
        let index = index.filter(|_| verdict == Verdict::Committed);
        kept += read.as_ref().map_or(0, |(text, _)| text.len());
        kept += index.as_ref().map_or(0, |index| index.text.len());
        let linked = (cover.mark.names > 1).then_some(cover.mark.identity);
        cases.push(Case { place, linked, read, verdict, index });
    }
    same_files(&mut cases);
    let (mut decided, mut gone) = (Decided::default(), HashSet::new());
    for Case { place, read, mut verdict, index, .. } in cases {
        let cover = &mut covers[place];
        let path = cover.path.clone();
        match (&verdict, read, index) {
            (Verdict::Show, Some((text, print)), _) => {
                let fixed =
                    is_fixed(cover) || path.ancestors().skip(1).any(|above| unchangeable.contains(above));
                let secrets = secrets(&text);
                match fixed {
                    // A copy that is made later might hold something else by then.
                    true => cover.with = With::Committed { text, executable: print.executable },
                    false => _ = gone.insert(place),
                }
                decided.shown.push(Shown { path, why: cover.why.clone(), fixed, print, secrets });
                continue;
            }
            (Verdict::Committed, _, Some(InIndex { text, executable })) => {
                cover.with = With::Committed { text, executable };
            }
            (Verdict::StandIn(_), ..) => {}
            // A verdict without what it is about.
            _ => verdict = Verdict::StandIn(Reason::Doubt("the file cannot be read".to_owned())),
        }
        decided.verdicts.insert(path, verdict);
    }
    let mut place = 0..covers.len();
    covers.retain(|_| place.next().is_none_or(|place| !gone.contains(&place)));
    decided
}

/// Returns what git's versions mean for the decision about a cover, over a file with this text.
fn answer(version: Result<Version, Doubt>, text: Option<&[u8]>, cover: &Cover) -> GitVersion {
    let doubt = |doubt: Doubt| (Known::Doubt(doubt.to_string()), None);
    let version = match version {
        Ok(version) => version,
        Err(why) => return doubt(why),
    };
    if version.index.is_none() && version.head.is_none() {
        return (Known::Untracked, None);
    }
    let as_committed = text.is_some_and(|text| version.shows(text));
    let index = match &version.index {
        Some(entry) if !as_committed && !version.filtered => match entry.blob() {
            Ok(blob) => {
                let text = with_ends_of(text.unwrap_or_default(), blob);
                Some(InIndex { text, executable: entry.executable })
            }
            Err(why) => return doubt(why),
        },
        _ => None,
    };
    let tracked = Tracked {
        as_committed,
        in_index: version.index.is_some(),
        filtered: version.filtered,
        routes_alike: index.as_ref().is_none_or(|index| routes_alike(cover, &index.text)),
    };
    (Known::Tracked(tracked), index)
}

/// Returns a version with the line ends that git writes: where every line of the file ends in a
/// carriage return too, and none of the version does, git has converted them. git takes a file of
/// another size for a changed one.
fn with_ends_of(file: &[u8], version: Vec<u8>) -> Vec<u8> {
    let newlines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    let both = |text: &[u8]| text.windows(2).filter(|pair| *pair == b"\r\n").count();
    let is_converted = newlines(file) > 0 && newlines(file) == both(file);
    if !is_converted || version.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        return version;
    }
    version.split_inclusive(|byte| *byte == b'\n').fold(Vec::new(), |mut text, line| {
        match line.strip_suffix(b"\n") {
            Some(line) => text.extend([line, b"\r\n"].concat()),
            None => text.extend(line),
        }
        text
    })
}

/// Hides a file under all of its names that is hidden under one of them.
fn same_files(cases: &mut [Case]) {
    let hidden: HashSet<Identity> =
        cases.iter().filter(|case| case.verdict != Verdict::Show).filter_map(|case| case.linked).collect();
    for case in cases.iter_mut().filter(|case| case.verdict == Verdict::Show) {
        if case.linked.is_some_and(|identity| hidden.contains(&identity)) {
            case.verdict = Verdict::StandIn(Reason::SameFile);
        }
    }
}

fn hides(cover: &Cover) -> bool {
    matches!(cover.with, With::Nothing | With::Masked(_))
}

/// Tells whether it lies in a repository's own folder, where git has no versions of it.
fn is_gits_own(cover: &Cover) -> bool {
    cover.why.contains(&Why::Git) || cover.path.iter().any(|part| part.eq_ignore_ascii_case(".git"))
}

/// Tells whether it is one of git's objects: where these are covered, the agent cannot read what
/// git has.
fn is_object(path: &Path) -> bool {
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        if part.as_os_str() == "objects" && Store::Objects.holds(parts.as_path()) {
            return true;
        }
    }
    false
}

/// Tells whether the agent must not change it, whatever it holds.
fn is_fixed(cover: &Cover) -> bool {
    let is_fixed = |pattern: &str| Names::get().by_pattern(pattern) == Some(Treatment::Fixed);
    cover.why.iter().any(|why| matches!(why, Why::Name(pattern) if is_fixed(pattern)))
}

/// Digests of the secrets that the rules find in a text.
pub(crate) fn secrets(text: &[u8]) -> HashSet<Digest> {
    Rules::get().find(text).into_iter().map(|finding| digest(&text[finding.span])).collect()
}

/// Reads a file, and tells what it was just before.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, Print)> {
    let mut file = open(path)?;
    let meta = file.metadata()?;
    let text = whole(&mut file)?;
    let print = Print {
        identity: identity(&meta),
        digest: digest(&text),
        stamp: stamp(&meta),
        names: meta.nlink(),
        executable: meta.mode() & 0o100 != 0,
    };
    Ok((text, print))
}

/// Opens for reading, and never through a link, nor a FIFO or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let held = held::open(path)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode) {
        FileType::RegularFile => Ok(File::from(held::reopen_file(&held, path)?)),
        _ => Err(io::Error::other("it is no file any more")),
    }
}

fn whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match file.take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST {
        true => Err(io::Error::other("it is too large to be compared")),
        false => Ok(text),
    }
}

fn identity(meta: &Metadata) -> Identity {
    Identity { device: meta.dev(), inode: meta.ino() }
}

fn stamp(meta: &Metadata) -> [i64; 5] {
    let size = i64::try_from(meta.size()).unwrap_or(i64::MAX);
    [size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]
}

#[cfg(test)]
#[path = "tracked_tests.rs"]
mod tests;
