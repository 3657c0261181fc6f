//! Events for clients: those of own containers, and those of networks and volumes that ringfence
//! makes itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::container::set;
use super::labels::strip_at;
use crate::serve::request::filters::Filters;

/// Filters of events that are answered. Others are refused.
pub(crate) const KNOWN: [&str; 9] =
    ["container", "event", "image", "label", "network", "type", "volume", "scope", "daemon"];

/// Returns an event of the engine's as a client may see it; none for what is not an own
/// container's. `name` tells the client's name of an own container by its full id. Events of
/// networks and volumes carry no labels, and helpers have some too, so that both are never passed
/// on.
pub(crate) fn event(mut engine: Value, name: &dyn Fn(&str) -> Option<String>) -> Option<Value> {
    let text = |pointer: &str| engine.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if text("/Type").as_deref() != Some("container") {
        return None;
    }
    let id = text("/Actor/ID").or_else(|| text("/id"))?;
    let name = name(&id)?;
    strip_at(&mut engine, "/Actor/Attributes");
    if let Some(attributes) = engine.pointer_mut("/Actor/Attributes").filter(|all| all.is_object()) {
        set(attributes, "name", json!(name));
    }
    Some(engine)
}

/// Puts the image that the client wrote into an event. The engine knows its id only.
pub(crate) fn put_image_back(event: &mut Value, image: &str) {
    if event.get("from").is_some() {
        set(event, "from", json!(image));
    }
    if let Some(attributes) = event.pointer_mut("/Actor/Attributes").filter(|all| all.is_object()) {
        set(attributes, "image", json!(image));
    }
}

/// Makes an event of a network or volume. `at` is seconds and nanoseconds of Unix time.
#[cfg(test)]
pub(crate) fn made(
    kind: &str,
    action: &str,
    id: &str,
    attributes: &BTreeMap<String, String>,
    at: (i64, i64),
) -> Value {
    let attributes: serde_json::Map<String, Value> =
        attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "Type": kind,
        "Action": action,
        "Actor": { "ID": id, "Attributes": attributes },
        "scope": "local",
        "time": at.0,
        "timeNano": at.1,
    })
}

/// Tells whether an event that may be seen fits a client's filters.
pub(crate) fn fits(filters: &Filters, event: &Value) -> bool {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let attributes: BTreeMap<String, String> = event
        .pointer("/Actor/Attributes")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let (kind, action, id) = (text("/Type"), text("/Action"), text("/Actor/ID"));
    let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
    let object = |of: &'static str| {
        move |word: &str| {
            kind == of
                && (id == word
                    || (word.len() >= 12 && id.starts_with(word))
                    || attribute("name") == word.trim_start_matches('/'))
        }
    };
    // `exec_create: sh -c …` is an event of the kind `exec_create`.
    let action_fits = |word: &str| action == word || action.split(':').next() == Some(word);
    filters.admits("type", |word| word == kind)
        && filters.admits("event", action_fits)
        && filters.admits("container", object("container"))
        && filters.admits("network", object("network"))
        && filters.admits("volume", object("volume"))
        && filters.admits("image", |word| {
            attribute("image") == word || attribute("image").split(':').next() == Some(word)
        })
        && filters.admits("scope", |word| word == "local")
        && filters.admits_labels(&attributes)
}
