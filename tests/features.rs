//! The program that is tested is the program that is installed.
//!
//! cargo gives a dependency all the features that the chosen packages ask for. `cargo test
//! --workspace` chooses the tests and their dependencies too, `cargo install` the program alone. A
//! feature that only the tests ask for hides that the program needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Features that the tests add and that change nothing in the program.
const HARMLESS: [(&str, &str, &str); 5] = [
    ("tokio", "test-util", "the clock of tests"),
    ("data-encoding", "default", "names other features, which are both on"),
    ("percent-encoding", "default", "names another feature, which is on"),
    ("rand", "default", "names other features, which are all on"),
    ("zerocopy", "simd", "more types, none used"),
];

/// Features by package, as cargo resolves them for a choice of packages.
fn features(choice: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{f}"])
        .args(choice)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // An empty line stands between the trees of two members.
    for line in said.lines().filter(|line| !line.is_empty()) {
        let (package, features) =
            line.trim_end_matches(" (*)").split_once('|').expect("a package and its features");
        let package = package.trim_end_matches(" (proc-macro)").to_owned();
        let features = features.split(',').filter(|feature| !feature.is_empty());
        found.entry(package).or_default().extend(features.map(str::to_owned));
    }
    found
}

/// Features that the second choice has and the first lacks, of packages that both have.
fn lacking(
    alone: &BTreeMap<String, BTreeSet<String>>,
    tested: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<(String, String)> {
    let pairs = alone.iter().filter_map(|(package, has)| Some((package, has, tested.get(package)?)));
    pairs
        .flat_map(|(package, has, more)| more.difference(has).map(move |feature| (package, feature)))
        .map(|(package, feature)| (package.split(' ').next().expect("a name").to_owned(), feature.clone()))
        .collect()
}

#[test]
fn no_test_lends_the_program_a_feature() {
    let alone = features(&["--package", "ringfence", "--edges", "normal"]);
    let tested = features(&["--workspace", "--edges", "normal,dev"]);
    assert!(alone.len() > 100, "the program's dependencies: {}", alone.len());
    let lent: BTreeSet<(String, String)> = lacking(&alone, &tested).into_iter().collect();
    let known = HARMLESS.map(|(package, feature, _)| (package.to_owned(), feature.to_owned()));
    let unknown: Vec<_> = lent.iter().filter(|pair| !known.contains(pair)).collect();
    assert!(unknown.is_empty(), "only the tests ask for these: {unknown:?}");
    let over: Vec<_> = known.iter().filter(|pair| !lent.contains(pair)).collect();
    assert!(over.is_empty(), "no longer lent: {over:?}");
}

/// Positive control: a feature that is lent is seen.
#[test]
fn a_lent_feature_is_seen() {
    let of = |features: &[&str]| {
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        BTreeMap::from([("regex v1.0.0".to_owned(), features)])
    };
    assert_eq!(lacking(&of(&["std"]), &of(&["std", "unicode"])), [("regex".into(), "unicode".into())]);
    assert_eq!(lacking(&of(&["std", "unicode"]), &of(&["std"])), []);
}
