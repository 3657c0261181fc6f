//! Plain words in comments, held by a look at the sources: a doc comment begins with a verb or a
//! noun, never with a question's word, and comments keep to the width of a page.

#[path = "support/sources.rs"]
mod sources;

use self::sources::{root, sources};

/// Words that no doc comment begins with.
const FIRST: [&str; 8] = ["How", "The same", "What", "Where", "Whether", "Who", "Whom", "Whose"];

/// Columns of a comment's line. Drawings and code, between lines of backquotes, may be wider.
const WIDTH: usize = 100;

/// Splits a line into the mark of a comment and its text. Returns nothing for a line of code.
fn comment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let mark = ["///", "//!", "//"].into_iter().find(|mark| line.starts_with(mark))?;
    Some((mark, line[mark.len()..].trim_start()))
}

/// Lists the faults of a text, each with the number of its line.
fn faults(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let (mut before, mut fenced) = ("", false);
    for (number, line) in text.lines().enumerate() {
        let Some((mark, words)) = comment(line) else {
            (before, fenced) = ("", false);
            continue;
        };
        let mut fault = |what: String| faults.push((number + 1, what));
        if words.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.chars().count() > WIDTH {
            fault(format!("is wider than {WIDTH} columns"));
        }
        let begins = |first: &&&str| {
            words.strip_prefix(**first).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        if mark != "//"
            && mark != before
            && let Some(first) = FIRST.iter().find(begins)
        {
            fault(format!("begins with \"{first}\""));
        }
        if words.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case("whoever")) {
            fault("names nobody: \"whoever\"".to_owned());
        }
        before = mark;
    }
    faults
}

#[test]
fn comments_are_in_plain_words() {
    let mut wrong = Vec::new();
    for folder in ["src", "netpolicy/src", "integration", "fuzz", "tests"] {
        for file in sources(root().join(folder)) {
            let name = file.strip_prefix(root()).expect("below the root");
            let text = std::fs::read_to_string(&file).expect("a source file");
            wrong
                .extend(faults(&text).iter().map(|(line, what)| format!("{}:{line} {what}", name.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holds the look itself against comments with and without each fault. They stand in strings, so
/// the look does not find them in this file.
#[test]
fn the_look_finds_each_fault() {
    let wide = format!("// {}\n", "x ".repeat(50));
    for bad in [
        "/// What it is.\n",
        "    /// Whether it is.\n",
        "/// Where it is.\n",
        "//! How it is.\n",
        "/// The same again.\n",
        "/// Who, what.\n",
        "fn one() {}\n/// Whose it is.\n",
        "// Left to whoever comes.\n",
        &wide,
    ] {
        assert_eq!(faults(bad).len(), 1, "{bad}");
    }
    for good in [
        "/// Returns the sum.\n/// What follows is no beginning.\n",
        "/// Whatever.\n",
        "// What a comment in a function begins with.\n",
        "/// ```text\n/// x ──────────────────────────────────────────────────────────────────────────────────────────────────────▶ y\n/// ```\n",
        "let what = 1;\n",
    ] {
        assert!(faults(good).is_empty(), "{good}");
    }
}
