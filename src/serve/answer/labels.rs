//! ringfence's labels, which no client sees.

use serde_json::Value;

use crate::serve::request::filters::OWN_LABELS;

/// Takes ringfence's labels out of an object of labels.
pub(crate) fn strip(labels: &mut Value) {
    if let Some(labels) = labels.as_object_mut() {
        labels.retain(|name, _| !name.starts_with(OWN_LABELS));
    }
}

/// Takes them out of the labels at a place of an answer.
pub(crate) fn strip_at(answer: &mut Value, pointer: &str) {
    if let Some(labels) = answer.pointer_mut(pointer) {
        strip(labels);
    }
}
