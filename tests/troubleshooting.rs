//! Each message that docs/troubleshooting.md quotes is one that the program has.
//!
//! ```text
//!  block of a section ─split at `…`─▶ fragments ─▶ found in the sources' texts, or in snapshots of outcomes
//! ```

#[path = "support/sources.rs"]
mod support;

use std::fs;

use support::{files, root, sources};

/// The shortest fragment that is looked for: shorter ones are anywhere.
const SHORTEST: usize = 6;

/// Joins all texts that a message can come from. A text in Rust may go on in the next line after a
/// `\`.
fn texts() -> String {
    let mut all = String::new();
    for path in ["src", "netpolicy/src"].iter().flat_map(|folder| sources(root().join(folder))) {
        let text = fs::read_to_string(path).expect("a source");
        let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        let mut lines = code.lines().peekable();
        while let Some(line) = lines.next() {
            match line.strip_suffix('\\') {
                Some(begun) => {
                    all.push_str(begun);
                    let next = lines.next().unwrap_or_default().trim_start();
                    all.push_str(&format!("{next}\n"));
                }
                None => all.push_str(&format!("{line}\n")),
            }
        }
    }
    for path in files(root().join("tests/snapshots"), "snap") {
        all.push_str(&fs::read_to_string(path).expect("a snapshot"));
    }
    all.replace("\\\"", "\"")
}

/// Lists the quoted lines, without what every message begins with.
fn quoted(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```text";
        } else if inside && !line.is_empty() {
            let line = line.trim_start();
            let begins = ["ringfence: ", "warning: ", "because: ", "hint: "];
            found.push(begins.iter().fold(line, |line, begin| line.strip_prefix(begin).unwrap_or(line)));
        }
    }
    found
}

/// Returns the first part of a quoted line that is in no source.
fn missing<'q>(line: &'q str, sources: &str) -> Option<&'q str> {
    let parts = line.split('…').map(str::trim).filter(|part| part.chars().count() >= SHORTEST);
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() {
        return Some(line);
    }
    parts.into_iter().find(|part| !sources.contains(part))
}

#[test]
fn every_quoted_message_is_one_of_the_programs() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let (sources, lines) = (texts(), quoted(&page));
    assert!(lines.len() > 25, "{} quoted lines", lines.len());
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| missing(line, &sources).map(|part| format!("{line}\n    no source has: {part}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_message_that_nobody_says_is_found() {
    let sources = "let a = \"no container engine answers\"; let b = format!(\"the home `{name}` is in use by {user}\");";
    assert_eq!(missing("no container engine answers", sources), None);
    assert_eq!(missing("the home `…` is in use by …", sources), None);
    assert_eq!(missing("no container engine replies", sources), Some("no container engine replies"));
    assert_eq!(missing("the home `…` is taken by …", sources), Some("` is taken by"));
    assert_eq!(missing("…", sources), Some("…"));
    assert_eq!(quoted("```text\nringfence: a\n  because: b\n```\n```console\nc\n```\n"), ["a", "b"]);
}
