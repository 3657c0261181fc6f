//! Exit statuses: the README's table, `--help` and the program say the same.
//!
//! ```text
//!  a command line for each status ─▶ ended with it?   its row in the README?   its `Exit status:` in --help?
//! ```

#[path = "support/program.rs"]
mod program;

use std::fs;

use program::without_engine;

const README: &str = include_str!("../README.md");

const LOG: &str = r#"{"v":1,"seq":0,"time":"2026-11-30T00:00:00.000Z","workflow":"0000002a","kind":"lifecycle","reason":"start"}"#;

/// A command line and the status that it ends with.
const ENDS: &[(&str, u8)] = &[
    ("policy explain --allow a.example a.example", 0),
    ("policy explain a.example", 1),
    ("policy explain https://", 2),
    ("policy check good.yml", 0),
    ("policy check bad.yml", 1),
    ("policy check none.yml", 2),
    ("policy test good.yml", 0),
    ("policy test failing.yml", 1),
    ("policy test bad.yml", 2),
    ("policy diff good.yml good.yml", 0),
    ("policy diff good.yml failing.yml", 1),
    ("policy diff good.yml bad.yml", 2),
    ("policy show --policy good.yml", 0),
    ("policy show --policy bad.yml", 2),
    ("policy unused log.jsonl --policy empty.yml", 0),
    ("policy unused log.jsonl --policy good.yml", 1),
    ("policy unused none.jsonl --policy good.yml", 2),
    ("policy learn log.jsonl", 0),
    ("policy learn none.jsonl", 2),
    ("policy learn garbage.bin", 2),
    ("report log.jsonl", 0),
    ("report none.jsonl", 2),
    ("report ./garbage.bin", 2),
    ("events log.jsonl", 0),
    ("events log.jsonl --verify", 0),
    ("events garbage.bin --verify", 1),
    ("events garbage.bin", 2),
    ("events none.jsonl", 2),
    ("events log.jsonl --follow", 2),
    ("doctor", 2),
    ("ps", 125),
    ("policy apply log.jsonl good.yml --name a.example --yes", 125),
    // Wrong usage is told apart from what a command finds.
    ("policy explain --no-such-option a.example", 125),
    ("policy diff good.yml", 125),
    ("doctor --no-such-option", 125),
];

#[test]
fn commands_end_as_their_table_says() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let good = "version: 1\nnetwork: {allow: [a.example]}\ntests: [{allow: a.example}]\n";
    for (name, text) in [
        ("good.yml", good),
        ("empty.yml", "version: 1\n"),
        ("bad.yml", "version: 2\n"),
        ("failing.yml", "version: 1\nnetwork: {allow: [b.example]}\ntests: [{allow: a.example}]\n"),
        ("garbage.bin", "no event\nat all\n"),
        ("log.jsonl", &format!("{LOG}\n")),
    ] {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    for (line, status) in ENDS {
        let words: Vec<&str> = line.split(' ').collect();
        let output =
            without_engine(dir.path(), dir.path()).args(&words).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(*status)), "{line}: {said}");
    }
}

/// A row of the table for each command that has a status of its own besides 0 and 125.
#[test]
fn the_table_has_every_command_that_tells_by_its_status() {
    let table = README.split("| other commands |").nth(1).expect("the table");
    let table = table.split("\n\n").next().expect("its end");
    for (line, _) in ENDS.iter().filter(|(_, status)| matches!(status, 1 | 2)) {
        let words: Vec<&str> = line.split(' ').collect();
        let command = if words[0] == "policy" { words[..2].join(" ") } else { words[0].to_owned() };
        assert!(table.lines().any(|row| row.contains(&format!("`{command}"))), "{command}");
    }
    assert!(README.contains("Wrong usage"), "it ends every command with 125");
}

#[test]
fn help_tells_the_statuses() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let more =
        ["stop", "gc", "allow", "deny", "reload", "net", "trust", "home ls", "home rm", "wait", "logs"];
    let lines = ENDS.iter().map(|(line, _)| *line).chain(more);
    for line in lines {
        let words = line.split(' ').take(if line.starts_with("policy ") || line.starts_with("home ") {
            2
        } else {
            1
        });
        let words: Vec<&str> = words.chain(["--help"]).collect();
        let output =
            without_engine(dir.path(), dir.path()).args(&words).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Exit status:"), "{words:?}\n{said}");
    }
}
