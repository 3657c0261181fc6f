//! Packs: where the index of one has an object, and what the pack has there.
//!
//! Read in small pieces from the open files. Mapped into memory, as libraries do it, a file that
//! somebody makes shorter meanwhile would end ringfence; and those take paths, where links could be
//! swapped in.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::delta;
use super::object::{Form, Kind, ObjectId};
use super::store::{Budget, Fault, inflate};

/// Steps from an object to one that is whole. git makes no more.
const LONGEST_CHAIN: usize = 4096;
/// The largest object on the way.
const LARGEST_STEP: usize = 64 << 20;
/// All deltas of one object, which are kept until the first whole one is found.
const ALL_DELTAS: usize = 128 << 20;
/// Entries of the table that begins an index.
const FANOUT: u64 = 256 * 4;

/// Bytes that can be read at any place.
pub(crate) trait At {
    /// Reads some.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl At for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }
}

/// The bytes from a place on.
struct From<'a, R> {
    source: &'a R,
    offset: u64,
}

impl<R: At> Read for From<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn exactly<const N: usize>(source: &impl At, offset: u64) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    From { source, offset }.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(source: &impl At, offset: u64) -> Result<u64, Fault> {
    Ok(u64::from(u32::from_be_bytes(exactly(source, offset)?)))
}

/// A pack and its index.
#[derive(Debug)]
pub(crate) struct Pack<R> {
    /// The index.
    pub(crate) index: R,
    /// The pack.
    pub(crate) pack: R,
    /// Hash by which objects are named.
    pub(crate) form: Form,
}

/// The thing that a pack has at a place.
enum Step {
    Whole(Kind, Vec<u8>),
    Delta { base: u64, delta: Vec<u8> },
}

impl<R: At> Pack<R> {
    /// Finds where the pack has an object.
    pub(crate) fn find(&self, id: &ObjectId) -> Result<Option<u64>, Fault> {
        const MAGIC: [u8; 8] = *b"\xfftOc\0\0\0\x02";
        let length = self.form.length() as u64;
        let second = exactly::<8>(&self.index, 0)? == MAGIC;
        let table = if second { 8 } else { 0 };
        let Some(first) = id.bytes().first().copied().map(u64::from) else { return Ok(None) };
        let all = number(&self.index, table + 255 * 4)?;
        let mut high = number(&self.index, table + first * 4)?;
        let mut low = if first == 0 { 0 } else { number(&self.index, table + (first - 1) * 4)? };
        if low > high || high > all {
            return Err(Fault::Damaged);
        }
        // The first form has the place before each name, the second has all names, checksums, and
        // places.
        let (names, step) = if second { (table + FANOUT, length) } else { (FANOUT + 4, length + 4) };
        let mut name = vec![0; self.form.length()];
        while low < high {
            let middle = low + (high - low) / 2;
            From { source: &self.index, offset: names + middle * step }.read_exact(&mut name)?;
            match id.bytes().cmp(&name) {
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Equal if !second => {
                    return number(&self.index, names + middle * step - 4).map(Some);
                }
                std::cmp::Ordering::Equal => {
                    let small = names + all * (length + 4);
                    let place = number(&self.index, small + middle * 4)?;
                    if place & 0x8000_0000 == 0 {
                        return Ok(Some(place));
                    }
                    let large = small + all * 4 + (place & 0x7fff_ffff) * 8;
                    return Ok(Some(u64::from_be_bytes(exactly(&self.index, large)?)));
                }
            }
        }
        Ok(None)
    }

    /// Reads the object at a place, of at most so many bytes.
    pub(crate) fn object(
        &self,
        place: u64,
        most: usize,
        budget: &mut Budget,
    ) -> Result<(Kind, Vec<u8>), Fault> {
        if exactly::<4>(&self.pack, 0)? != *b"PACK" {
            return Err(Fault::Damaged);
        }
        let (mut deltas, mut kept, mut place) = (Vec::new(), 0, place);
        let (kind, mut content) = loop {
            match self.step(place, budget)? {
                Step::Whole(kind, content) => break (kind, content),
                Step::Delta { base, delta } => {
                    // The first one says how large the result is.
                    if deltas.is_empty() && delta::sizes(&delta)?.1 > most {
                        return Err(Fault::TooLarge);
                    }
                    kept += delta.len();
                    deltas.push(delta);
                    if deltas.len() > LONGEST_CHAIN || kept > ALL_DELTAS {
                        return Err(Fault::TooLarge);
                    }
                    place = base;
                }
            }
        };
        for delta in deltas.into_iter().rev() {
            budget.take(step_size(delta::sizes(&delta)?.1)?)?;
            content = delta::apply(&content, &delta)?;
        }
        if content.len() > most { Err(Fault::TooLarge) } else { Ok((kind, content)) }
    }

    fn step(&self, place: u64, budget: &mut Budget) -> Result<Step, Fault> {
        let mut source = io::BufReader::with_capacity(64, From { source: &self.pack, offset: place });
        let mut used = 0u64;
        let mut next = || -> Result<u64, Fault> {
            let mut byte = [0; 1];
            source.read_exact(&mut byte)?;
            used += 1;
            Ok(u64::from(byte[0]))
        };
        let first = next()?;
        let (kind, mut size, mut shift, mut byte) = (first >> 4 & 7, first & 15, 4, first);
        while byte & 0x80 != 0 {
            byte = next()?;
            if shift > 32 {
                return Err(Fault::TooLarge);
            }
            size |= (byte & 0x7f) << shift;
            shift += 7;
        }
        let base = match kind {
            6 => {
                // How far before this one it is.
                let mut byte = next()?;
                let mut back = byte & 0x7f;
                while byte & 0x80 != 0 {
                    byte = next()?;
                    back = back.checked_add(1).filter(|back| *back < 1 << 55).ok_or(Fault::Damaged)?;
                    back = back << 7 | byte & 0x7f;
                }
                Some(place.checked_sub(back).filter(|_| back > 0).ok_or(Fault::Damaged)?)
            }
            7 => {
                let name: Vec<u8> = (0..self.form.length())
                    .map(|_| next().map(|byte| byte as u8))
                    .collect::<Result<_, _>>()?;
                let id = self.form.take(&name).ok_or(Fault::Damaged)?;
                Some(self.find(&id)?.ok_or(Fault::Damaged)?)
            }
            _ => None,
        };
        let size = step_size(usize::try_from(size).map_err(|_| Fault::TooLarge)?)?;
        budget.take(size)?;
        let content = inflate(From { source: &self.pack, offset: place + used }, size)?;
        Ok(match (kind, base) {
            (_, Some(base)) => Step::Delta { base, delta: content },
            (1, _) => Step::Whole(Kind::Commit, content),
            (2, _) => Step::Whole(Kind::Tree, content),
            (3, _) => Step::Whole(Kind::Blob, content),
            (4, _) => Step::Whole(Kind::Tag, content),
            _ => return Err(Fault::Damaged),
        })
    }
}

fn step_size(size: usize) -> Result<usize, Fault> {
    if size > LARGEST_STEP { Err(Fault::TooLarge) } else { Ok(size) }
}
