//! A repository's own objects, loose and packed. What its alternates lead to is not looked at: it
//! lies elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use flate2::read::ZlibDecoder;
use rustix::fs::Dir;

use super::Doubt;
use super::folder::{self, Closed};
use super::look::{Look, Rest};
use super::object::{Form, Kind, ObjectId};
use super::pack::Pack;

/// The largest file content that is compared.
const LARGEST_BLOB: usize = 8 << 20;
/// The largest commit or tree.
const LARGEST_OTHER: usize = 32 << 20;
/// Packs of one repository.
const MOST_PACKS: usize = 20_000;
/// Bytes that may be unpacked for one object, all steps together.
const ONE: u64 = 1 << 30;
/// Bytes that stand before the content of a loose object, at most.
const LONGEST_HEAD: usize = 32;

/// Reason for which an object cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The object is larger than permitted, or too much must be unpacked for it.
    TooLarge,
    /// The object does not have the content that it must have.
    Damaged,
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Fault {
        Fault::Damaged
    }
}

impl From<Closed> for Fault {
    fn from(_: Closed) -> Fault {
        Fault::Damaged
    }
}

/// Bytes that may still be unpacked.
#[derive(Debug)]
pub(crate) struct Budget(pub(crate) u64);

impl Budget {
    /// Takes some.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(bytes as u64).ok_or(Fault::TooLarge)?;
        Ok(())
    }
}

/// Unpacks exactly so many bytes.
pub(super) fn inflate(source: impl Read, size: usize) -> Result<Vec<u8>, Fault> {
    // Stored in blocks, content needs a little more than itself.
    let mut packed = ZlibDecoder::new(source.take(size as u64 + size as u64 / 512 + (64 << 10)));
    let mut content = Vec::with_capacity(size.min(1 << 20));
    // One more, so that the checksum behind the content is read.
    packed.by_ref().take(size as u64 + 1).read_to_end(&mut content)?;
    if content.len() == size { Ok(content) } else { Err(Fault::Damaged) }
}

/// The objects of a repository.
#[derive(Debug)]
pub(crate) struct Store {
    objects: OwnedFd,
    form: Form,
    partial: bool,
    packs: OnceLock<Result<Vec<Pack<File>>, Closed>>,
    look: Arc<Look>,
}

impl Store {
    /// Reads objects from an open folder.
    pub(crate) fn new(objects: OwnedFd, form: Form, partial: bool, look: Arc<Look>) -> Store {
        Store { objects, form, partial, packs: OnceLock::new(), look }
    }

    /// Reads an object that must be of this kind. What is given has the name.
    pub(crate) fn read(&self, id: &ObjectId, kind: Kind) -> Result<Vec<u8>, Doubt> {
        let most = if kind == Kind::Blob { LARGEST_BLOB } else { LARGEST_OTHER };
        let mut rest = self.look.object().ok_or(Doubt::Spent)?;
        let mut fault = None;
        let found = self.packed(id, most, &mut rest, &mut fault).or_else(|| match self.loose(id, most) {
            Ok(found) => found,
            Err(other) => {
                fault.get_or_insert(other);
                None
            }
        });
        let read = found.as_ref().map_or(0, |(_, content)| content.len() as u64);
        rest.bytes.0 = rest.bytes.0.saturating_sub(read);
        drop(rest);
        match (found, fault) {
            (Some((is, content)), _) if is == kind && self.form.names(id, is, &content) => Ok(content),
            (Some(_), _) | (None, Some(Fault::Damaged)) => Err(Doubt::Damaged(id.clone())),
            (None, Some(Fault::TooLarge)) => Err(Doubt::TooLarge(id.clone())),
            (None, None) if self.partial => Err(Doubt::PartialClone(id.clone())),
            (None, None) => Err(Doubt::Missing(id.clone())),
        }
    }

    fn packed(
        &self,
        id: &ObjectId,
        most: usize,
        rest: &mut Rest,
        fault: &mut Option<Fault>,
    ) -> Option<(Kind, Vec<u8>)> {
        let packs = match self.packs.get_or_init(|| self.open_packs()) {
            Ok(packs) => packs,
            Err(_) => {
                *fault = Some(Fault::Damaged);
                return None;
            }
        };
        for pack in packs {
            let found = pack.find(id).and_then(|place| {
                let Some(place) = place else { return Ok(None) };
                let mut own = Budget(rest.bytes.0.min(ONE));
                rest.bytes.0 -= own.0;
                let object = pack.object(place, most, &mut own);
                rest.bytes.0 += own.0;
                object.map(Some)
            });
            match found {
                Ok(None) => {}
                Ok(found) => return found,
                Err(other) => *fault = Some(other),
            }
        }
        None
    }

    fn open_packs(&self) -> Result<Vec<Pack<File>>, Closed> {
        let here = match folder::folder(&self.objects, OsStr::new("pack")) {
            Ok(here) => here,
            Err(Closed::Absent) => return Ok(Vec::new()),
            Err(closed) => return Err(closed),
        };
        let mut packs = Vec::new();
        for entry in Dir::read_from(&here)? {
            let entry = entry?;
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            if name.extension() != Some(OsStr::new("idx")) {
                continue;
            }
            if packs.len() >= MOST_PACKS {
                return Err(Closed::Unfit);
            }
            let pack = name.with_extension("pack");
            // An index without its pack is of no use to git either.
            let opened = folder::file(&here, name.as_os_str())
                .and_then(|index| Ok((index, folder::file(&here, pack.as_os_str())?)));
            if let Ok((index, pack)) = opened {
                packs.push(Pack { index, pack, form: self.form });
            }
        }
        Ok(packs)
    }

    fn loose(&self, id: &ObjectId, most: usize) -> Result<Option<(Kind, Vec<u8>)>, Fault> {
        let digits = id.to_string();
        let (folder, name) = digits.split_at(2);
        let opened = folder::folder(&self.objects, &OsString::from(folder))
            .and_then(|here| folder::file(here, OsStr::new(name)));
        let file = match opened {
            Ok(file) => file,
            Err(Closed::Absent) => return Ok(None),
            Err(Closed::Unfit) => return Err(Fault::Damaged),
        };
        loose(file, most).map(Some)
    }
}

/// Reads a loose object: its kind, its size, a zero byte, its content, all packed together.
pub(crate) fn loose(source: impl Read, most: usize) -> Result<(Kind, Vec<u8>), Fault> {
    let most = (most + LONGEST_HEAD) as u64;
    let mut packed = ZlibDecoder::new(source.take(most + most / 512 + (64 << 10)));
    let mut content = Vec::new();
    packed.by_ref().take(most).read_to_end(&mut content)?;
    let end = content.iter().take(LONGEST_HEAD).position(|byte| *byte == 0).ok_or(Fault::Damaged)?;
    let head = &content[..end];
    let space = head.iter().position(|byte| *byte == b' ').ok_or(Fault::Damaged)?;
    let kind = Kind::called(&head[..space]).ok_or(Fault::Damaged)?;
    let size: usize = std::str::from_utf8(&head[space + 1..])
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::Damaged)?;
    if size as u64 > most - LONGEST_HEAD as u64 {
        return Err(Fault::TooLarge);
    }
    content.drain(..=end);
    if content.len() == size { Ok((kind, content)) } else { Err(Fault::Damaged) }
}
