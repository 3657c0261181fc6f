//! Signs in a directory that give others rights, or lead out of it: noted before a run, compared
//! after it.
//!
//! Of what was there before, digests are kept: what a person has is not told, and a large project's
//! record stays small.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::kinds::is_vendored;
use super::names::{cut, exact, listed, parts, shown};
use super::place::permissions;
use crate::host::walk::Entry;
use crate::wire::event::Observation;
use crate::workspace::survey::leads_out;

/// The most signs of each kind that are kept; those beyond are counted. No project has as many
/// before a run.
const MOST: usize = 20_000;
/// Digests that are kept of what was there before.
const MOST_BEFORE: usize = 2_000_000;
/// Bytes of a digest; nobody finds a second path with the same digest.
const LENGTH: usize = 16;
/// The most signs of a kind that a person is shown.
const SHOWN: usize = 5;

/// First bytes of a macOS program.
const MACH: [[u8; 4]; 3] = [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe], [0xce, 0xfa, 0xed, 0xfe]];

/// Signs that a file can have, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sign {
    /// A file that runs with its owner's rights, whichever user starts it.
    SetUser,
    /// A file that runs with its group's rights, whichever user starts it.
    SetGroup,
    /// A file with a capability, or another security attribute.
    Capability,
    /// Everybody may write it.
    Writable,
    /// An access list says who else may use it.
    List,
    /// A file that was its owner's alone, and is not any more.
    Opened,
    /// A file of another user or group than the directory's.
    Owner,
    /// A link that leads out of the directory.
    Link,
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
    /// A device node.
    Device,
    /// A file with another name.
    Shared,
    /// A program or script that was there, could not be executed, and can be now.
    Runs,
    /// A file that is its owner's alone; told only when that ends.
    Private,
    /// A file that cannot be executed; told only when that ends.
    Plain,
}

impl Sign {
    /// Describes several files with this sign, in words.
    fn words(self) -> &'static str {
        match self {
            Sign::SetUser => "run with their owner's rights, whichever user starts them (set-user-ID)",
            Sign::SetGroup => "give their group to what is started or made there (set-group-ID)",
            Sign::Capability => "have capabilities or other security attributes",
            Sign::Writable => "can be written by everybody on this machine",
            Sign::List => "have an access control list",
            Sign::Opened => "were their owner's alone, and are open to others",
            Sign::Owner => "belong to another user or group",
            Sign::Link => "links that lead out of the directory",
            Sign::Socket => "sockets",
            Sign::Pipe => "pipes",
            Sign::Device => "device nodes",
            Sign::Shared => "files with a second name (hard links)",
            Sign::Runs => "can be executed, and could not before",
            Sign::Private => "their owner's alone",
            Sign::Plain => "cannot be executed",
        }
    }

    fn note(self) -> Observation {
        match self {
            Sign::Link | Sign::Socket | Sign::Pipe | Sign::Device | Sign::Shared => Observation::LeadsOut,
            _ => Observation::GivesRights,
        }
    }
}

/// Digests of what was there before a run.
pub(crate) type Before = HashSet<[u8; LENGTH]>;

/// Reads digests from a record's bytes.
pub(crate) fn before(bytes: &[u8]) -> Before {
    bytes.chunks_exact(LENGTH).filter_map(|chunk| chunk.try_into().ok()).collect()
}

/// Collects signs on a walk.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    /// Digests of the signs that were there, as bytes for a record.
    pub(crate) seen: Vec<u8>,
    /// Signs that were not there before.
    pub(crate) told: NewSigns,
}

/// Signs that appeared during a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct NewSigns {
    all: BTreeMap<Sign, Vec<(PathBuf, String)>>,
    beyond: BTreeMap<Sign, u64>,
}

impl Signs {
    /// Takes in an entry, with its path, of a directory that belongs to `owner` and lies at `at`.
    pub(super) fn take_in(
        &mut self,
        (entry, path): (&Entry<'_>, &Path),
        at: &Path,
        owner: (u32, u32),
        before: Option<&Before>,
    ) {
        let mut signs = of(entry.stat, owner, path);
        if entry.kind() == FileType::Symlink
            && let Ok(target) = rustix::fs::readlinkat(entry.here, entry.name, Vec::new())
        {
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            if leads_out(at, path, target) {
                signs.push((Sign::Link, exact(target)));
            }
        }
        signs.extend(attributes(entry.here, entry.name, entry.kind()));
        // Scripts are what an agent works on: one that was there and could not be started is told
        // when it can.
        signs.retain(|(sign, _)| {
            *sign != Sign::Runs
                || before.is_some_and(|before| before.contains(&digest(Sign::Plain, path, "")))
                    && is_program(entry.here, entry.name)
        });
        self.compare(path, entry.kind(), signs, before);
    }

    /// Takes in the signs of another part of the directory.
    pub(super) fn append(&mut self, other: Signs) {
        let room = (MOST_BEFORE * LENGTH).saturating_sub(self.seen.len());
        self.seen.extend_from_slice(&other.seen[..other.seen.len().min(room)]);
        let NewSigns { all, beyond } = other.told;
        for (sign, paths) in all {
            paths.into_iter().for_each(|(path, what)| self.told.add(sign, path, what));
        }
        beyond.into_iter().for_each(|(sign, more)| *self.told.beyond.entry(sign).or_default() += more);
    }

    /// Compares the directory itself with its state before.
    pub(crate) fn root(&mut self, stat: &Stat, before: Option<&Before>) {
        let owner = (stat.st_uid, stat.st_gid);
        self.compare(Path::new("."), FileType::Directory, of(stat, owner, Path::new(".")), before);
    }

    fn compare(&mut self, path: &Path, kind: FileType, signs: Vec<(Sign, String)>, before: Option<&Before>) {
        let Some(before) = before else {
            for (sign, what) in &signs {
                if self.seen.len() < MOST_BEFORE * LENGTH {
                    self.seen.extend(digest(*sign, path, what));
                }
            }
            return;
        };
        let is_private = signs.iter().any(|(sign, _)| *sign == Sign::Private);
        let was_private = || before.contains(&digest(Sign::Private, path, ""));
        if kind != FileType::Symlink && !is_private && was_private() {
            self.told.add(Sign::Opened, path.to_owned(), String::new());
        }
        for (sign, what) in signs {
            if !matches!(sign, Sign::Private | Sign::Plain) && !before.contains(&digest(sign, path, &what)) {
                self.told.add(sign, path.to_owned(), what);
            }
        }
    }
}

impl NewSigns {
    fn add(&mut self, sign: Sign, path: PathBuf, what: String) {
        let all = self.all.entry(sign).or_default();
        match all.len() < MOST {
            true => all.push((path, what)),
            false => *self.beyond.entry(sign).or_default() += 1,
        }
    }

    /// Takes in those of another directory.
    pub(crate) fn append(&mut self, other: NewSigns) {
        for (sign, paths) in other.all {
            self.all.entry(sign).or_default().extend(paths);
        }
        other.beyond.into_iter().for_each(|(sign, more)| *self.beyond.entry(sign).or_default() += more);
    }

    /// Tells whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Sorts by sign, shallow paths first.
    fn sorted(&self) -> Vec<(Sign, Vec<&(PathBuf, String)>)> {
        let of = |(sign, paths): (&Sign, &'_ Vec<(PathBuf, String)>)| -> (Sign, Vec<usize>) {
            let mut order: Vec<usize> = (0..paths.len()).collect();
            order.sort_by_key(|index| {
                let path = &paths[*index].0;
                (is_vendored(path), path.components().count(), path.clone())
            });
            (*sign, order)
        };
        let orders = self.all.iter().map(of);
        orders
            .map(|(sign, order)| (sign, order.into_iter().map(|at| &self.all[&sign][at]).collect()))
            .collect()
    }

    /// Returns the lines for the person.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut lines = vec!["new or changed files give others rights, or lead out:".to_owned()];
        for (sign, paths) in self.sorted() {
            let total = paths.len() as u64 + self.beyond.get(&sign).copied().unwrap_or(0);
            let first: Vec<String> =
                paths.iter().take(SHOWN).map(|(path, what)| told(shown(path), what)).collect();
            let more = total - first.len() as u64;
            lines.push(match more {
                0 => format!("  {}: {}", sign.words(), first.join(", ")),
                more => format!("  {}: {} and {more} more", sign.words(), first.join(", ")),
            });
        }
        lines
    }

    /// Returns every sign, in as many texts as it takes.
    pub(crate) fn events(&self) -> Vec<(Observation, String)> {
        let mut events = Vec::new();
        for (sign, paths) in self.sorted() {
            let names = paths.iter().map(|(path, what)| told(listed(path), what)).collect();
            let texts = parts(&format!("{}: ", sign.words()), names);
            events.extend(texts.into_iter().map(|text| (sign.note(), text)));
            if let Some(more) = self.beyond.get(&sign) {
                events
                    .push((sign.note(), format!("{}: {more} more, of which no name is kept", sign.words())));
            }
        }
        events
    }

    /// Returns every sign as data, for the list.
    pub(crate) fn json(&self) -> Vec<Value> {
        let all = self.sorted().into_iter().flat_map(|(sign, paths)| {
            let one = move |(path, what): &(PathBuf, String)| {
                json!({"reason": sign.note(), "path": exact(path), "what": sign.words(), "detail": what})
            };
            paths.into_iter().map(one).collect::<Vec<_>>()
        });
        let beyond = self.beyond.iter().map(
            |(sign, more)| json!({"reason": sign.note(), "what": sign.words(), "more-without-a-name": more}),
        );
        all.chain(beyond).collect()
    }
}

/// Joins a name and what is to be known of it.
fn told(name: String, what: &str) -> String {
    if what.is_empty() { name } else { format!("{name} ({})", cut(what, 200)) }
}

fn digest(sign: Sign, path: &Path, what: &str) -> [u8; LENGTH] {
    let mut hash = Sha256::new();
    hash.update([sign as u8]);
    hash.update((path.as_os_str().len() as u64).to_be_bytes());
    hash.update(path.as_os_str().as_bytes());
    hash.update(what.as_bytes());
    let whole = hash.finalize();
    std::array::from_fn(|index| whole[index])
}

/// Reads the signs that a file's inode shows.
fn of(stat: &Stat, owner: (u32, u32), path: &Path) -> Vec<(Sign, String)> {
    let mut signs = Vec::new();
    let (kind, mode) = (FileType::from_raw_mode(stat.st_mode), permissions(stat));
    let mut add = |sign: Sign| signs.push((sign, String::new()));
    match kind {
        FileType::Symlink => {}
        FileType::Socket => add(Sign::Socket),
        FileType::Fifo => add(Sign::Pipe),
        FileType::CharacterDevice | FileType::BlockDevice => add(Sign::Device),
        _ => {}
    }
    if kind == FileType::RegularFile || kind == FileType::Directory {
        // On folders the first has no meaning.
        if mode & 0o4000 != 0 && kind == FileType::RegularFile {
            add(Sign::SetUser);
        }
        if mode & 0o2000 != 0 {
            add(Sign::SetGroup);
        }
        if mode & 0o077 == 0 {
            add(Sign::Private);
        }
    }
    // In a folder such as /tmp everybody removes only what is their own.
    let kept_apart = kind == FileType::Directory && mode & 0o1000 != 0;
    if mode & 0o002 != 0 && kind != FileType::Symlink && kind != FileType::Socket && !kept_apart {
        add(Sign::Writable);
    }
    if kind == FileType::RegularFile && !is_vendored(path) {
        if stat.st_nlink > 1 {
            add(Sign::Shared);
        }
        add(if mode & 0o111 == 0 { Sign::Plain } else { Sign::Runs });
    }
    if (stat.st_uid, stat.st_gid) != owner {
        signs.push((Sign::Owner, format!("{}:{}", stat.st_uid, stat.st_gid)));
    }
    signs
}

/// Tells whether the kernel would start a file: a script, or a program. A file that cannot be read
/// counts as one.
fn is_program(here: BorrowedFd<'_>, name: &CStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(here, name, flags, Mode::empty()) else { return true };
    let mut text = [0u8; 4];
    let read = rustix::io::read(&file, &mut text[..]).unwrap_or(0);
    text[..read].starts_with(b"#!")
        || text == *b"\x7fELF"
        || text[..read].starts_with(b"MZ")
        || MACH.contains(&text)
}

/// Attributes by which others have rights. The path leads through a descriptor, and its last name
/// is not followed.
#[cfg(target_os = "linux")]
fn attributes(here: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Vec<(Sign, String)> {
    use std::os::fd::AsRawFd;

    if kind != FileType::RegularFile && kind != FileType::Directory {
        return Vec::new();
    }
    let path = Path::new("/proc/self/fd").join(here.as_raw_fd().to_string());
    let path = path.join(OsStr::from_bytes(name.to_bytes()));
    let mut names = [0u8; 4096];
    let Ok(length) = rustix::fs::llistxattr(&path, &mut names[..]) else { return Vec::new() };
    let value = |name: &OsStr| {
        let mut value = [0u8; 4096];
        let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap_or(0);
        hex::encode(Sha256::digest(&value[..length]))[..16].to_owned()
    };
    let names = names[..length].split(|byte| *byte == 0).map(OsStr::from_bytes);
    let sign = |name: &OsStr| match name.as_bytes() {
        // Labels of the system's own are on every file.
        b"security.selinux" | b"security.SMACK64" | b"security.ima" | b"security.evm" => None,
        name if name.starts_with(b"security.") => Some(Sign::Capability),
        b"system.posix_acl_access" | b"system.posix_acl_default" | b"system.nfs4_acl" | b"system.richacl" => {
            Some(Sign::List)
        }
        _ => None,
    };
    names
        .filter_map(|name| Some((sign(name)?, format!("{}, {}", name.to_string_lossy(), value(name)))))
        .collect()
}

/// Attributes by which others have rights: not looked at on this system.
#[cfg(not(target_os = "linux"))]
fn attributes(_: BorrowedFd<'_>, _: &CStr, _: FileType) -> Vec<(Sign, String)> {
    Vec::new()
}
