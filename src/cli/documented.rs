//! Tests that the command lines in `docs/agents` and `docs/install.md` are ones that the program
//! takes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::usage::parse;

/// Lists the pages about agents, and those below `docs` that name a person's next commands.
fn pages() -> Vec<PathBuf> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let folder = docs.join("agents");
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.map(|path| if path.is_dir() { path.join("README.md") } else { path }).collect();
    found.push(docs.join("install.md"));
    found.sort();
    found
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
fn every_command_line_about_agents_is_one() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")) {
            let words = words(line);
            if words.first().is_some_and(|program| program == "ringfence") {
                seen += 1;
                // A version is printed on the way of an error.
                let wrong = parse(&words).err().filter(clap::Error::use_stderr);
                assert!(wrong.is_none(), "{}: {line}\n{wrong:?}", page.display());
            }
        }
    }
    assert!(seen > 25, "{seen} command lines");
}

#[test]
fn a_command_line_that_is_none_is_found() {
    for bad in ["ringfence run --no-such-option image", "ringfence init --agent nobody", "ringfence inits"] {
        assert!(parse(&words(bad)).is_err(), "{bad}");
    }
    assert_eq!(words("a 'b c' \"d 'e'\" '' f=g'h' < i"), ["a", "b c", "d 'e'", "", "f=gh"]);
    assert_eq!(words("a b # c"), ["a", "b"]);
}
