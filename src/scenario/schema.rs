//! The JSON Schema of a scenario file, for editors: what may stand where. Whether it makes sense is
//! the reader's to say.
//!
//! ```text
//!  the types below ──schemars──▶ `ringfence test --schema`, docs/scenario.schema.json (tests keep the copy and the reader's keys in step)
//! ```
//! The types exist for the schema alone; scenarios are read by `read`, which knows places and gives
//! hints.

#![allow(dead_code, reason = "the types are never filled: their shape is what counts")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema, schema_for};

/// Returns the schema as a JSON text, with a line end.
pub(crate) fn json() -> String {
    netpolicy::schema::text(schema_for!(ScenarioFile), "ringfence scenario")
}

/// A scenario file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct ScenarioFile {
    /// The agent's image.
    image: String,
    /// The agent's command, word by word; the image's unless given.
    #[schemars(length(min = 1))]
    command: Option<Vec<Word>>,
    /// Policies, as `ringfence run --policy` takes them: presets by name and version, or files.
    policy: Option<OneOrMore>,
    /// The project's directory, from the folder of this file. Each case gets a copy of it.
    project: Option<String>,
    /// Variables for the agent; without a value, the caller's.
    #[schemars(schema_with = "variables")]
    env: Option<BTreeMap<String, Word>>,
    /// The cases.
    #[schemars(length(min = 1, max = 200))]
    cases: Vec<CaseShape>,
}

/// Describes variables. A variable without a value is not `null` to the reader, but stands without
/// a word; a schema of YAML sees both alike.
fn variables(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "not": { "type": ["array", "object"] } } })
}

/// A text, or several.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// A text, which may look like a number or a boolean.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Word {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
}

/// A case.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct CaseShape {
    /// The name of the case, unlike that of every other.
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// The agent's network; `permitted` unless given.
    network: Option<NetworkShape>,
    /// Expectations on the agent, of which each must hold.
    expect: ExpectShape,
}

/// The network of a case.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum NetworkShape {
    /// `permitted`: what the policy permits. `denied`: nothing, from the start.
    Whole(WholeNetwork),
    /// The policy's network, under conditions that come and go.
    Steps(Vec<StepShape>),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum WholeNetwork {
    Permitted,
    Denied,
}

/// A condition and its moment: exactly one of `at` and `on`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct StepShape {
    /// Time after the agent's start, `5s`; `0s` is before it.
    at: Option<String>,
    /// `connect HOST`: the first permitted connection to a name, before it goes out.
    #[schemars(regex(pattern = "^\\s*connect\\s+\\S+\\s*$"))]
    on: Option<String>,
    /// A condition of `ringfence net`, such as `cut` or `latency=300ms`, or `restore`.
    #[serde(rename = "do")]
    action: String,
    /// The name that the condition concerns, or a pattern; everything unless given.
    host: Option<String>,
}

/// Expectations on an agent.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("minProperties" = 1))]
struct ExpectShape {
    /// The exit status.
    exit: Option<ExitShape>,
    /// The time after which the case is ended, and fails.
    within: Option<String>,
    /// Patterns that must be found in stdout, each.
    stdout: Option<OneOrMore>,
    /// Patterns that must be found in stderr, each.
    stderr: Option<OneOrMore>,
    /// Files of the project's copy, after the run.
    files: Option<BTreeMap<String, FileShape>>,
    /// Attempts of the agent to reach something, by the decision log.
    attempts: Option<AttemptsShape>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum ExitShape {
    /// `zero`, or `nonzero` for any other.
    Word(ExitWord),
    /// This one.
    Status(u8),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum ExitWord {
    Zero,
    Nonzero,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum FileShape {
    /// `exists`: something is there. `absent`: nothing is.
    Word(FileWord),
    /// A file is there in which a pattern is found.
    Content(FileContent),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum FileWord {
    Exists,
    Absent,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct FileContent {
    /// A regular expression, between slashes or not.
    matches: String,
}

/// Expectations on attempts. A target is a name, a pattern of names, an address or a range, each
/// with `:PORT` or without.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("minProperties" = 1))]
struct AttemptsShape {
    /// Targets that must not be tried.
    #[schemars(length(min = 1))]
    none: Option<Vec<String>>,
    /// The only targets that may be tried; an empty list: no attempt at all.
    only: Option<Vec<String>>,
    /// Targets of which each must be tried.
    #[schemars(length(min = 1))]
    some: Option<Vec<String>>,
    /// Bounds on numbers of attempts.
    counts: Option<Vec<CountShape>>,
    /// The most attempts at one target in any second.
    #[schemars(range(min = 1, max = 10000))]
    per_second: Option<u64>,
    /// The most time from the first attempt that failed to the last attempt at all.
    gave_up_within: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct CountShape {
    /// The target; all together unless given.
    target: Option<String>,
    /// The least number.
    #[schemars(range(min = 1, max = 10000))]
    least: Option<u64>,
    /// The greatest number.
    #[schemars(range(max = 10000))]
    most: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::scenario::read::{ATTEMPTS, CASE_KEYS, COUNT, EXPECT, FILE, STEP, TOP_KEYS};

    #[test]
    fn the_schema_knows_the_keys_that_the_reader_knows() {
        let schema: Value = serde_json::from_str(&json()).unwrap();
        for (keys, name) in [
            (&TOP_KEYS, ""),
            (&CASE_KEYS, "CaseShape"),
            (&STEP, "StepShape"),
            (&EXPECT, "ExpectShape"),
            (&FILE, "FileContent"),
            (&ATTEMPTS, "AttemptsShape"),
            (&COUNT, "CountShape"),
        ] {
            let object = if name.is_empty() { &schema } else { &schema["$defs"][name] };
            let known: BTreeSet<&str> = keys.keys.iter().copied().collect();
            let there: BTreeSet<&str> =
                object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(there, known, "{}", keys.name);
            assert_eq!(object["additionalProperties"], Value::Bool(false), "{}", keys.name);
        }
    }

    #[test]
    fn the_schema_in_the_repository_is_the_current_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scenario.schema.json");
        if std::env::var_os("RINGFENCE_UPDATE").is_some() {
            std::fs::write(path, json()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == json(),
            "docs/scenario.schema.json is old: RINGFENCE_UPDATE=1 cargo test --bin ringfence scenario::schema"
        );
    }
}
