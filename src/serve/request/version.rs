//! Versions of the API.

use std::fmt;

use crate::serve::denied::Denied;

/// Minor number of a version of the API: 41 in `v1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiMinor(pub(crate) u8);

/// The lowest version that is spoken: below it, an engine reads other bodies in other places.
pub(crate) const LOWEST: ApiMinor = ApiMinor(41);
/// The highest version whose fields all have a rule.
pub(crate) const HIGHEST: ApiMinor = ApiMinor(55);

impl fmt::Display for ApiMinor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl ApiMinor {
    /// Reads a version as engines tell it (`1.41`).
    pub(crate) fn read(text: &str) -> Option<ApiMinor> {
        let minor = text.strip_prefix("1.")?;
        let is_number = (1..=2).contains(&minor.len()) && minor.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| minor.parse().ok()).flatten().map(ApiMinor)
    }

    /// Returns the highest version that this socket speaks before an engine.
    pub(crate) fn served(engine: ApiMinor) -> ApiMinor {
        engine.min(HIGHEST)
    }

    /// Returns the version that is sent to the engine: the client's, where both know it; the
    /// highest that both know, where the client names none.
    ///
    /// # Errors
    /// When the client's is too old or too new, in the engine's own sentences.
    pub(crate) fn negotiate(asked: Option<ApiMinor>, engine: ApiMinor) -> Result<ApiMinor, Denied> {
        let highest = ApiMinor::served(engine);
        let Some(asked) = asked else { return Ok(highest) };
        if asked < LOWEST {
            return Err(Denied::plain(
                400,
                format!(
                    "client version {asked} is too old. Minimum supported API version is {LOWEST}, please \
                     upgrade your client to a newer version"
                ),
            ));
        }
        if asked > highest {
            return Err(Denied::plain(
                400,
                format!("client version {asked} is too new. Maximum supported API version is {highest}"),
            ));
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_lies_between_the_lowest_and_the_engines() {
        let negotiate = |asked: u8| ApiMinor::negotiate(Some(ApiMinor(asked)), ApiMinor(45));
        assert_eq!(negotiate(41), Ok(ApiMinor(41)));
        assert_eq!(negotiate(45), Ok(ApiMinor(45)));
        assert!(negotiate(40).unwrap_err().message.starts_with("client version 1.40 is too old"));
        assert!(negotiate(46).unwrap_err().message.ends_with("Maximum supported API version is 1.45"));
        assert_eq!(ApiMinor::negotiate(None, ApiMinor(45)), Ok(ApiMinor(45)));
        assert_eq!(ApiMinor::negotiate(None, ApiMinor(99)), Ok(HIGHEST), "no rule for what is newer");
    }

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!(ApiMinor::read("1.41"), Some(ApiMinor(41)));
        for text in ["1.041", "2.1", "1.", "1.4x", "v1.41", "1.41.0", "1.-1", "1.+1"] {
            assert_eq!(ApiMinor::read(text), None, "{text}");
        }
    }
}
