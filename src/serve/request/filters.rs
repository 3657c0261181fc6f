//! The `filters` of lists and events, in both forms in which clients write them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::json;
use crate::serve::denied::Denied;
use crate::serve::text::shown;

/// Beginning of the labels that are ringfence's.
pub(crate) const OWN_LABELS: &str = "dev.ringfence.";

/// The most values of all filters.
const MOST: usize = 500;

/// Filters: values by their key. A value of one key is enough, but every key must have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads `{"label":["a=b"]}` and `{"label":{"a=b":true}}`.
    ///
    /// # Errors
    /// When it is neither, or asks for ringfence's labels.
    pub(crate) fn read(text: Option<&str>) -> Result<Filters, Denied> {
        let Some(text) = text else { return Ok(Filters::default()) };
        let bad = |why: &str| Denied::malformed(format!("filters: {why}; send an object of lists"));
        let Value::Object(map) =
            json::read(text.as_bytes()).map_err(|_| bad("this is no JSON of one reading"))?
        else {
            return Err(bad("this is no object"));
        };
        let mut filters = Filters::default();
        for (key, values) in map {
            let values = values_of(values).ok_or_else(|| bad("a filter has values that are no texts"))?;
            filters.0.entry(key).or_default().extend(values);
        }
        if filters.0.values().map(BTreeSet::len).sum::<usize>() > MOST {
            return Err(bad("there are too many"));
        }
        let labels = filters.values("label").chain(filters.values("label!"));
        if let Some(own) = labels.into_iter().find(|label| label.starts_with(OWN_LABELS)) {
            let what = format!("the label {} is ringfence's; filter by another", shown(own));
            return Err(Denied::field("filters", what));
        }
        Ok(filters)
    }

    /// Returns the values of a key.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Returns the keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses keys that are not among those.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Denied> {
        match self.keys().find(|key| !known.contains(key)) {
            Some(key) => Err(Denied::plain(400, format!("invalid filter '{}'", shown(key)))),
            None => Ok(()),
        }
    }

    /// Adds a value.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Filters {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
        self
    }

    /// Takes keys out: those that ringfence answers itself.
    pub(crate) fn without(mut self, keys: &[&str]) -> Filters {
        self.0.retain(|key, _| !keys.contains(&key.as_str()));
        self
    }

    /// Returns the map form, as JSON.
    pub(crate) fn json(&self) -> String {
        let set = |values: &BTreeSet<String>| -> Value {
            values.iter().map(|value| (value.clone(), Value::Bool(true))).collect()
        };
        let all: serde_json::Map<String, Value> =
            self.0.iter().map(|(key, set_)| (key.clone(), set(set_))).collect();
        Value::Object(all).to_string()
    }

    /// Tells whether a key has no value, or one that fits.
    pub(crate) fn admits(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.is_empty() || values.iter().any(|value| fits(value)))
    }

    /// Tells whether labels fit: all of those that are asked for are there.
    pub(crate) fn admits_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |asked: &str| match asked.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|there| there == value),
            None => labels.contains_key(asked),
        };
        self.values("label").all(has) && !self.values("label!").any(has)
    }
}

/// Reads the values of one key. A value that is `false` in a map is none.
fn values_of(values: Value) -> Option<Vec<String>> {
    match values {
        Value::Array(list) => list
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(value, set)| set.as_bool().map(|set| set.then_some(value)))
            .collect::<Option<Vec<_>>>()
            .map(|values| values.into_iter().flatten().collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_one() {
        let map = Filters::read(Some(r#"{"label":{"a=b":true,"c":true,"no":false}}"#)).unwrap();
        let list = Filters::read(Some(r#"{"label":["a=b","c"]}"#)).unwrap();
        assert_eq!(map, list);
        assert_eq!(list.json(), r#"{"label":{"a=b":true,"c":true}}"#);
        assert_eq!(Filters::read(None), Ok(Filters::default()));
        assert_eq!(Filters::read(Some("{}")).unwrap().json(), "{}");
    }

    #[test]
    fn what_has_another_form_or_is_ringfences_is_refused() {
        for bad in [
            "",
            "[]",
            "x",
            r#"{"label":"a"}"#,
            r#"{"label":[1]}"#,
            r#"{"label":{"a":1}}"#,
            r#"{"label":["a"],"label":["b"]}"#,
            r#"{"label":["dev.ringfence.role=agent"]}"#,
            r#"{"label!":{"dev.ringfence.workflow":true}}"#,
            r#"{"label":["a"]} {}"#,
        ] {
            assert_eq!(Filters::read(Some(bad)).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn every_label_must_fit_and_one_value_of_another_key() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let admits = |text: &str| Filters::read(Some(text)).unwrap().admits_labels(&labels);
        assert!(admits("{}") && admits(r#"{"label":["a"]}"#) && admits(r#"{"label":["a=b"]}"#));
        assert!(
            !admits(r#"{"label":["a","c"]}"#)
                && !admits(r#"{"label":["a=c"]}"#)
                && !admits(r#"{"label!":["a"]}"#)
        );
        let filters = Filters::read(Some(r#"{"name":["x","y"]}"#)).unwrap();
        assert!(filters.admits("name", |name| name == "y") && !filters.admits("name", |name| name == "z"));
        assert!(filters.admits("id", |_| false), "nothing asked");
        assert!(filters.only(&["name"]).is_ok() && filters.only(&["id"]).is_err());
    }
}
