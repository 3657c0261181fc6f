//! Bent copies of good inputs.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::strategy::{Just, Strategy};

/// Changes to one input. Each is small; several together reach far.
const CHANGES: usize = 8;
/// Numbers at which readers of lengths go wrong.
const EDGES: [u32; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x3fff, 0x7fff, 0xffff, 0x00ff_ffff, 0x7fff_ffff];

/// An input, shown as text with escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// One change. Places are fractions of whatever the input's length is by then.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index, usize),
    Remove(Index, Index),
    Cut(Index),
    Number(Index, usize, u32),
    Swap(Index, Index),
    Splice(Index, Vec<u8>),
}

/// Inputs of at most `longest` bytes: mostly `seeds` with a few changes, now and then bytes of pure
/// chance. `words` are what the format knows: tokens, delimiters, magic numbers.
///
/// # Panics
/// Without a seed.
pub fn bytes(seeds: Vec<Vec<u8>>, words: &[&[u8]], longest: usize) -> impl Strategy<Value = Bytes> + use<> {
    assert!(!seeds.is_empty(), "a fuzz target begins with good inputs");
    let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).chain([vec![0]]).collect();
    let at = any::<Index>;
    let change = prop_oneof![
        2 => (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        6 => (at(), select(words)).prop_map(|(at, word)| Change::Insert(at, word)),
        1 => (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, some)| Change::Insert(at, some)),
        2 => (at(), at(), 1usize..65).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
        2 => (at(), at()).prop_map(|(from, to)| Change::Remove(from, to)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), 1usize..5, select(&EDGES[..])).prop_map(|(at, size, number)| Change::Number(at, size, number)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => (at(), select(seeds.clone())).prop_map(|(at, other)| Change::Splice(at, other)),
    ];
    let bent = (select(seeds), vec(change, 0..=CHANGES)).prop_map(move |(seed, changes)| {
        let mut all = changes.into_iter().fold(seed, apply);
        all.truncate(longest);
        Bytes(all)
    });
    prop_oneof![15 => bent, 1 => vec(any::<u8>(), 0..longest.min(256)).prop_map(Bytes)]
}

/// Sizes of the segments in which an input arrives: all at once, byte by byte, or anyhow.
pub fn segments() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![usize::MAX]), Just(vec![1]), vec(1usize..700, 1..12)]
}

fn apply(mut all: Vec<u8>, change: Change) -> Vec<u8> {
    let end = all.len() + 1;
    let between = |one: Index, other: Index| {
        let (one, other) = (one.index(end), other.index(end));
        one.min(other)..one.max(other)
    };
    match change {
        Change::Flip(at, bit) => {
            if let Some(byte) = all.get_mut(at.index(end)) {
                *byte ^= 1 << bit;
            }
        }
        Change::Set(at, to) => {
            if let Some(byte) = all.get_mut(at.index(end)) {
                *byte = to;
            }
        }
        Change::Insert(at, some) => {
            let at = at.index(end);
            all.splice(at..at, some);
        }
        Change::Repeat(from, to, times) => {
            let range = between(from, to);
            // What is long already is not made sixty times as long.
            let part = all[range.clone()][..range.len().min(512)].repeat(times);
            all.splice(range.end..range.end, part);
        }
        Change::Remove(from, to) => {
            all.drain(between(from, to));
        }
        Change::Cut(at) => all.truncate(at.index(end)),
        Change::Number(at, size, number) => {
            let at = at.index(end);
            for (byte, new) in all[at..].iter_mut().zip(&number.to_be_bytes()[4 - size..]) {
                *byte = *new;
            }
        }
        Change::Swap(one, other) => {
            let (one, other) = (one.index(end), other.index(end));
            if one < all.len() && other < all.len() {
                all.swap(one, other);
            }
        }
        Change::Splice(at, other) => {
            let at = at.index(end);
            let from = at.min(other.len());
            all.truncate(at);
            all.extend_from_slice(&other[from..]);
        }
    }
    all
}
