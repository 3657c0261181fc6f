//! Written names as a tree: each after the one that it is below.
//!
//! ```text
//!  every written name ──sort──▶ the name · one name below it that nobody wrote ──cell──▶ nodes
//! ```

use std::collections::HashSet;

use super::patterns::Node;
use crate::floor;
use crate::host::HostName;

/// Returns a node for every name, each after the one that it is below. `cell` tells, by numbers in
/// order, what changed at a name.
pub(super) fn tree(mut names: Vec<&HostName>, mut cell: impl FnMut(&HostName) -> Vec<usize>) -> Vec<Node> {
    names.sort_by_cached_key(|name| backwards(name));
    names.dedup();
    let written: HashSet<&str> = names.iter().map(|name| name.as_str()).collect();
    let mut nodes: Vec<Node> = Vec::with_capacity(names.len());
    let mut open: Vec<usize> = Vec::new();
    for name in &names {
        while open.last().is_some_and(|above| !name.is_below(&nodes[*above].name)) {
            open.pop();
        }
        let parent = open.last().copied();
        open.push(nodes.len());
        let at = cell(name);
        let below = unwritten_below(name, &written).map(|name| {
            let items = cell(&name);
            (name, items)
        });
        let alias = floor::refused_name(name).is_some();
        nodes.push(Node { name: (*name).clone(), parent, at, below, alias });
    }
    nodes
}

/// Makes a key that puts every name right after the names above it.
fn backwards(name: &HostName) -> String {
    // No label has a character this low.
    name.as_str().rsplit('.').collect::<Vec<_>>().join("\u{1}")
}

/// Makes a name directly below another that is not written anywhere; `None` when there is no room
/// for one.
fn unwritten_below(name: &HostName, written: &HashSet<&str>) -> Option<HostName> {
    (0usize..)
        .map(|number| format!("{}.{name}", label(number)))
        .take_while(|text| text.len() <= 253)
        .find(|text| !written.contains(text.as_str()))
        .and_then(|text| HostName::parse(&text).ok())
}

/// Makes every label of letters and digits, the short ones first.
fn label(mut number: usize) -> String {
    const LETTERS: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789_";
    let mut text = String::new();
    loop {
        text.push(char::from(LETTERS[number % LETTERS.len()]));
        match (number / LETTERS.len()).checked_sub(1) {
            Some(rest) => number = rest,
            None => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_all_different_and_get_longer() {
        let labels: Vec<String> = (0..2000).map(label).collect();
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), labels.len());
        assert!(labels.windows(2).all(|pair| pair[0].len() <= pair[1].len()));
    }

    #[test]
    fn names_follow_the_names_above_them() {
        let mut names: Vec<HostName> = ["b.a", "a", "b-a.x", "a-b", "c.b.a", "a.b-a.x", "x"]
            .map(|name| HostName::parse(name).unwrap())
            .to_vec();
        names.sort_by_cached_key(backwards);
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        assert_eq!(names, ["a", "b.a", "c.b.a", "a-b", "x", "b-a.x", "a.b-a.x"]);
    }

    #[test]
    fn a_name_without_room_below_has_none() {
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(60));
        let name = HostName::parse(&long).unwrap();
        assert_eq!(unwritten_below(&name, &HashSet::new()), None);
        let shorter = HostName::parse(&long[1..]).unwrap();
        assert!(unwritten_below(&shorter, &HashSet::new()).is_some());
    }
}
