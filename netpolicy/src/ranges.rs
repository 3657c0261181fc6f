//! Ranges of one address family, found by an address.
//!
//! ```text
//!  address ──binary search──▶ the last range that begins at or before it ──around──▶ … ──▶ every range that holds it
//! ```
//! Two ranges are nested or apart, so whatever holds the address stands around the last one that
//! begins before it. The beginnings lie side by side in memory: a search over 100,000 of them costs
//! few cache misses, where a trie costs one a bit.

/// Positions in the list that the ranges were made of.
type Ids = Vec<u32>;

/// Ranges, none of which overlaps another without holding it or lying in it.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<A> {
    /// Beginnings of the ranges, in order; of those that begin together the widest first.
    first: Vec<A>,
    rest: Vec<Rest<A>>,
}

#[derive(Clone, Debug)]
struct Rest<A> {
    last: A,
    /// The nearest range that holds this one.
    around: Option<u32>,
    ids: Ids,
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Ranges { first: Vec::new(), rest: Vec::new() }
    }
}

impl<A: Copy + Ord> Ranges<A> {
    /// Makes an index of (first, last, id); no two may overlap without one holding the other.
    pub(crate) fn new(mut found: Vec<(A, A, u32)>) -> Ranges<A> {
        found.sort_unstable_by_key(|(first, last, id)| (*first, std::cmp::Reverse(*last), *id));
        let mut ranges = Ranges { first: Vec::new(), rest: Vec::<Rest<A>>::new() };
        let mut open: Vec<u32> = Vec::new();
        let mut index = 0u32;
        for (first, last, id) in found {
            if let (Some(before), Some(rest)) = (ranges.first.last(), ranges.rest.last_mut())
                && *before == first
                && rest.last == last
            {
                rest.ids.push(id);
                continue;
            }
            while open.last().is_some_and(|outer| ranges.rest[*outer as usize].last < first) {
                open.pop();
            }
            ranges.first.push(first);
            ranges.rest.push(Rest { last, around: open.last().copied(), ids: vec![id] });
            open.push(index);
            index += 1;
        }
        ranges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Returns the ids of every range that holds all of `first..=last`, widest first.
    pub(crate) fn holding(&self, first: A, last: A) -> Vec<&Ids> {
        let after = self.first.partition_point(|begin| *begin <= first);
        let mut next = u32::try_from(after).ok().and_then(|after| after.checked_sub(1));
        let mut found = Vec::new();
        while let Some(rest) = next.map(|index| &self.rest[index as usize]) {
            if last <= rest.last {
                found.push(&rest.ids);
            }
            next = rest.around;
        }
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_found_is_what_holds_it(nets in prop::collection::vec((any::<u8>(), 0u32..=8), 0..40), at: u8) {
            let found: Vec<(u8, u8, u32)> = (0..)
                .zip(&nets)
                .map(|(id, (bits, length))| {
                    let mask = u8::MAX.checked_shr(*length).unwrap_or(0);
                    (bits & !mask, bits | mask, id)
                })
                .collect();
            let ranges = Ranges::new(found.clone());
            let mut expected: Vec<_> = found.into_iter().filter(|(first, last, _)| (*first..=*last).contains(&at)).collect();
            expected.sort_by_key(|(first, last, id)| (std::cmp::Reverse(last - first), *id));
            let expected: Vec<u32> = expected.into_iter().map(|(_, _, id)| id).collect();
            let found: Vec<u32> = ranges.holding(at, at).into_iter().flatten().copied().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
