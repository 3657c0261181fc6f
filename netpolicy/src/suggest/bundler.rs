//! bundler: sources of gems and git repositories.

use super::collector::Collector;
use super::tree::{self, Unreadable};

pub(super) fn read(name: &str, text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    match name {
        "Gemfile.lock" | "gems.locked" => lockfile(text, found),
        "config" => configuration(text, found)?,
        _ => gemfile(text, found),
    }
    Ok(())
}

/// Reads the sections `GEM`, `GIT`, `PATH` of a lockfile; each has its `remote:`.
fn lockfile(text: &str, found: &mut Collector) {
    for (line, content) in (1u32..).zip(text.lines().map(str::trim)) {
        if let Some(value) = content.strip_prefix("remote:").map(str::trim) {
            // A path is a gem of the project's own.
            if value.contains(':') {
                found.reference(line, value, "bundler lockfile");
            }
        }
    }
}

/// Reads `.bundle/config`: `BUNDLE_MIRROR__…: "https://…"`.
fn configuration(text: &str, found: &mut Collector) -> Result<(), Unreadable> {
    for document in tree::yaml(text)? {
        for entry in document.entries().iter().filter(|entry| entry.key.starts_with("BUNDLE_MIRROR__")) {
            found.reference(entry.value.line, entry.value.text().unwrap_or_default(), "bundler mirror");
        }
    }
    Ok(())
}

/// Reads the calls of a Gemfile that name a place; the Ruby around them is not run.
fn gemfile(text: &str, found: &mut Collector) {
    for (line, raw) in (1u32..).zip(text.lines()) {
        let content = uncommented(raw).trim();
        let first = content.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        let named = |word: &str| {
            content.contains(&format!("{word}:"))
                || content.contains(&format!(":{word} =>"))
                || content.contains(&format!(":{word}=>"))
        };
        let strings: Vec<&str> = strings(content).collect();
        for string in &strings {
            if (matches!(first, "source" | "git") || named("git") || named("source")) && string.contains(':')
            {
                found.reference(line, string, "Gemfile");
            }
        }
        for (word, host) in
            [("github", "github.com"), ("gist", "gist.github.com"), ("bitbucket", "bitbucket.org")]
        {
            if named(word) || first == word {
                found.host(host, 443, line, "Gemfile");
            }
        }
    }
}

/// Returns a line up to its comment: a `#` within a string is none.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

fn strings(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let at = rest.find(['"', '\''])?;
        let quote = rest[at..].chars().next()?;
        let inner = &rest[at + 1..];
        let end = inner.find(quote)?;
        rest = &inner[end + 1..];
        Some(&inner[..end])
    })
}
