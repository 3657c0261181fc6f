//! What the documents say about policies is so: every example is read, every key has its row, the schema is the current one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use netpolicy::diagnostic::{Severity, render};
use netpolicy::load::load;
use netpolicy::policy::{Date, Layer};

const TODAY: Date = Date::constant(2026, 11, 25);

fn document(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The blocks marked `yaml`, with the line where each begins.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_start() == "```yaml" {
            let block: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```").collect();
            found.push((number + 1, block.join("\n") + "\n"));
        }
    }
    found
}

#[test]
fn every_example_is_a_good_policy() {
    let mut seen = 0;
    for name in ["docs/policy.md", "README.md"] {
        for (line, text) in examples(&document(name)) {
            let loaded = load("example.yml", Layer::Organisation, TODAY, &mut |_| Ok(text.clone()));
            let findings = match &loaded {
                Ok(loaded) => &loaded.warnings,
                Err(findings) => findings,
            };
            let bad: Vec<_> =
                findings.iter().filter(|found| found.severity != Severity::Note).cloned().collect();
            assert!(bad.is_empty(), "{name}, line {line}:\n{}", render(&bad));
            seen += 1;
        }
    }
    assert!(seen >= 7, "only {seen} examples were found");
}

#[test]
fn every_key_has_its_row() {
    let text = document("docs/policy.md");
    let schema: serde_json::Value = serde_json::from_str(&netpolicy::schema::json()).unwrap();
    let keys = |name: &str| -> BTreeSet<String> {
        let object = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        object["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let mut wanted = BTreeSet::new();
    for (prefix, name) in [
        ("network.", "Network"),
        ("network.dns.", "Dns"),
        ("container.", "Container"),
        ("engine.", "Engine"),
        ("workspace.", "Workspace"),
        ("credentials.", "Credentials"),
    ] {
        wanted.extend(keys(name).into_iter().map(|key| format!("{prefix}{key}")));
    }
    wanted.remove("network.dns");
    wanted.extend(["version", "extends", "tests"].map(str::to_owned));
    wanted.extend(keys("FullRule"));
    let rows: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = wanted.difference(&rows).collect();
    assert!(missing.is_empty(), "docs/policy.md has no row for {missing:?}");
}

#[test]
fn every_reason_is_listed() {
    let text = document("docs/policy.md");
    for reason in netpolicy::decide::Reason::ALL {
        assert!(text.contains(&format!("`{reason}`")), "docs/policy.md does not list {reason}");
    }
}

/// `RINGFENCE_UPDATE=1 cargo test -p netpolicy --test docs` writes the copy anew.
#[test]
fn the_schema_in_the_repository_is_the_current_one() {
    let current = netpolicy::schema::json();
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        fs::write(path("docs/policy.schema.json"), &current).unwrap();
    }
    let kept = document("docs/policy.schema.json");
    assert!(
        kept == current,
        "docs/policy.schema.json is old: RINGFENCE_UPDATE=1 cargo test -p netpolicy --test docs"
    );
}
