//! The schema and docs/events.md say what is written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::wire::event::schema;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn document(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Compares the schema with the code. `RINGFENCE_UPDATE=1 cargo test --bin ringfence documents`
/// writes the copy anew.
#[test]
fn the_schema_in_the_repository_is_the_current_one() {
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        std::fs::write(path("events.schema.json"), schema::json()).unwrap();
    }
    assert!(
        document("events.schema.json") == schema::json(),
        "docs/events.schema.json is old: RINGFENCE_UPDATE=1 cargo test --bin ringfence documents"
    );
}

/// Holds a line against the schema; what is wrong with it, in words.
fn check(schema: &Value, line: &str) -> Result<(), String> {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("events.schema.json", schema.clone()).unwrap();
    let compiled = compiler.compile("events.schema.json", &mut schemas).unwrap();
    let value: Value = serde_json::from_str(line).unwrap();
    schemas.validate(&value, compiled).map_err(|error| error.to_string())
}

#[test]
fn the_schema_describes_each_line_and_no_field_more() {
    let schema: Value = serde_json::from_str(&schema::json()).unwrap();
    for text in each().into_iter().map(line).chain(OLD.lines().map(str::to_owned)) {
        check(&schema, &text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
    let good = with(r#""kind":"connect","verdict":"deny","reason":"port""#);
    check(&schema, &good).unwrap();
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"port\"", "\"harbour\""),
        ("\"deny\"", "\"deny\",\"port\":70000"),
        ("\"deny\"", "\"deny\",\"colour\":\"red\""),
        ("\"deny\"", "\"deny\",\"address\":\"here\""),
        ("\"connect\"", "\"report\""),
        ("\"connect\"", "\"lifecycle\""),
        ("\"seq\":1,", ""),
    ] {
        assert!(check(&schema, &good.replacen(from, to, 1)).is_err(), "{to}");
    }
}

/// Collects all names of fields in a schema, and the words that stand for kinds and reasons.
fn collect(schema: &Value, fields: &mut BTreeSet<String>, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                fields.extend(properties.keys().cloned());
            }
            words.extend(object.get("const").and_then(Value::as_str).map(str::to_owned));
            let listed = object.get("enum").and_then(Value::as_array).into_iter().flatten();
            words.extend(listed.filter_map(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect(value, fields, words));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, fields, words)),
        _ => {}
    }
}

#[test]
fn the_document_names_each_field_and_each_word() {
    let schema: Value = serde_json::from_str(&schema::json()).unwrap();
    let (mut fields, mut words) = (BTreeSet::new(), BTreeSet::new());
    collect(&schema, &mut fields, &mut words);
    let text = document("events.md");
    // Those of the policy have their own list.
    let policy = document("policy.md");
    let missing: Vec<_> = words
        .iter()
        .filter(|word| !text.contains(&format!("`{word}`")) && !policy.contains(&format!("`{word}`")))
        .collect();
    assert!(missing.is_empty(), "docs/events.md does not name {missing:?}");
    let rows: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|cell| cell.split('`').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let missing: Vec<_> = fields.difference(&rows).collect();
    assert!(missing.is_empty(), "docs/events.md has no row for {missing:?}");
}
