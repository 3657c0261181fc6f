//! Parameters of a query, read by the rule of the endpoint.
//!
//! Engines take the first of two equal parameters, and parameters out of a form body before those.
//! Here a parameter has one value, out of the query, and unknown ones are left out: dockerode
//! repeats every field of a body there.

use std::collections::BTreeMap;

use super::target::decode;
use crate::serve::denied::Denied;
use crate::serve::rules::Param;
use crate::serve::text::shown;

/// The most parameters that are read.
const MOST: usize = 2000;

/// The known parameters of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<&'static str, String>);

impl Query {
    /// Reads the parameters that an endpoint has.
    ///
    /// # Errors
    /// When one is there twice, or cannot be decoded.
    pub(crate) fn read(raw: &str, known: &'static [Param]) -> Result<Query, Denied> {
        let mut read = BTreeMap::new();
        for (count, pair) in raw.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if count == MOST {
                return Err(Denied::malformed(format!(
                    "the query has more than {MOST} parameters; send fewer"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name, true) else { continue };
            let Some(param) = known.iter().find(|param| param.name == name) else { continue };
            let value = decode(value, true).filter(|value| !value.contains('\0'));
            let Some(value) = value else {
                return Err(Denied::malformed(format!(
                    "{name}: its percent-encoding is not valid; send UTF-8"
                )));
            };
            if read.insert(param.name, value).is_some() {
                return Err(Denied::malformed(format!("{name}: the query has it twice; send it once")));
            }
        }
        Ok(Query(read))
    }

    /// Returns a parameter that is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Tells whether a parameter is set, by the engine's rule.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.0.get(name).map(|value| value.trim().to_ascii_lowercase());
        !matches!(value.as_deref(), None | Some("" | "0" | "no" | "false" | "none"))
    }

    /// Tells whether a parameter is set, where its absence has a meaning of its own.
    pub(crate) fn flag_or(&self, name: &str, absent: bool) -> bool {
        if self.0.contains_key(name) { self.flag(name) } else { absent }
    }

    /// Returns a parameter that is a number.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Denied> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let number = value.parse().ok();
        number.map(Some).ok_or_else(|| Denied::malformed(format!("{name}: {} is no number", shown(&value))))
    }

    /// Returns a parameter whose value has only characters of a kind.
    ///
    /// # Errors
    /// When it has others.
    pub(crate) fn word(&self, name: &str, is_one: impl Fn(char) -> bool) -> Result<Option<String>, Denied> {
        match self.text(name) {
            Some(value) if value.len() > 256 || !value.chars().all(is_one) => {
                Err(Denied::malformed(format!("{name}: {} is no value for it", shown(&value))))
            }
            value => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Param] = &[Param::new("name"), Param::new("all"), Param::new("t")];

    fn read(raw: &str) -> Result<Query, Denied> {
        Query::read(raw, KNOWN)
    }

    #[test]
    fn a_parameter_is_there_once() {
        assert_eq!(read("name=a").unwrap().text("name").as_deref(), Some("a"));
        for twice in ["name=a&name=b", "name=a&n%61me=b", "name=&name=a", "all&all"] {
            assert_eq!(read(twice).unwrap_err().status, 400, "{twice}");
        }
        assert!(read("name=%zz").is_err() && read("name=a%00b").is_err() && read("name=%ff").is_err());
    }

    #[test]
    fn what_an_endpoint_does_not_know_is_left_out() {
        let dockerode = "Image=x&Cmd=a&Cmd=b&Labels=%7B%7D&name=web&NAME=other&%zz=1&_query=1&_body=1";
        assert_eq!(read(dockerode).unwrap().0, BTreeMap::from([("name", "web".to_owned())]));
        assert_eq!(read("a&".repeat(MOST + 1).as_str()).unwrap_err().status, 400);
    }

    #[test]
    fn flags_are_the_engines() {
        for set in ["all=1", "all=true", "all=True", "all=yes", "all=x"] {
            assert!(read(set).unwrap().flag("all"), "{set}");
        }
        for unset in ["", "all", "all=", "all=0", "all=False", "all=no", "all=none", "all=+0+"] {
            assert!(!read(unset).unwrap().flag("all"), "{unset}");
        }
        assert!(read("").unwrap().flag_or("all", true) && !read("all=0").unwrap().flag_or("all", true));
        assert_eq!(read("t=-1").unwrap().number("t"), Ok(Some(-1)));
        assert!(read("t=1x").unwrap().number("t").is_err());
    }
}
