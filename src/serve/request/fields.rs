//! The fields of a body, by the table of rules.
//!
//! ```text
//!  tree ─▶ unknown field: left out, told    known in another case: 400
//!       ─▶ refused and set: 400             warned and set: left out, told
//!       ─▶ the rest ─serde, exact keys─▶ typed body
//! ```

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::json;
use crate::serve::denied::Denied;
use crate::serve::rules::{BodyOf, FieldRule, FieldsHere, Treatment, structure};
use crate::serve::text::shown;

/// The most warnings of one answer.
const MOST_WARNINGS: usize = 40;

/// Body of a request as a type of its own.
pub(crate) trait ApiBody: DeserializeOwned {
    /// The body that it is.
    const OF: BodyOf;
}

/// A body, and what was left out of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taken<T> {
    /// The body.
    pub(crate) body: T,
    /// Warnings for the client.
    pub(crate) warnings: Vec<String>,
}

/// Reads a body. No bytes are an empty object, as they are to engines.
///
/// # Errors
/// When it has several readings, is not of its form, or sets a field that is refused.
pub(crate) fn read<T: ApiBody>(bytes: &[u8]) -> Result<Taken<T>, Denied> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let tree = json::read(bytes).map_err(|why| {
        Denied::malformed(format!("the body cannot be read: {why}; send one JSON object, each key once"))
    })?;
    let Value::Object(tree) = tree else {
        return Err(Denied::malformed("the body is no object; send one JSON object"));
    };
    let mut walk = Walk { of: T::OF, warnings: Vec::new(), left: 0 };
    let kept = walk.fields_of(tree, "", "")?;
    let mut warnings = walk.warnings;
    if walk.left > 0 {
        warnings.push(format!("ringfence: {} more fields were left out", walk.left));
    }
    let body = serde_json::from_value(Value::Object(kept)).map_err(|error| {
        Denied::malformed(format!(
            "the body is not of its form: {error}; send what the API's description has"
        ))
    })?;
    Ok(Taken { body, warnings })
}

/// A walk through one body.
struct Walk {
    of: BodyOf,
    warnings: Vec<String>,
    left: usize,
}

impl Walk {
    /// Keeps the fields of one structure that reach the typed body. `rule_path` is the path in the
    /// table, `path` the one in this body.
    fn fields_of(
        &mut self,
        tree: Map<String, Value>,
        rule_path: &str,
        path: &str,
    ) -> Result<Map<String, Value>, Denied> {
        let Some(known) = structure(self.of, rule_path) else { return Ok(tree) };
        let mut kept = Map::new();
        for (key, value) in tree {
            let here = join(path, &key);
            let Some(rule) = known.get(key.as_str()) else {
                self.unknown(known, &key, &here)?;
                continue;
            };
            if let Some(value) = self.judged(rule, value, &here)? {
                kept.insert(key, value);
            }
        }
        Ok(kept)
    }

    /// Refuses a key that an engine would take for a known one, and leaves out any other.
    fn unknown(&mut self, known: &FieldsHere, key: &str, here: &str) -> Result<(), Denied> {
        let folded = json::fold(key);
        if let Some(meant) = known.keys().find(|name| json::fold(name) == folded) {
            return Err(Denied::field(&shown(here), format!("an engine reads it as {meant}; write it so")));
        }
        self.warn(format!("ringfence: {} is no field that is known; it was left out", shown(here)));
        Ok(())
    }

    /// Returns what reaches the typed body of a field's value.
    fn judged(&mut self, rule: &FieldRule, value: Value, here: &str) -> Result<Option<Value>, Denied> {
        let set = is_set(&value);
        match rule.treatment {
            Treatment::Refused if set => Err(Denied::field(&shown(here), rule.reason)),
            Treatment::NullOnly if !value.is_null() => Err(Denied::field(&shown(here), rule.reason)),
            Treatment::Warned if set => {
                self.warn(format!("ringfence: {} was left out: {}", shown(here), rule.reason));
                Ok(None)
            }
            treatment if treatment.is_read() => self.below(value, rule.path, here).map(Some),
            _ => Ok(None),
        }
    }

    /// Goes into structures, lists and maps, where the table has rules for what is in them.
    fn below(&mut self, value: Value, rule_path: &str, here: &str) -> Result<Value, Denied> {
        match value {
            Value::Null => Ok(Value::Null),
            Value::Object(map) if structure(self.of, rule_path).is_some() => {
                self.fields_of(map, rule_path, here).map(Value::Object)
            }
            _ if structure(self.of, rule_path).is_some() => {
                Err(Denied::field(&shown(here), "it is no object; send one"))
            }
            Value::Object(map) => {
                let inner = format!("{rule_path}{{}}");
                let each = map.into_iter().map(|(key, value)| {
                    let value = self.below(value, &inner, &format!("{here}[{key}]"))?;
                    Ok((key, value))
                });
                each.collect::<Result<_, Denied>>().map(Value::Object)
            }
            Value::Array(list) => {
                let inner = format!("{rule_path}[]");
                let each = list.into_iter().enumerate();
                let each = each.map(|(at, value)| self.below(value, &inner, &format!("{here}[{at}]")));
                each.collect::<Result<_, _>>().map(Value::Array)
            }
            value => Ok(value),
        }
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(text);
        } else {
            self.left += 1;
        }
    }
}

/// Tells whether a value says more than its absence: anything but null, false, zero, and what is
/// empty or has only such values.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(is_set),
        Value::Object(map) => map.values().any(is_set),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
