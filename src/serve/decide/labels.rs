//! Labels that clients give.

use std::collections::BTreeMap;

use crate::serve::denied::Denied;
use crate::serve::request::filters::OWN_LABELS;
use crate::serve::text::{shown, written_length};

/// The most bytes of all labels of one object, as the engine's lists and events write them.
const LONGEST: usize = 32 << 10;

/// Returns the labels.
///
/// # Errors
/// When one is ringfence's, or they are too long in sum.
pub(super) fn decide(
    field: &str,
    given: Option<&BTreeMap<String, Option<String>>>,
) -> Result<BTreeMap<String, String>, Denied> {
    let given = given.into_iter().flatten();
    let labels: BTreeMap<String, String> =
        given.map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect();
    if let Some(own) = labels.keys().find(|name| name.to_ascii_lowercase().starts_with(OWN_LABELS)) {
        let own = shown(own);
        return Err(Denied::field(
            field,
            format!("{own} is ringfence's, and says who owns an object; choose another"),
        ));
    }
    let length: usize = labels.iter().map(|(name, value)| written_length(name) + written_length(value)).sum();
    if length > LONGEST {
        let why = format!("they have more than {LONGEST} bytes in sum; keep long texts in files");
        return Err(Denied::field(field, why));
    }
    Ok(labels)
}
