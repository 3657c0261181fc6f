//! git's index: reading what an agent left, and writing it anew.
//!
//! ```text
//!  bytes ─▶ entries (path, mode, object, stage, three bits) ─▶ judged ─▶ bytes of ours
//! ```
//! Nothing of the agent's bytes survives but permitted entries: no stat data (git looks at every
//! file's content again), no cached trees, no list of untracked files, no word of a file system
//! monitor. So a mistake in this reader loses what was staged, and hides nothing.

use sha1::Digest as _;

use super::ewah;

/// No index is larger.
pub(crate) const LARGEST: u64 = 256 << 20;
/// No path is longer: the kernel takes none.
const LONGEST_PATH: usize = 4096;
/// All paths of an index. In version 4 each repeats what is the same as in the one before, so a
/// small file can stand for any number.
const ALL_PATHS: usize = 512 << 20;

const FLAG_VALID: u16 = 0x8000;
const FLAG_EXTENDED: u16 = 0x4000;
const FLAG_SKIP: u16 = 0x4000;
const FLAG_INTENT: u16 = 0x2000;

/// A folder's entry, of a sparse index.
pub(crate) const FOLDER: u32 = 0o040_000;
/// A submodule's.
pub(super) const GITLINK: u32 = 0o160_000;
/// A symbolic link's.
pub(crate) const LINK: u32 = 0o120_000;

/// File times, device, inode, owner and size as git's index records them, in ten numbers.
pub(crate) type Stat = [u32; 10];

/// Places in it.
pub(crate) const MODE: usize = 6;

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path below the working tree.
    pub(crate) path: Vec<u8>,
    /// Kind and permissions.
    pub(crate) mode: u32,
    /// The object.
    pub(crate) object: Vec<u8>,
    /// 0, or 1 to 3 in an unfinished merge.
    pub(crate) stage: u8,
    /// Assume-unchanged: git does not look at the file.
    pub(crate) valid: bool,
    /// Skip-worktree: git takes the file for what is in the index.
    pub(crate) skip: bool,
    /// Intent to add.
    pub(crate) intent: bool,
    /// The file's stat data when git last looked at it. Never written.
    pub(crate) stat: Stat,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The form.
    pub(crate) version: u32,
    /// Entries in git's order.
    pub(crate) entries: Vec<Entry>,
    /// Differences from the shared index, for a split one.
    pub(crate) base: Option<Base>,
}

/// Entries that a split index has on top of a shared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// The shared one's name.
    pub(crate) name: Vec<u8>,
    /// Places of entries there that are gone.
    pub(crate) gone: Vec<usize>,
    /// Places of entries there that the first ones here replace.
    pub(crate) replaced: Vec<usize>,
}

/// Returns the number of bytes of an object's name: SHA-1 or SHA-256.
pub(super) fn name_length(sha256: bool) -> usize {
    if sha256 { 32 } else { 20 }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, most: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(most)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Takes the bytes up to a zero byte, which is taken too.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// Takes git's number of variable length: how many bytes of the path before are not in this
    /// one.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = *self.take(1)?.first()?;
        let mut value = usize::from(byte & 127);
        while byte & 128 != 0 {
            byte = *self.take(1)?.first()?;
            value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 127))?;
        }
        Some(value)
    }
}

/// Reads an index; nothing where git could not, or might read it otherwise.
pub(crate) fn read(bytes: &[u8], sha256: bool) -> Option<Index> {
    let length = name_length(sha256);
    let body = bytes.len().checked_sub(length)?;
    let mut reader = Reader(&bytes[..body]);
    if reader.take(4)? != b"DIRC" {
        return None;
    }
    let version = reader.u32()?;
    if !(2..=4).contains(&version) {
        return None;
    }
    let count = usize::try_from(reader.u32()?).ok()?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(body / 62));
    let mut left = ALL_PATHS;
    for _ in 0..count {
        let before = entries.last().map(|entry| entry.path.as_slice());
        let entry = entry(&mut reader, version, length, before)?;
        left = left.checked_sub(entry.path.len())?;
        entries.push(entry);
    }
    let mut base = None;
    while !reader.0.is_empty() {
        let name = reader.take(4)?;
        let size = usize::try_from(reader.u32()?).ok()?;
        let data = reader.take(size)?;
        match name {
            b"link" if base.is_none() => base = link(data, length)?,
            b"link" => return None,
            // A sparse index says no more by it than its entries do.
            b"sdir" => {}
            // What is not in capital letters must be understood.
            _ if !name[0].is_ascii_uppercase() => return None,
            _ => {}
        }
    }
    let nameless = base.as_ref().map_or(0, |base: &Base| base.replaced.len());
    let (first, rest) = entries.split_at_checked(nameless)?;
    let named =
        first.iter().all(|entry| entry.path.is_empty()) && rest.iter().all(|entry| !entry.path.is_empty());
    (named && is_ordered(rest)).then_some(Index { version, entries, base })
}

fn entry(reader: &mut Reader<'_>, version: u32, length: usize, before: Option<&[u8]>) -> Option<Entry> {
    let start = reader.0.len();
    let mut stat = [0; 10];
    for number in &mut stat {
        *number = reader.u32()?;
    }
    let object = reader.take(length)?.to_vec();
    let flags = reader.u16()?;
    let more = match flags & FLAG_EXTENDED != 0 {
        true if version < 3 => return None,
        true => reader.u16()?,
        false => 0,
    };
    if more & !(FLAG_SKIP | FLAG_INTENT) != 0 {
        return None;
    }
    let path = if version == 4 {
        let cut = reader.varint()?;
        let before = before.unwrap_or_default();
        [&before[..before.len().checked_sub(cut)?], reader.text()?].concat()
    } else {
        let path = reader.text()?.to_vec();
        // Zero bytes up to a multiple of eight; one of them was taken.
        let used = start - reader.0.len();
        let padding = reader.take((8 - used % 8) % 8)?;
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        path
    };
    let said = usize::from(flags & 0xfff);
    if said != path.len().min(0xfff) || path.len() > LONGEST_PATH {
        return None;
    }
    Some(Entry {
        mode: stat[MODE],
        path,
        object,
        stage: u8::try_from((flags >> 12) & 3).ok()?,
        valid: flags & FLAG_VALID != 0,
        skip: more & FLAG_SKIP != 0,
        intent: more & FLAG_INTENT != 0,
        stat,
    })
}

#[allow(clippy::option_option, reason = "unreadable, or without a base")]
fn link(data: &[u8], length: usize) -> Option<Option<Base>> {
    let (name, maps) = data.split_at_checked(length)?;
    if name.iter().all(|byte| *byte == 0) {
        return maps.is_empty().then_some(None);
    }
    let (gone, replaced) = if maps.is_empty() {
        (Vec::new(), Vec::new())
    } else {
        let (gone, rest) = ewah::read(maps)?;
        let (replaced, rest) = ewah::read(rest)?;
        if !rest.is_empty() {
            return None;
        }
        (gone, replaced)
    };
    Some(Some(Base { name: name.to_vec(), gone, replaced }))
}

fn key(entry: &Entry) -> (&[u8], u8) {
    (&entry.path, entry.stage)
}

fn is_ordered(entries: &[Entry]) -> bool {
    entries.windows(2).all(|pair| {
        key(&pair[0]) < key(&pair[1])
            // A path is merged, or it has stages.
            && (pair[0].path != pair[1].path || pair[0].stage > 0)
    })
}

/// Joins a split index and its shared one.
pub(crate) fn joined(split: Index, shared: Index) -> Option<Index> {
    let base = split.base?;
    if shared.base.is_some() {
        return None;
    }
    let mut all: Vec<Option<Entry>> = shared.entries.into_iter().map(Some).collect();
    let mut entries = split.entries.into_iter();
    for place in base.replaced {
        let here = all.get_mut(place)?.as_mut()?;
        let with = entries.next()?;
        *here = Entry { path: std::mem::take(&mut here.path), ..with };
    }
    for place in base.gone {
        *all.get_mut(place)? = None;
    }
    let mut entries: Vec<Entry> = all.into_iter().flatten().chain(entries).collect();
    entries.sort_by(|one, other| key(one).cmp(&key(other)));
    is_ordered(&entries).then_some(Index { version: split.version, entries, base: None })
}

/// Writes an index that holds these entries, and nothing else. git looks at the content of every
/// file that it names.
pub(crate) fn write(index: &Index, sha256: bool) -> Vec<u8> {
    let extended = |entry: &Entry| entry.skip || entry.intent;
    let version = match index.version {
        4 => 4u32,
        _ if index.entries.iter().any(extended) => 3,
        _ => 2,
    };
    let mut out = Vec::with_capacity(index.entries.len() * 80 + 64);
    out.extend_from_slice(b"DIRC");
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&u32::try_from(index.entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    let mut before: &[u8] = b"";
    for entry in &index.entries {
        let start = out.len();
        let mut stat = [0u32; 10];
        stat[MODE] = entry.mode;
        stat.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        out.extend_from_slice(&entry.object);
        let said = u16::try_from(entry.path.len().min(0xfff)).unwrap_or(0xfff);
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let flags = said
            | u16::from(entry.stage) << 12
            | bit(entry.valid, FLAG_VALID)
            | bit(extended(entry), FLAG_EXTENDED);
        out.extend_from_slice(&flags.to_be_bytes());
        if extended(entry) {
            let more = bit(entry.skip, FLAG_SKIP) | bit(entry.intent, FLAG_INTENT);
            out.extend_from_slice(&more.to_be_bytes());
        }
        if version == 4 {
            let same = entry.path.iter().zip(before).take_while(|(one, other)| one == other).count();
            out.extend_from_slice(&varint(before.len() - same));
            out.extend_from_slice(&entry.path[same..]);
            out.push(0);
        } else {
            out.extend_from_slice(&entry.path);
            let used = out.len() - start;
            out.resize(start + (used + 8) / 8 * 8, 0);
        }
        before = &entry.path;
    }
    if index.entries.iter().any(|entry| entry.mode == FOLDER) {
        out.extend_from_slice(b"sdir\0\0\0\0");
    }
    let sum = if sha256 { sha2::Sha256::digest(&out).to_vec() } else { sha1::Sha1::digest(&out).to_vec() };
    out.extend_from_slice(&sum);
    out
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = vec![low(value)];
    value >>= 7;
    while value != 0 {
        value -= 1;
        bytes.push(128 | low(value));
        value >>= 7;
    }
    bytes.reverse();
    bytes
}

fn low(value: usize) -> u8 {
    u8::try_from(value & 127).unwrap_or_default()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
