//! JSON with one reading.
//!
//! Engines merge what stands twice under one key, and match the keys of a structure whatever their
//! case, by Unicode's folding: `HOSTCONFIG`, and `Ho\u017ftConfig` with a long s. Here a key that
//! stands twice is refused at any depth, and the keys of structures are compared with their
//! [folded](fold) form too.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most elements and members of one document: each takes many times the memory of its text.
const MOST: usize = 10_000;

/// Reads one document, and nothing behind it.
///
/// # Errors
/// When it is no JSON, has a key twice, too many elements, or something behind it.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    // A text: what is no UTF-8 has several readings.
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Once(&Cell::new(0)).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Returns a key as engines compare the keys of structures. Two ASCII letters have a relative
/// outside of ASCII, the long s and the sign for kelvin.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .flat_map(|c| match c {
            '\u{17f}' => 's'.to_lowercase(),
            c => c.to_lowercase(),
        })
        .collect()
}

/// Seed of a value without a key twice, with the count of all elements so far.
#[derive(Clone, Copy)]
struct Once<'a>(&'a Cell<usize>);

impl Once<'_> {
    /// Counts one element more.
    fn count<E: Error>(self) -> Result<(), E> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > MOST {
            return Err(E::custom(format!("it has more than {MOST} elements")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is too large"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            self.count()?;
            read.push(value);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.count()?;
            let value = map.next_value_seed(self)?;
            if read.contains_key(&key) {
                let key = crate::serve::text::shown(&key);
                return Err(A::Error::custom(format!("the key {key} stands twice")));
            }
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_one_reading() {
        let text = r#"{"a":[1,-1,1.5,"x",null,true,{"b":{}}],"A":{},"s":"\u0041"}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":1,"a":{}}]}"#,
            r#"{"x":{"y":{"a":1,"a":{}}}}"#,
            "{} {}",
            "{}x",
            "{}\u{0}",
            "",
            "{",
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{'a':1}",
            "/**/{}",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read(b"{\"a\":\"\xff\"}").is_err());
        assert!(
            read(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()).is_err(),
            "no stack overflows"
        );
        assert!(read(b" {} \r\n\t").is_ok());
    }

    #[test]
    fn a_document_has_so_many_elements_at_any_depth() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(read(list(MOST).as_bytes()).is_ok());
        for bad in [
            list(MOST + 1),
            format!("[{},{}]", list(MOST / 2), list(MOST / 2)),
            format!("[{}{{}}]", r#"{"a":[""]},"#.repeat(MOST / 3 + 1)),
        ] {
            assert!(read(bad.as_bytes()).unwrap_err().contains("elements"));
        }
    }

    #[test]
    fn folded_keys_are_found() {
        for other in ["hostconfig", "HOSTCONFIG", "Ho\u{17f}tConfig", "HO\u{17f}TCONFIG"] {
            assert_eq!(fold(other), fold("HostConfig"), "{other}");
        }
        assert_eq!(fold("Networ\u{212a}Mode"), fold("NetworkMode"));
        assert_ne!(fold("HostConfi"), fold("HostConfig"));
    }
}
