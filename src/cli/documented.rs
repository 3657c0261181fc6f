//! Tests that the command lines in the documents are ones that the program takes.

#[path = "../../tests/support/documents.rs"]
mod support;

use std::ffi::OsString;
use std::fs;

use self::support::documents;
use super::usage::parse;

/// Words that stand for others in a document, with one of them.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("sha256:…", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("CONDITION…", "latency=300ms"),
    ("[host=NAME]", "host=name.example"),
];

/// Lists the commands of a page: the lines of its `console` blocks that begin as in a shell. A `\`
/// at the end goes on in the next line.
fn commands(page: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::new(), false);
    let mut lines = page.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            inside = line == "```console";
        }
        if !inside {
            continue;
        }
        let Some(begun) = ["$ ", "# "].iter().find_map(|prompt| line.strip_prefix(prompt)) else { continue };
        let mut command = begun.to_owned();
        while command.ends_with('\\') {
            command.pop();
            command.push_str(lines.next().unwrap_or_default());
        }
        found.push(command);
    }
    found
}

/// Splits what a shell would run one after the other, and leaves out what comes before a program.
fn programs(command: &str) -> Vec<Vec<OsString>> {
    let is_before = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        let name = word.split_once('=').map(|(name, _)| name);
        word == "sudo" || name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let known = |word: OsString| {
        let found = PLACEHOLDERS.iter().find(|(placeholder, _)| word == *placeholder);
        found.map_or(word, |(_, other)| OsString::from(other))
    };
    let parts = command.split(" && ").map(|part| words(part).into_iter().skip_while(is_before));
    parts.map(|words| words.map(known).collect()).collect()
}

/// Lists the words of a shell's line, as far as they are those of its first command.
fn words(line: &str) -> Vec<OsString> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take().map(OsString::from)),
            (None, '<' | '>' | '|' | '#') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "an open quote: {line}");
    words.extend(word.map(OsString::from));
    words
}

#[test]
fn every_command_line_in_the_documents_is_one() {
    let mut seen = 0;
    for page in documents() {
        let text = fs::read_to_string(&page).unwrap();
        for words in commands(&text).iter().flat_map(|command| programs(command)) {
            if words.first().is_some_and(|program| program == "ringfence") {
                seen += 1;
                // A version is printed on the way of an error.
                let wrong = parse(&words).err().filter(clap::Error::use_stderr);
                assert!(wrong.is_none(), "{}: {words:?}\n{wrong:?}", page.display());
            }
        }
    }
    assert!(seen > 80, "{seen} command lines");
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let page = "$ not one\n```console\n$ A=1 sudo ringfence ps && ringfence gc \\\n    --all\nprinted\n```\n   ```console\n   # ringfence net ID CONDITION…\n   ```\n";
    let found: Vec<Vec<OsString>> = commands(page).iter().flat_map(|command| programs(command)).collect();
    assert_eq!(
        found,
        [
            vec!["ringfence", "ps"],
            vec!["ringfence", "gc", "--all"],
            vec!["ringfence", "net", "ID", "latency=300ms"]
        ]
    );
}

#[test]
fn a_command_line_that_is_none_is_found() {
    for bad in ["ringfence run --no-such-option image", "ringfence init --agent nobody", "ringfence inits"] {
        assert!(parse(&words(bad)).is_err(), "{bad}");
    }
    assert_eq!(words("a 'b c' \"d 'e'\" '' f=g'h' < i"), ["a", "b c", "d 'e'", "", "f=gh"]);
    assert_eq!(words("a b # c"), ["a", "b"]);
}
