//! Cells of names that changed alike, joined to patterns with exceptions.
//!
//! ```text
//!  x: a, b · below x: a ──join──▶ a: `.x` · b: `x`        y.x: – · below y.x: a ──▶ a: `.x but not y.x`
//! ```

use crate::host::{HostName, HostPattern};

/// A written name and the names below it, each with what changed there, by number, in order.
pub(super) struct Node {
    pub(super) name: HostName,
    /// The nearest written name above.
    pub(super) parent: Option<usize>,
    pub(super) at: Vec<usize>,
    /// The names below, with one that lies there; `None` when it would be too long.
    pub(super) below: Option<(HostName, Vec<usize>)>,
    pub(super) alias: bool,
}

/// All names on which one thing changed that one pattern can hold.
pub(super) struct Region {
    pub(super) item: usize,
    pub(super) pattern: HostPattern,
    pub(super) except: Vec<HostPattern>,
    pub(super) witness: HostName,
}

/// Joins equal neighbours; every node stands after its parent.
pub(super) fn join_cells(nodes: &[Node]) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    // For each node: the items that hold below it, and their regions.
    let mut below_all: Vec<Vec<(usize, usize)>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let inherited = node.parent.map_or(&[][..], |parent| &below_all[parent]);
        let below = node.below.as_ref().map(|(_, items)| items);
        let has = |items: &[usize], item: usize| items.binary_search(&item).is_ok();
        if node.alias && node.at.is_empty() && below.is_none_or(Vec::is_empty) {
            // The floor keeps it out of every pattern.
            let same = inherited.to_vec();
            below_all.push(same);
            continue;
        }
        let mut here: Vec<(usize, usize)> = Vec::new();
        for (item, region) in inherited {
            let own = || node.name.clone();
            let holds_below = below.is_none_or(|items| has(items, *item));
            let exception = match (has(&node.at, *item), holds_below) {
                (true, true) => None,
                (false, true) => Some(HostPattern::Exact(own())),
                (true, false) => Some(HostPattern::Below(own())),
                (false, false) => Some(HostPattern::AtOrBelow(own())),
            };
            regions[*region].except.extend(exception);
            if holds_below {
                here.push((*item, *region));
            }
        }
        let is_new = |item: &usize| !inherited.iter().any(|(other, _)| other == item);
        let mut begin = |item: usize, pattern: HostPattern, witness: &HostName| {
            regions.push(Region { item, pattern, except: Vec::new(), witness: witness.clone() });
            regions.len() - 1
        };
        if let Some((witness, items)) = &node.below {
            for item in items.iter().copied().filter(is_new) {
                let region = if has(&node.at, item) {
                    begin(item, HostPattern::AtOrBelow(node.name.clone()), &node.name)
                } else {
                    begin(item, HostPattern::Below(node.name.clone()), witness)
                };
                here.push((item, region));
            }
        }
        let only_here = |item: &usize| is_new(item) && !below.is_some_and(|items| has(items, *item));
        for item in node.at.iter().copied().filter(only_here) {
            begin(item, HostPattern::Exact(node.name.clone()), &node.name);
        }
        below_all.push(here);
    }
    regions
}
