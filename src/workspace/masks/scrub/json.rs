//! JSON: what stands below a secret key, however deep; in a file that describes values, only what
//! it gives as a value.

use serde_json::Value;

use super::manner::Manner;
use super::patterns::Patterns;
use super::{MASK, Scrubbed, replace, shape};

/// Keys of a schema whose value is one of those that are described.
const GIVEN: &[&str] = &["const", "default", "enum", "example", "examples", "value", "x-example"];

/// Takes the secrets out; what is no JSON in the strict sense is unclear.
pub(super) fn scrub(text: &[u8], manner: Manner) -> Scrubbed {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return Scrubbed::Unclear };
    let describes = manner != Manner::Strict && shape::describes(&value);
    if !(Eye { manner, describes }).scrub(&mut value, false) {
        return Scrubbed::Clean;
    }
    match serde_json::to_vec_pretty(&value) {
        Ok(text) => Scrubbed::Masked(text),
        Err(_) => Scrubbed::Unclear,
    }
}

/// Judgement of a file's values while it is read.
#[derive(Clone, Copy)]
struct Eye {
    manner: Manner,
    describes: bool,
}

impl Eye {
    /// Masks below secret keys; whether anything was.
    fn scrub(self, value: &mut Value, secret: bool) -> bool {
        let patterns = Patterns::get();
        match value {
            Value::Object(map) => map.iter_mut().fold(false, |any, (key, value)| {
                let word = key.as_bytes();
                let telling = patterns.secret_key.is_match(word);
                let own = telling && !(patterns.is_harmless(word) && value.is_string());
                let inherited = secret && (!self.describes || GIVEN.contains(&key.as_str()));
                self.scrub(value, own || inherited) || any
            }),
            // Every item, not only up to the first.
            Value::Array(items) => {
                items.iter_mut().filter_map(|item| self.scrub(item, secret).then_some(())).count() > 0
            }
            Value::String(text) if secret && !self.manner.is_plain(text.as_bytes()) => {
                *text = MASK.to_owned();
                true
            }
            // A length or a number of days.
            Value::Number(number) if secret && self.manner != Manner::Strict && is_short(number) => false,
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
}

fn is_short(number: &serde_json::Number) -> bool {
    number.as_u64().is_some_and(|number| number < 1000)
}
