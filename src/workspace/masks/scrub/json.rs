//! JSON: what stands below a secret key, however deep.

use serde_json::Value;

use super::patterns::Patterns;
use super::{MASK, Scrubbed, replace};

/// Takes the secrets out; what is no JSON in the strict sense is unclear.
pub(super) fn scrub(text: &[u8]) -> Scrubbed {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return Scrubbed::Unclear };
    if !scrub_value(&mut value, false) {
        return Scrubbed::Clean;
    }
    match serde_json::to_vec_pretty(&value) {
        Ok(text) => Scrubbed::Masked(text),
        Err(_) => Scrubbed::Unclear,
    }
}

/// Masks below secret keys; whether anything was.
fn scrub_value(value: &mut Value, secret: bool) -> bool {
    let patterns = Patterns::get();
    match value {
        Value::Object(map) => map.iter_mut().fold(false, |any, (key, value)| {
            let key = key.as_bytes();
            let telling = patterns.secret_key.is_match(key);
            let secret = secret || (telling && !(patterns.is_harmless(key) && value.is_string()));
            scrub_value(value, secret) || any
        }),
        // Every item, not only up to the first.
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| scrub_value(item, secret).then_some(())).count() > 0
        }
        Value::String(text) if secret && !patterns.is_plain(text.as_bytes()) => {
            *text = MASK.to_owned();
            true
        }
        Value::Number(_) if secret => {
            *value = Value::String(MASK.to_owned());
            true
        }
        Value::String(text) => {
            let spans = patterns.in_urls(text.as_bytes());
            if spans.is_empty() {
                return false;
            }
            let replaced = replace(text.as_bytes(), spans, |_| MASK.into());
            *text = String::from_utf8_lossy(&replaced).into_owned();
            true
        }
        _ => false,
    }
}
