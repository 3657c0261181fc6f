//! The JSON Schema of a line: what this version writes, and nothing else.
//!
//! A reader takes more than that, since later versions add kinds, words and fields. The schema is
//! closed all the same: a test holds the logs of real runs against it, and would not see a field
//! that nobody described.

use netpolicy::decide::Reason;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Value, json};

use super::Line;

/// Returns the schema as a JSON text, with a line end.
pub(crate) fn json() -> String {
    let mut schema = schema_for!(Line);
    RecursiveTransform(without_null).transform(&mut schema);
    RecursiveTransform(on_one_line).transform(&mut schema);
    schema.insert("title".to_owned(), "ringfence event".into());
    schema.insert(
        "description".to_owned(),
        "A line of the decision log, as this version writes it. Later versions add kinds, words and fields: skip what you do not know."
            .into(),
    );
    schema.insert("unevaluatedProperties".to_owned(), false.into());
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
}

/// Takes the null away that an optional field could hold: such a field is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
}

/// Joins the lines of descriptions: the source wraps them, an editor wraps them anew.
fn on_one_line(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.as_object_mut().and_then(|object| object.get_mut("description"))
    {
        *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
}

pub(crate) fn reasons(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    json_schema!({ "type": "string", "enum": words })
}

pub(crate) fn layers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["floor", "organisation", "user", "run", "project"] })
}

pub(crate) fn resolvers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["guard", "proxy"] })
}

pub(super) fn transports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^(tls|http|tcp|auto|udp|icmp|[0-9]{1,3})$" })
}

pub(crate) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
}

pub(crate) fn map(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": address(generator) })
}

pub(crate) fn sha256(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
}

pub(crate) fn hash(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
}

pub(crate) fn workflow(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9a-f]{8}$" })
}

pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

pub(crate) fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}
