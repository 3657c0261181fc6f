//! Labels that clients give.

use std::collections::BTreeMap;

use crate::serve::denied::Denied;
use crate::serve::request::filters::OWN_LABELS;
use crate::serve::text::shown;

/// Returns the labels.
///
/// # Errors
/// When one is ringfence's.
pub(super) fn decide(
    field: &str,
    given: Option<&BTreeMap<String, Option<String>>>,
) -> Result<BTreeMap<String, String>, Denied> {
    let given = given.into_iter().flatten();
    let labels: BTreeMap<String, String> =
        given.map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect();
    match labels.keys().find(|name| name.to_ascii_lowercase().starts_with(OWN_LABELS)) {
        Some(own) => {
            let own = shown(own);
            Err(Denied::field(
                field,
                format!("{own} is ringfence's, and says who owns an object; choose another"),
            ))
        }
        None => Ok(labels),
    }
}
