//! Shapes that every file is read by: mappings, lists, texts, numbers, and the findings about other
//! values.

use super::node::{Node, Value};
use super::place::Findings;
use crate::diagnostic::Diagnostic;

/// Reports a value of another type than the expected one.
pub fn wrong_type(node: &Node, expected: &str, hint: Option<String>) -> Diagnostic {
    node.place.error("wrong-type", format!("{expected}, this is {}", node.kind()), hint)
}

/// Returns the pairs of a mapping; none, with a finding, where the value is no mapping.
pub fn map<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [(Node, Node)] {
    match &node.value {
        Value::Map(pairs) => pairs,
        Value::Refused => &[],
        _ => {
            findings.push(wrong_type(node, expected, None));
            &[]
        }
    }
}

/// Returns the items of a list; none, with a finding, where the value is no list.
pub fn list<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Refused => &[],
        Value::Scalar { .. } if node.kind() == "nothing" => {
            findings.push(wrong_type(node, expected, Some("write `[]` for an empty list".into())));
            &[]
        }
        Value::Scalar { text, .. } => {
            findings.push(wrong_type(node, expected, Some(format!("write `[{text}]`"))));
            &[]
        }
        Value::Map(_) => {
            findings.push(wrong_type(node, expected, Some("begin every entry with `- `".into())));
            &[]
        }
    }
}

/// Returns the text of a string; none, with a finding, where the value is no string.
pub fn string<'n>(node: &'n Node, expected: &str, findings: &mut Findings) -> Option<&'n str> {
    let found = node.as_str();
    if found.is_none() && !node.is_refused() {
        let hint = match &node.value {
            Value::Scalar { text, .. } if !text.is_empty() => {
                Some(format!("write \"{text}\" if it is meant as text"))
            }
            _ => None,
        };
        findings.push(wrong_type(node, &format!("expected {expected}"), hint));
    }
    found
}

/// Returns a whole number between two bounds; none, with a finding, where the value is another.
pub fn whole_number(node: &Node, least: u64, most: u64, what: &str, findings: &mut Findings) -> Option<u64> {
    let expected = format!("`{what}` is a whole number from {least} to {most}");
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a number" => {
            let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
            if number.is_none() {
                findings.push(node.place.error("number", format!("{expected}, this is {text}"), None));
            }
            number
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, &expected, None));
            None
        }
    }
}

/// Returns the known word within two edits, swaps of neighbours included.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 40 {
        return None;
    }
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .iter()
        .map(|other| (edits(word, other), *other))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Returns a boolean; none, with a finding, where the value is no boolean.
pub fn boolean(node: &Node, what: &str, findings: &mut Findings) -> Option<bool> {
    match &node.value {
        Value::Scalar { text, plain: true } if node.kind() == "a boolean" => {
            Some(text.starts_with(['t', 'T']))
        }
        Value::Refused => None,
        _ => {
            findings.push(wrong_type(node, &format!("{what} is `true` or `false`"), None));
            None
        }
    }
}
