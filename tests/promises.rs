//! Each promise in the threat model names the tests that would fail if it were not kept; each named
//! test is there.

#[path = "support/sources.rs"]
mod sources;

use std::fs;
use std::path::PathBuf;

use self::sources::{root, sources};

const DOCUMENT: &str = include_str!("../docs/threat-model.md");
const HEADING: &str = "## Promises and their tests";

/// The rows of the table: promise, names of tests.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let (_, after) = document.split_once(HEADING).unwrap_or_default();
    let section = after.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 2, "{row}");
        let tests = cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].to_owned(), tests)
    })
    .collect()
}

/// Tells whether a function of this name is a test, and one that runs.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = [format!("fn {name}("), format!("async fn {name}(")];
    lines.iter().enumerate().any(|(number, line)| {
        let attributes = lines[..number].iter().rev().take_while(|above| above.starts_with("#["));
        let attributes: Vec<_> = attributes.collect();
        begins.iter().any(|begin| line.starts_with(begin.as_str()))
            && attributes
                .iter()
                .any(|above| above.starts_with("#[test]") || above.starts_with("#[tokio::test"))
            && !attributes.iter().any(|above| above.starts_with("#[ignore"))
    })
}

/// Why a named test is none; nothing where it is one.
fn missing(name: &str, sources: &[(PathBuf, String)]) -> Option<String> {
    let text_of = |file: &str| {
        let path = root().join("integration/tests/e2e").join(file);
        fs::read_to_string(path).unwrap_or_default()
    };
    let Some((module, test)) = name.split_once(": ") else {
        let there = sources.iter().any(|(_, text)| is_test(text, name));
        return (!there).then(|| format!("`{name}` is no test"));
    };
    let listed = text_of(&format!("{module}.rs")).contains(&format!("\"{test}\","));
    let registered = text_of("main.rs").contains(&format!("(\"{module}\", {module}::TESTS"));
    (!(listed && registered)).then(|| format!("`{name}` is no end-to-end test"))
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let folders = ["src", "tests", "netpolicy/src", "netpolicy/tests", "integration/src"];
    let files = folders.iter().flat_map(|folder| sources(root().join(folder)));
    files.map(|file| (file.clone(), fs::read_to_string(file).expect("a source"))).collect()
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let (rows, sources) = (rows(DOCUMENT), all_sources());
    assert!(rows.len() >= 47, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (promise, tests) in &rows {
        if tests.is_empty() {
            wrong.push(format!("no test: {promise}"));
        }
        wrong
            .extend(tests.iter().filter_map(|test| Some(format!("{}: {promise}", missing(test, &sources)?))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_that_is_not_there_is_found_out() {
    let sources = all_sources();
    for name in [
        "no_such_test",
        "missing",
        "limits: no such test",
        "nowhere: a full layer ends the run",
        "covers: a full layer ends the run",
    ] {
        assert!(missing(name, &sources).is_some(), "{name}");
    }
    assert_eq!(missing("limits: a full layer ends the run", &sources), None);
    assert_eq!(missing("every_promise_names_tests_that_are_there", &sources), None);
    assert!(!is_test("#[test]\n#[ignore]\nfn x() {", "x") && is_test("#[test]\nfn x() {", "x"));
    let table =
        format!("{HEADING}\n\n| promise | tests |\n|---|---|\n| a | `b`, `c: d` |\n\n## Next\n| e | `f` |");
    assert_eq!(rows(&table), [("a".to_owned(), vec!["b".to_owned(), "c: d".to_owned()])]);
}
