//! Cells of addresses that changed alike, gathered into ranges.
//!
//! ```text
//!  cells in order, each with what changed ──add──▶ runs of neighbours ──finish──▶ the rule's own range, or the fewest that fit
//! ```
//! Cells that nobody reaches in either policy (the floor, above all) do not part their neighbours.

use std::collections::HashMap;
use std::hash::Hash;

use ipnet::IpNet;

use super::cells::Cell;
use super::spans::{Span, to_nets};

/// Runs of cells by what changed in them; `W` is kept of the first cell of each.
pub(super) struct Runs<K, W> {
    index: HashMap<K, usize>,
    list: Vec<Run<K, W>>,
    idle: Vec<bool>,
    /// Position of the first idle cell before the present one.
    idle_from: usize,
    first_v6: usize,
}

struct Run<K, W> {
    key: K,
    kept: W,
    cells: Vec<(usize, usize)>,
}

impl<K: Clone + Eq + Hash, W> Runs<K, W> {
    pub(super) fn new(cells: &[Cell]) -> Self {
        let first_v6 = cells.partition_point(|cell| cell.span.first.is_ipv4());
        Runs {
            index: HashMap::new(),
            list: Vec::new(),
            idle: vec![false; cells.len()],
            idle_from: 0,
            first_v6,
        }
    }

    /// Adds the cell `at`, which changed in this way.
    pub(super) fn add(&mut self, at: usize, key: K, keep: impl FnOnce() -> W) {
        let first_v6 = self.first_v6;
        let index = *self.index.entry(key.clone()).or_insert_with(|| {
            self.list.push(Run { key, kept: keep(), cells: Vec::new() });
            self.list.len() - 1
        });
        match self.list[index].cells.last_mut() {
            Some((_, last)) if *last + 1 >= self.idle_from && (*last < first_v6) == (at < first_v6) => {
                *last = at;
            }
            _ => self.list[index].cells.push((at, at)),
        }
    }

    /// Ends a cell; `idle` when nobody reaches it in either policy.
    pub(super) fn end(&mut self, at: usize, idle: bool) {
        self.idle[at] = idle;
        if !idle {
            self.idle_from = at + 1;
        }
    }

    /// Returns all that was found, each with its ranges: `whole` when nothing in it is otherwise.
    pub(super) fn finish(
        self,
        cells: &[Cell],
        whole: impl Fn(&W) -> Option<IpNet>,
    ) -> Vec<(K, W, Vec<IpNet>)> {
        let Runs { list, idle, .. } = self;
        list.into_iter()
            .map(|Run { key, kept, cells: runs }| {
                let ranges = match whole(&kept) {
                    Some(net) if fills(&net, &runs, cells, &idle) => vec![net],
                    _ => {
                        let span = |&(first, last): &(usize, usize)| Span {
                            first: cells[first].span.first,
                            last: cells[last].span.last,
                        };
                        to_nets(&runs.iter().map(span).collect::<Vec<_>>())
                    }
                };
                (key, kept, ranges)
            })
            .collect()
    }
}

/// Tells whether every cell of a range is in the runs, or idle.
fn fills(net: &IpNet, runs: &[(usize, usize)], cells: &[Cell], idle: &[bool]) -> bool {
    let (first, last) = (net.network(), net.broadcast());
    let from = cells.partition_point(|cell| cell.span.first < first);
    let mut runs = runs.iter().copied().peekable();
    for (at, cell) in cells.iter().enumerate().skip(from) {
        if cell.span.first > last {
            break;
        }
        while runs.next_if(|(_, end)| *end < at).is_some() {}
        let inside = runs.peek().is_some_and(|(start, _)| *start <= at);
        if !inside && !idle[at] {
            return false;
        }
    }
    true
}
