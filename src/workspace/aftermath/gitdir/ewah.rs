//! Compressed bitmaps, as git's split index has two of them.

/// More bits than entries of any index.
const MOST: usize = 20_000_000;

/// Returns the places of set bits, and the bytes behind the bitmap.
pub(crate) fn read(bytes: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let (bits, rest) = bytes.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let bits = usize::try_from(u32::from_be_bytes(*bits)).ok().filter(|bits| *bits <= MOST)?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    let (words, rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    // The place of the last marker, which only a writer needs.
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let mut words = words.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
    let (mut set, mut at) = (Vec::new(), 0usize);
    while let Some(marker) = words.next() {
        // One bit, 32 bits of how often its word is repeated, 31 bits of how many words follow as
        // they are.
        let repeated = usize::try_from((marker >> 1) & 0xffff_ffff).ok()?.checked_mul(64)?;
        let end = at.checked_add(repeated).filter(|end| *end <= MOST + 64)?;
        if marker & 1 == 1 {
            set.extend((at..end).filter(|place| *place < bits));
        }
        at = end;
        for _ in 0..marker >> 33 {
            let word = words.next()?;
            set.extend((0..64).filter(|bit| word >> bit & 1 == 1).map(|bit| at + bit));
            at = at.checked_add(64).filter(|at| *at <= MOST + 64)?;
        }
    }
    set.iter().all(|place| *place < bits).then_some((set, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitmap(bits: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = bits.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(words.len()).unwrap().to_be_bytes());
        words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn set_bits_are_found_and_nonsense_is_refused() {
        let literal = |count: u64| count << 33;
        let run = |count: u64| 1 | count << 1;
        assert_eq!(read(&bitmap(3, &[literal(1), 0b101])), Some((vec![0, 2], &[][..])));
        assert_eq!(read(&bitmap(66, &[run(1) | literal(1), 0b10])).unwrap().0.len(), 65);
        assert_eq!(read(&bitmap(0, &[])), Some((vec![], &[][..])));
        for (bits, words) in
            [(2, vec![literal(1), 0b101]), (3, vec![literal(2), 0]), (3, vec![run(u64::from(u32::MAX))])]
        {
            assert_eq!(read(&bitmap(bits, &words)), None);
        }
        assert_eq!(read(&[0; 11]), None);
    }
}
