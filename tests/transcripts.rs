//! The transcripts in the documents are true: a block marked `<!-- checked -->` is run, line by
//! line, by the program itself, without an engine.
//!
//! ```text
//!  <!-- file: policy.yml -->  before a block ─▶ that block is a file of the folder
//!  <!-- checked: NAME from PATH, NAME adds HOST -->  ─▶ a file below docs; the same with a host more in its ceiling
//!  $ ringfence …  ─run in that folder─▶ stdout and stderr = the lines below, where `…` stands for anything
//! ```

#[path = "support/documents.rs"]
mod support;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use support::{documents, root};

/// A block of a document with the mark before it.
struct Block<'d> {
    mark: &'d str,
    lines: Vec<&'d str>,
}

/// Lists the blocks that have a mark.
fn marked(document: &str) -> Vec<Block<'_>> {
    let mut lines = document.lines();
    let mut found = Vec::new();
    let mut mark = None;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            found.extend(mark.take().map(|mark| Block { mark, lines: block }));
        } else if !line.is_empty() {
            mark = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        }
    }
    found
}

/// One command of a transcript, with what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Step<'d> {
    command: &'d str,
    printed: Vec<&'d str>,
}

fn steps<'d>(block: &Block<'d>) -> Vec<Step<'d>> {
    let mut steps: Vec<Step<'d>> = Vec::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command, printed: Vec::new() }),
            (None, Some(step)) => step.printed.push(line),
            (None, None) => panic!("the block does not begin with a command: {line}"),
        }
    }
    steps
}

/// Makes the files that a mark names.
fn make_files(mark: &str, folder: &Path) {
    let Some(files) = mark.strip_prefix("checked: ") else { return };
    let mut text = String::new();
    for file in files.split(", ") {
        let name = match (file.split_once(" from "), file.split_once(" adds ")) {
            (Some((name, path)), _) => {
                text = fs::read_to_string(root().join("docs").join(path)).expect("a file of the repository");
                name
            }
            (_, Some((name, host))) => {
                text = text.replacen("  ceiling:\n", &format!("  ceiling:\n    - {host}\n"), 1);
                name
            }
            _ => panic!("{file}: NAME from PATH, or NAME adds HOST"),
        };
        fs::write(folder.join(name), &text).expect("a file");
    }
}

/// Runs one command in the folder; what a person would see.
fn seen(command: &str, home: &Path, folder: &Path) -> Vec<String> {
    let words = command.split('#').next().unwrap_or_default();
    let mut words = words.split_whitespace();
    assert_eq!(words.next(), Some("ringfence"), "{command}");
    let (path, mut text) = (home.join("seen"), String::new());
    let out = File::create(&path).expect("a file");
    let both = out.try_clone().expect("a descriptor");
    let status = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
        .stdout(out)
        .stderr(both)
        .status();
    status.expect("the program starts");
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("text");
    text.replace(&home.display().to_string(), "/home/anna")
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Tells whether the lines are those that the document shows. `…` in a line stands for any text, as
/// a line for any lines.
fn agrees(shown: &[&str], seen: &[String]) -> bool {
    match (shown.split_first(), seen.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => (0..=seen.len()).any(|skipped| agrees(rest, &seen[skipped..])),
        (Some((line, shown)), Some((found, seen))) => is_like(line, found) && agrees(shown, seen),
        _ => false,
    }
}

fn is_like(shown: &str, found: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if parts.len() == 1 {
        return shown == found;
    }
    if !found.starts_with(first) || !found[first.len()..].ends_with(last) {
        return false;
    }
    let mut rest = &found[first.len()..found.len() - last.len()];
    parts[1..parts.len() - 1].iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn every_checked_transcript_is_what_the_program_does() {
    let (mut wrong, mut commands) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().canonicalize().expect("a folder");
        let folder = home.join("shop");
        fs::create_dir(&folder).expect("a folder");
        for block in marked(&text) {
            if let Some(name) = block.mark.strip_prefix("file: ") {
                let path = match name.strip_prefix("~/") {
                    Some(below) => home.join(below),
                    None => folder.join(name),
                };
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, block.lines.join("\n") + "\n").expect("a file");
            } else if block.mark.starts_with("checked") {
                make_files(block.mark, &folder);
                for step in steps(&block) {
                    commands += 1;
                    let seen = seen(step.command, &home, &folder);
                    if !agrees(&step.printed, &seen) {
                        let shown = document.strip_prefix(root()).unwrap_or(&document).display();
                        wrong.push(format!("{shown}: {}\n{}", step.command, seen.join("\n")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these commands print something else:\n\n{}", wrong.join("\n\n"));
    assert!(commands > 10, "{commands} commands");
}

#[test]
fn a_transcript_that_is_not_true_is_found() {
    let seen = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    for (shown, found) in [
        (&["a", "b"][..], &["a", "b"][..]),
        (&["…"], &[]),
        (&["…", "c"], &["a", "b", "c"]),
        (&["id … of … end"], &["id 7 of 9 end"]),
        (&["…b"], &["aab"]),
    ] {
        assert!(agrees(shown, &seen(found)), "{shown:?}");
    }
    for (shown, found) in [
        (&["a"][..], &["a", "b"][..]),
        (&["a", "…"], &["b"]),
        (&["…", "c"], &["a", "b"]),
        (&["aba…aba"], &["aba"]),
        (&["x…y…z"], &["xz"]),
    ] {
        assert!(!agrees(shown, &seen(found)), "{shown:?}");
    }
    let blocks = "<!-- checked -->\n```console\n$ a\nb\n$ c\n```\n\ntext\n```console\n$ d\n```\n";
    let found = marked(blocks);
    assert_eq!((found.len(), found[0].mark), (1, "checked"));
    let steps = steps(&found[0]);
    assert_eq!(steps, [Step { command: "a", printed: vec!["b"] }, Step { command: "c", printed: vec![] }]);
}
