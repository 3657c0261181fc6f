//! A reader of JSON by the rules of the engine's decoder: keys of structures match whatever their
//! case, by Unicode's folding, the last of several counts, and objects merge.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::serve::request::json::fold;

/// A value in which a key may stand several times.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GoValue {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<GoValue>),
    Object(Vec<(String, GoValue)>),
}

impl GoValue {
    /// Reads a text.
    pub(super) fn read(text: &str) -> GoValue {
        serde_json::from_str(text).expect("the engine's body is JSON")
    }

    /// Returns a field of a structure; null where there is none.
    pub(super) fn field(&self, name: &str) -> GoValue {
        let GoValue::Object(pairs) = self else { return GoValue::Null };
        let all = pairs.iter().filter(|(key, _)| fold(key) == fold(name)).map(|(_, value)| value.clone());
        all.fold(GoValue::Null, |before, after| match (before, after) {
            (GoValue::Object(mut one), GoValue::Object(other)) => {
                one.extend(other);
                GoValue::Object(one)
            }
            (before, GoValue::Null) => before,
            (_, after) => after,
        })
    }

    /// Returns the elements of a list.
    pub(super) fn list(&self) -> &[GoValue] {
        match self {
            GoValue::List(list) => list,
            _ => &[],
        }
    }

    /// Returns a text, or nothing.
    pub(super) fn text(&self) -> &str {
        match self {
            GoValue::Text(text) => text,
            _ => "",
        }
    }

    /// Returns the keys of an object.
    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            GoValue::Object(pairs) => pairs.iter().map(|(key, _)| key.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

struct Any;

impl<'de> Deserialize<'de> for GoValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoValue, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = GoValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<GoValue, E> {
        Ok(GoValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<GoValue, E> {
        Ok(GoValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<GoValue, E> {
        Ok(GoValue::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<GoValue, E> {
        Ok(GoValue::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<GoValue, E> {
        Ok(GoValue::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<GoValue, E> {
        Ok(GoValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<GoValue, A::Error> {
        let mut read = Vec::new();
        while let Some(value) = list.next_element()? {
            read.push(value);
        }
        Ok(GoValue::List(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GoValue, A::Error> {
        let mut read = Vec::new();
        while let Some(pair) = map.next_entry()? {
            read.push(pair);
        }
        Ok(GoValue::Object(read))
    }
}

#[test]
fn it_reads_as_the_engine_does() {
    let tricks = GoValue::read(
        r#"{"hostconfig":{"Privileged":true},"Ho\u017ftConfig":{"Memory":1},"Networ\u212aMode":"host","networkmode":null}"#,
    );
    assert_eq!(tricks.field("HostConfig").field("Privileged"), GoValue::Bool(true));
    assert_eq!(tricks.field("HostConfig").field("Memory"), GoValue::Number(1.0), "merged");
    assert_eq!(tricks.field("NetworkMode").text(), "host", "null changes nothing");
    assert_eq!(tricks.field("Image"), GoValue::Null);
}
