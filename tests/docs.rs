//! The documents keep their form: prose is wrapped, links lead somewhere, decisions have one shape
//! and are all listed.

#[path = "support/documents.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::{documents, root};

/// The widest line of prose, in characters.
const COLUMNS: usize = 100;
/// The parts of a decision, in their order.
const PARTS: [&str; 4] = ["## Context", "## Decision", "## Why", "## Consequences"];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lists the lines outside of code blocks, with their numbers from 1.
fn lines_of_text(document: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (number, line) in document.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            found.push((number + 1, line));
        }
    }
    found
}

/// Counts the words of a line; a code span is one word, since wrapping it would change it.
fn words(line: &str) -> usize {
    let plain: String =
        line.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "x" }).collect();
    plain.split_whitespace().filter(|word| !["-", "*"].contains(word)).count()
}

/// Lists the numbers of the lines of prose that are too wide. Tables, and lines of one word such as
/// a link, cannot be wrapped.
fn too_wide(document: &str) -> Vec<usize> {
    lines_of_text(document)
        .into_iter()
        .filter(|(_, line)| line.chars().count() > COLUMNS && !line.starts_with('|') && words(line) > 1)
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn prose_is_wrapped() {
    let mut wrong = Vec::new();
    for path in documents() {
        wrong.extend(too_wide(&read(&path)).into_iter().map(|line| format!("{}:{line}", path.display())));
    }
    assert!(wrong.is_empty(), "wider than {COLUMNS} columns:\n{}", wrong.join("\n"));
}

#[test]
fn a_wide_line_is_found() {
    let (prose, word) = ("word ".repeat(21), "x".repeat(101));
    let document = format!("{prose}\n| {prose} |\n```\n{prose}\n```\n- {word}\n- `{prose}`\n{prose}");
    assert_eq!(too_wide(&document), [1, 8]);
    assert!(too_wide(&"ä".repeat(60)).is_empty());
}

/// Makes the anchor of a heading, as Git hosts do.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &str) -> BTreeSet<String> {
    lines_of_text(document)
        .iter()
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| anchor(line))
        .collect()
}

/// Lists the targets of a document's links.
fn links(document: &str) -> Vec<String> {
    let text: Vec<&str> = lines_of_text(document).into_iter().map(|(_, line)| line).collect();
    let text = text.join("\n");
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Tells what is wrong with a link in the document at `path`; nothing where it leads to a file of
/// this repository and to a heading of it, or to the web.
fn broken(path: &Path, link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("http://") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { path.to_owned() } else { path.parent()?.join(file) };
    let Ok(target) = target.canonicalize() else {
        return Some(format!("{}: {link} is not there", path.display()));
    };
    if !target.starts_with(root().canonicalize().ok()?) {
        return Some(format!("{}: {link} leads out of the repository", path.display()));
    }
    let there = heading.is_empty() || anchors(&read(&target)).contains(heading);
    (!there).then(|| format!("{}: {link} names no heading", path.display()))
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in documents() {
        wrong.extend(links(&read(&path)).iter().filter_map(|link| broken(&path, link)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_broken_link_is_found() {
    let path = root().join("README.md");
    for link in ["docs/nothing.md", "docs/policy.md#no-such-heading", "#nothing", "/etc/passwd"] {
        assert!(broken(&path, link).is_some(), "{link}");
    }
    for link in ["docs/policy.md#rules", "LICENSE-MIT", "https://example.org/x"] {
        assert_eq!(broken(&path, link), None, "{link}");
    }
    assert_eq!(links("[a](b.md) and [c](d.md#e)\n```\n[f](g)\n```"), ["b.md", "d.md#e"]);
    assert_eq!(anchor("## `network.dns`, and a project's"), "networkdns-and-a-projects");
}

/// Reads a decision: title without its number, and status. An error says what is not in its place.
fn decision(file: &str, text: &str) -> Result<(String, String), String> {
    let wrong = |what: &str| format!("{file}: {what}");
    let number = file.get(..4).and_then(|digits| digits.parse::<u32>().ok());
    let number = number.ok_or_else(|| wrong("its name does not begin with four digits"))?;
    let mut lines = text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix(&format!("# {number}. ")));
    let title = title.ok_or_else(|| wrong("line 1 is not `# NUMBER. TITLE`"))?;
    let status = lines.nth(1).and_then(|line| line.strip_prefix("Status: "));
    let status = status.ok_or_else(|| wrong("line 3 is not `Status: WORD, DATE`"))?;
    let date = status.split_once(", ").map_or("", |(_, rest)| rest.get(..10).unwrap_or(rest));
    let is_date = date.len() == 10 && date.split('-').all(|part| part.parse::<u32>().is_ok());
    if !is_date {
        return Err(wrong("its status has no date"));
    }
    let parts: Vec<&str> = lines_of_text(text)
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line.starts_with("## "))
        .collect();
    if parts != PARTS {
        return Err(wrong(&format!("its parts are {parts:?}")));
    }
    Ok((title.to_owned(), status.to_owned()))
}

#[test]
fn decisions_have_one_form_and_are_all_listed() {
    let folder = root().join("docs/decisions");
    let index = read(&folder.join("README.md"));
    let mut listed: BTreeSet<&str> = index.lines().filter(|line| line.starts_with("| [")).collect();
    let mut wrong = Vec::new();
    for path in documents() {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.parent() != Some(&folder) || file == "README.md" {
            continue;
        }
        match decision(file, &read(&path)) {
            Err(error) => wrong.push(error),
            Ok((title, status)) => {
                let number = file[..4].trim_start_matches('0');
                let row = format!("| [{number}]({file}) | {title} | {status} |");
                if !listed.remove(row.as_str()) {
                    wrong.push(format!("docs/decisions/README.md lacks the row {row}"));
                }
            }
        }
    }
    wrong.extend(listed.iter().map(|row| format!("docs/decisions/README.md has a row of nothing: {row}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_decision_of_another_form_is_found() {
    let good =
        "# 7. Title\n\nStatus: accepted, 2026-11-24\n\n## Context\n## Decision\n## Why\n## Consequences\n";
    assert_eq!(decision("0007-x.md", good), Ok(("Title".to_owned(), "accepted, 2026-11-24".to_owned())));
    for (from, to) in [
        ("# 7.", "# 8."),
        ("Status:", "State:"),
        (", 2026-11-24", ""),
        ("2026-11-24", "yesterday!"),
        ("## Why\n", ""),
        ("## Decision\n## Why\n", "## Why\n## Decision\n"),
        ("## Consequences\n", "## Consequences\n## More\n"),
    ] {
        assert!(decision("0007-x.md", &good.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
    assert!(decision("x.md", good).is_err());
}
